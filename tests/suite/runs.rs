//! Whole runs on real images: repeatable, resumable, refused where the graph is cut.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use vlora::data::ImageData;
use vlora::data::images::Size;
use vlora::error::Error;
use vlora::hub::Hub;
use vlora::models::vit::Vit;
use vlora::nn::{Mode, ParameterStore, StepKey, Variable, ops};
use vlora::results::{
    EpochRecord, ExperimentFolder, Metric, Provenance, RunFolder, RunResult, RunState, Scores,
    Session, StepRecord,
};
use vlora::runner::{Observer, Outcome, Plan, PlannedRun, execute};
use vlora::spec::{Experiment, RunSpec};
use vlora::tasks::{
    BatchPlan, DataSet, ImageBatches, ImageClassification, Split, Task, epoch_order,
};
use vlora::train::{Flow, Step, StepTimes, TrainError, Trainer};

use crate::common::compare::values;
use crate::common::spec::{TINY, parsed};
use crate::common::workers::{ALONE, Silent, StopAt};

fn experiment(overrides: &[&str]) -> Experiment {
    parsed(TINY, overrides).unwrap()
}

/// The data that a run of `spec` reads.
fn images(spec: &RunSpec) -> ImageData {
    let vit = spec.model.as_vit().unwrap();
    let size = Size { side: vit.image_size, channels: vit.channels };
    ImageData::load(spec.data.as_images().unwrap(), size, vit.classes, &Hub::default()).unwrap()
}

/// The files of a run that must not differ between equal runs.
fn evidence(run: &RunFolder) -> BTreeMap<&'static str, Vec<u8>> {
    let names =
        [RunFolder::SPEC, RunFolder::STEPS, RunFolder::EPOCHS, RunFolder::TEST, RunFolder::MODEL];
    names.into_iter().map(|name| (name, fs::read(run.file(name)).unwrap())).collect()
}

/// Runs the tiny experiment and returns the evidence of its runs by id.
fn run(dir: &Path, overrides: &[&str]) -> BTreeMap<String, BTreeMap<&'static str, Vec<u8>>> {
    let folder = ExperimentFolder::new(dir);
    let plan = Plan::new(experiment(overrides), &folder, &Hub::default()).unwrap();
    let outcomes = execute(&plan, &folder, ALONE, &AtomicBool::new(false), &mut Silent).unwrap();
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Finished(_))), "{outcomes:?}");
    evidence_in(&folder, &plan)
}

/// The evidence of a plan's runs by id.
fn evidence_in(
    folder: &ExperimentFolder,
    plan: &Plan,
) -> BTreeMap<String, BTreeMap<&'static str, Vec<u8>>> {
    let ids = plan.variants.iter().flat_map(|v| &v.runs).map(|r| r.id.clone());
    ids.map(|id| (id.clone(), evidence(&folder.run(&id)))).collect()
}

#[test]
fn the_same_spec_and_seed_give_the_same_bits() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (run(a.path(), &[]), run(b.path(), &[]));
    assert_eq!(first.len(), 2);
    assert!(first == second, "two equal runs differ");
    let metrics = |dir: &Path| {
        let folder = ExperimentFolder::new(dir);
        first
            .keys()
            .map(|id| {
                let r: RunResult = folder.run(id).read_json(RunFolder::RESULT).unwrap();
                // A share of the processors, where the system says it.
                let others = [r.other_programs, r.other_vlora];
                assert!(others.iter().flatten().all(|share| (0.0..=1.0).contains(share)));
                assert_eq!(
                    others.iter().flatten().count(),
                    if cfg!(target_os = "linux") { 2 } else { 0 }
                );
                (r.test_metric, r.test_loss, r.model_sha256)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(metrics(a.path()), metrics(b.path()));
}

/// The fused operations add up in blocks of fixed size, so threads do not change the bits.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let with_threads = |n: usize, detach: &str| {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| run(dir.path(), &["model.dim=64", detach]))
    };
    // Gradients from thin products, and projected from the whole matrix's.
    for detach in ["vlora.detach=true", "vlora.detach=false"] {
        assert!(with_threads(1, detach) == with_threads(3, detach), "one thread and three differ");
    }
}

#[test]
fn another_seed_has_another_start_and_another_order() {
    let spec = experiment(&[]).variants[0].spec.clone();
    let start = |seed| {
        let mut store = ParameterStore::new(seed, Device::Cpu);
        Vit::new(spec.model.as_vit().unwrap(), None, None, &mut store).unwrap();
        values(&store.get("blocks.0.attn.qkv.weight").unwrap().var)
    };
    assert_eq!(start(0), start(0));
    assert_ne!(start(0), start(1));
    assert_eq!(epoch_order(0, 0, 6000), epoch_order(0, 0, 6000));
    assert_ne!(epoch_order(0, 0, 6000), epoch_order(1, 0, 6000));
    assert_ne!(epoch_order(0, 0, 6000), epoch_order(0, 1, 6000));

    let dir = tempfile::tempdir().unwrap();
    let runs = run(dir.path(), &["seeds=[0, 1]"]);
    let weights: std::collections::BTreeSet<&Vec<u8>> =
        runs.values().map(|e| &e[RunFolder::MODEL]).collect();
    assert_eq!(weights.len(), 4, "runs of other arms or seeds ended in the same weights");
}

#[test]
fn arms_share_the_start_of_the_parameters_they_share() {
    let e = experiment(&[]);
    let start = |spec: &RunSpec| {
        let mut store = ParameterStore::new(7, Device::Cpu);
        Vit::of(spec, &mut store).unwrap();
        store.snapshot().unwrap()
    };
    let (dense, vlora) = (start(&e.variants[0].spec), start(&e.variants[1].spec));
    let shared: Vec<_> = dense.keys().filter(|name| vlora.contains_key(*name)).collect();
    // All but the second layer's four matrices.
    assert_eq!(shared.len(), dense.len() - 4);
    for name in shared {
        assert_eq!(values(&dense[name]), values(&vlora[name]), "{name}");
    }
}

/// Trains an epoch without a pause.
fn whole_epoch<T: Task>(trainer: &mut Trainer<T>) -> EpochRecord {
    trainer.epoch(|_| Flow::Continue, &|| false).unwrap().unwrap()
}

/// The settings of a run that is interrupted, and the first run of its plan.
const RESUMED: [&str; 2] = ["training.epochs=3", "training.select=best"];

/// A run of [`RESUMED`] that was stopped at step 90, in the middle of its second epoch of sixty steps.
fn interrupted(dir: &Path) -> RunFolder {
    let folder = ExperimentFolder::new(dir);
    let plan = Plan::new(experiment(&RESUMED), &folder, &Hub::default()).unwrap();
    let stop = AtomicBool::new(false);
    let mut observer = StopAt::nth_step(90, &stop);
    let stopped = execute(&plan, &folder, ALONE, &stop, &mut observer);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let run = folder.run(&plan.variants[0].runs[0].id);
    assert_eq!(run.state(), RunState::Interrupted);
    run
}

/// What came of the runs of [`RESUMED`].
struct Resumed {
    /// The steps that were trained, of both runs.
    steps: Vec<u64>,
    outcomes: Vec<Outcome>,
    folder: ExperimentFolder,
    plan: Plan,
}

/// Resumes the runs of [`RESUMED`].
fn resumed(dir: &Path) -> Resumed {
    struct First(Vec<u64>);
    impl Observer for First {
        fn step(&mut self, _: &PlannedRun, step: &Step) {
            self.0.push(step.record.step);
        }
    }
    let folder = ExperimentFolder::new(dir);
    let plan = Plan::new(experiment(&RESUMED), &folder, &Hub::default()).unwrap();
    let mut steps = First(Vec::new());
    let outcomes = execute(&plan, &folder, ALONE, &AtomicBool::new(false), &mut steps).unwrap();
    Resumed { steps: steps.0, outcomes, folder, plan }
}

fn sessions(run: &RunFolder) -> Vec<Session> {
    run.read_json::<Provenance>(RunFolder::PROVENANCE).unwrap().sessions
}

#[test]
fn an_interrupted_run_resumes_at_its_step_and_ends_as_an_uninterrupted_one() {
    let whole = tempfile::tempdir().unwrap();
    let want = run(whole.path(), &RESUMED);
    let dir = tempfile::tempdir().unwrap();
    let first = interrupted(dir.path());
    let steps = first.file(RunFolder::STEPS);
    let done = fs::read_to_string(&steps).unwrap();
    let number = |line: &str| serde_json::from_str::<StepRecord>(line).unwrap().step;
    assert_eq!(done.lines().map(number).collect::<Vec<_>>(), (1..=90).collect::<Vec<u64>>());
    // As a crash may leave it: with lines after the checkpoint, the last one cut.
    fs::write(&steps, done + "{\"step\": 91}\n{\"st").unwrap();
    let Resumed { steps, folder, plan, .. } = resumed(dir.path());
    assert_eq!(steps[..2], [91, 92]);
    assert!(evidence_in(&folder, &plan) == want, "the resumed run ended elsewhere");
    assert!(!first.has_checkpoint());
    let recovered: Vec<Option<String>> =
        sessions(&first).into_iter().map(|session| session.recovered).collect();
    assert_eq!(recovered, [None, None]);
}

/// If the newest checkpoint, or the records that it counts on, are damaged, the run resumes from the
/// checkpoint before, ends the same, and says so.
#[test]
fn a_damaged_checkpoint_leads_to_the_one_before() {
    let whole = tempfile::tempdir().unwrap();
    let want = run(whole.path(), &RESUMED);
    for name in [RunFolder::CHECKPOINT, RunFolder::STEPS] {
        let dir = tempfile::tempdir().unwrap();
        let first = interrupted(dir.path());
        let mut bytes = fs::read(first.file(name)).unwrap();
        // In the last tensor, and in the record of a step after the first epoch.
        let at = bytes.len() - 30;
        bytes[at] ^= 4;
        fs::write(first.file(name), bytes).unwrap();
        let Resumed { steps, folder, plan, .. } = resumed(dir.path());
        assert_eq!(steps[0], 61, "{name}");
        assert!(evidence_in(&folder, &plan) == want, "{name}: the resumed run ended elsewhere");
        let recovered = sessions(&first)[1].recovered.clone().unwrap();
        assert!(recovered.contains("checkpoint.safetensors"), "{name}: {recovered}");
    }
}

#[test]
fn a_finished_run_is_not_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let runs = run(dir.path(), &[]);
    let folder = ExperimentFolder::new(dir.path());
    let stamp =
        |id: &str| fs::metadata(folder.run(id).file(RunFolder::MODEL)).unwrap().modified().unwrap();
    let before: Vec<_> = runs.keys().map(|id| stamp(id)).collect();
    let plan = Plan::new(experiment(&[]), &folder, &Hub::default()).unwrap();
    let again = execute(&plan, &folder, ALONE, &AtomicBool::new(false), &mut Silent).unwrap();
    assert!(again.iter().all(|o| matches!(o, Outcome::AlreadyFinished(_))));
    assert_eq!(before, runs.keys().map(|id| stamp(id)).collect::<Vec<_>>());
}

#[test]
fn a_loss_that_leaves_the_numbers_fails_its_run_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ExperimentFolder::new(dir.path());
    let overrides = ["arms.baseline.training.learning_rate=1e30", "training.warmup_ratio=0"];
    let plan = Plan::new(experiment(&overrides), &folder, &Hub::default()).unwrap();
    let outcomes = execute(&plan, &folder, ALONE, &AtomicBool::new(false), &mut Silent).unwrap();
    let Outcome::Failed(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.contains("stopped being finite at step 2 (learning rate 9.99"), "{reason}");
    assert!(matches!(outcomes[1], Outcome::Finished(_)));
    assert_eq!(folder.run(&plan.variants[0].runs[0].id).state(), RunState::Failed);
}

/// `select: best` tests the weights of the earliest epoch with the best validation metric.
#[test]
fn best_selection_puts_that_epochs_weights_back() {
    // A rate this high often makes the last epochs worse than an earlier one.
    let e = experiment(&[
        "training.select=best",
        "training.epochs=6",
        "training.learning_rate=0.3",
        "training.min_learning_rate_ratio=1",
    ]);
    let spec = &e.variants[0].spec;
    let data = images(spec);
    let blueprint = ImageClassification::blueprint(spec);
    for seed in 0..20 {
        let task = ImageClassification::new(&data, spec, seed, Device::Cpu);
        let mut trainer =
            Trainer::new(&task, &blueprint, &spec.training, seed, &Device::Cpu, None).unwrap();
        let mut epochs = Vec::new();
        while !trainer.is_done() {
            let metric = whole_epoch(&mut trainer).validation_metric.unwrap();
            epochs.push((metric, trainer.store().snapshot().unwrap()));
        }
        let top = epochs.iter().map(|e| e.0).fold(0.0, f64::max);
        let best = epochs.iter().position(|e| e.0 == top).unwrap();
        if best + 1 == epochs.len() {
            // With this seed the last epoch is the best, and so the test would show nothing.
            continue;
        }
        assert_eq!(trainer.select().unwrap(), best + 1);
        for (name, tensor) in trainer.store().snapshot().unwrap() {
            assert_eq!(values(&tensor), values(&epochs[best].1[&name]), "{name}");
        }
        return;
    }
    panic!("with every seed the last epoch is the best");
}

/// Weights that break in the last step are seen by the evaluation after it.
#[test]
fn an_evaluation_that_leaves_the_numbers_fails_its_run() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ExperimentFolder::new(dir.path());
    let overrides =
        ["training.batch_size=6000", "training.learning_rate=1e30", "training.warmup_ratio=0"];
    let plan = Plan::new(experiment(&overrides), &folder, &Hub::default()).unwrap();
    let outcomes = execute(&plan, &folder, ALONE, &AtomicBool::new(false), &mut Silent).unwrap();
    for outcome in outcomes {
        let Outcome::Failed(reason) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("validation loss stopped being finite at step 1"), "{reason}");
    }
}

#[test]
fn a_run_whose_checkpoints_are_damaged_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = interrupted(dir.path());
    for name in [RunFolder::CHECKPOINT, RunFolder::PREVIOUS] {
        let whole = fs::read(first.file(name)).unwrap();
        fs::write(first.file(name), &whole[..whole.len() / 2]).unwrap();
    }
    let outcomes = resumed(dir.path()).outcomes;
    let Outcome::Failed(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.contains("cannot be resumed") && reason.contains("remove the run's folder"));
    assert!(matches!(outcomes[1], Outcome::Finished(_)));
}

/// A change in the records of steps before the last checkpoint is noticed at the run's end.
#[test]
fn changed_records_of_steps_fail_their_run() {
    let dir = tempfile::tempdir().unwrap();
    let first = interrupted(dir.path());
    let mut steps = fs::read(first.file(RunFolder::STEPS)).unwrap();
    steps[30] ^= 1;
    fs::write(first.file(RunFolder::STEPS), steps).unwrap();
    let outcomes = resumed(dir.path()).outcomes;
    let Outcome::Failed(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.contains("steps.jsonl: the file has changed since the checkpoint"), "{reason}");
}

/// Micro-batches change how a step's gradient is added up, not what it is.
#[test]
fn accumulation_keeps_the_results() {
    let losses = |settings: &[&str]| {
        let e = experiment(settings);
        let spec = &e.variants[1].spec;
        let data = images(spec);
        let task = ImageClassification::new(&data, spec, 0, Device::Cpu);
        let blueprint = ImageClassification::blueprint(spec);
        let mut trainer =
            Trainer::new(&task, &blueprint, &spec.training, 0, &Device::Cpu, None).unwrap();
        let mut losses = Vec::new();
        let on_step = |step: &Step| {
            losses.push((step.record.loss, step.record.gradient_norm));
            Flow::Continue
        };
        trainer.epoch(on_step, &|| false).unwrap();
        losses
    };
    // 6,000 = 7 · 840 + 120, and 120 = 84 + 36: the last step has micro-batches of two sizes.
    let whole = losses(&["training.batch_size=840"]);
    let parts = losses(&["training.batch_size=84", "training.accumulation=10"]);
    assert_eq!((whole.len(), parts.len()), (8, 8));
    for ((a, na), (b, nb)) in whole.iter().zip(&parts) {
        assert!((a - b).abs() < 1e-4 * a && (na - nb).abs() < 1e-3 * na, "{a} {b}, {na} {nb}");
    }
}

/// Images and labels, the answers to them, and what those come to.
type Batch = vlora::tasks::ImageBatch;
type Predictions<'a> = <ImageClassification<'a> as Task>::Predictions;
type Outcomes<'a> = Vec<<ImageClassification<'a> as Task>::Outcome>;

/// The real task on a model whose first block's output is detached: the loss still falls, and
/// everything below is dead.
struct Cut<'a>(ImageClassification<'a>);

impl<'a> Task for Cut<'a> {
    type Data = ImageBatches<'a>;
    type Model = Vit;
    type Predictions = Predictions<'a>;
    type Outcome = <ImageClassification<'a> as Task>::Outcome;

    fn data(&self) -> &ImageBatches<'a> {
        self.0.data()
    }

    fn metrics(&self) -> &'static [Metric] {
        self.0.metrics()
    }

    fn loss(&self, model: &Vit, key: StepKey, batch: &Batch) -> candle_core::Result<Variable> {
        let Batch { images, labels, .. } = batch;
        let mut x = model.embed(images)?;
        for (i, block) in model.blocks.iter().enumerate() {
            x = block.forward(&x, x.tensor().dim(1)?, Mode::Training(key))?;
            if i == 0 {
                x = x.detach();
            }
        }
        ops::mean(&ops::cross_entropy(&model.classify(&x)?, labels, 0.0)?)
    }

    fn predict(&self, model: &Vit, batch: &Batch) -> candle_core::Result<Predictions<'a>> {
        self.0.predict(model, batch)
    }

    fn predict_logit_lens(
        &self,
        model: &Vit,
        batch: &Batch,
    ) -> candle_core::Result<Vec<Predictions<'a>>> {
        self.0.predict_logit_lens(model, batch)
    }

    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        predictions: Vec<Predictions<'a>>,
    ) -> candle_core::Result<Outcomes<'a>> {
        self.0.outcomes(split, batches, predictions)
    }

    fn scores(&self, outcomes: &[Self::Outcome]) -> Scores {
        self.0.scores(outcomes)
    }
}

#[test]
fn a_cut_layer_is_refused_by_name() {
    let e = experiment(&[]);
    let spec = &e.variants[0].spec;
    let data = images(spec);
    let sound = ImageClassification::new(&data, spec, 0, Device::Cpu);
    let blueprint = ImageClassification::blueprint(spec);
    let new = Trainer::new(&sound, &blueprint, &spec.training, 0, &Device::Cpu, None);
    assert!(new.is_ok());

    let cut = Cut(ImageClassification::new(&data, spec, 0, Device::Cpu));
    let refused = Trainer::new(&cut, &blueprint, &spec.training, 0, &Device::Cpu, None).err();
    let Some(TrainError::Audit(fault)) = refused else { panic!("{refused:?}") };
    let named: Vec<&str> = fault.parameters.iter().map(|(name, _)| name.as_str()).collect();
    // Embedding and first block: 4 + 12 tensors; nothing of the second.
    assert_eq!(named.len(), 16, "{named:?}");
    assert!(named.contains(&"patch_embed.proj.weight"));
    assert!(named.contains(&"blocks.0.attn.qkv.weight"));
    assert!(!named.iter().any(|name| name.starts_with("blocks.1.")));
    let message = TrainError::Audit(fault.clone()).to_string();
    assert!(message.contains("blocks.0.attn.qkv.weight gets no gradient"), "{message}");
}

/// The real task, one of whose batches cannot be made.
struct Broken<'a> {
    sound: ImageClassification<'a>,
    /// Of the training examples.
    at: usize,
}

impl DataSet for Broken<'_> {
    type Batch = Batch;

    fn len(&self, split: Split) -> usize {
        self.sound.data().len(split)
    }

    fn epoch(&self, epoch: usize) -> Vec<BatchPlan> {
        self.sound.data().epoch(epoch)
    }

    fn batches_per_epoch(&self) -> usize {
        self.sound.data().batches_per_epoch()
    }

    fn evaluation(&self, split: Split) -> Vec<BatchPlan> {
        self.sound.data().evaluation(split)
    }

    fn train_batch(&self, epoch: usize, plan: &BatchPlan) -> candle_core::Result<Batch> {
        match plan.examples.contains(&self.at) {
            true => candle_core::bail!("example {} is broken", self.at),
            false => self.sound.data().train_batch(epoch, plan),
        }
    }

    fn evaluation_batch(&self, split: Split, plan: &BatchPlan) -> candle_core::Result<Batch> {
        self.sound.data().evaluation_batch(split, plan)
    }
}

impl<'a> Task for Broken<'a> {
    type Data = Broken<'a>;
    type Model = Vit;
    type Predictions = Predictions<'a>;
    type Outcome = <ImageClassification<'a> as Task>::Outcome;

    fn data(&self) -> &Broken<'a> {
        self
    }

    fn metrics(&self) -> &'static [Metric] {
        self.sound.metrics()
    }

    fn loss(&self, model: &Vit, key: StepKey, batch: &Batch) -> candle_core::Result<Variable> {
        self.sound.loss(model, key, batch)
    }

    fn predict(&self, model: &Vit, batch: &Batch) -> candle_core::Result<Predictions<'a>> {
        self.sound.predict(model, batch)
    }

    fn predict_logit_lens(
        &self,
        model: &Vit,
        batch: &Batch,
    ) -> candle_core::Result<Vec<Predictions<'a>>> {
        self.sound.predict_logit_lens(model, batch)
    }

    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        predictions: Vec<Predictions<'a>>,
    ) -> candle_core::Result<Outcomes<'a>> {
        self.sound.outcomes(split, batches, predictions)
    }

    fn scores(&self, outcomes: &[Self::Outcome]) -> Scores {
        self.sound.scores(outcomes)
    }
}

/// The steps before it are made, then training ends with what was wrong.
#[test]
fn a_batch_that_cannot_be_made_ends_training_in_its_place() {
    let e = experiment(&["training.batch_size=50", "training.accumulation=2"]);
    let spec = &e.variants[0].spec;
    let data = images(spec);
    let sound = ImageClassification::new(&data, spec, 0, Device::Cpu);
    // In the second micro-batch of the eighth step.
    let task = Broken { sound, at: epoch_order(0, 0, data.train.len())[770] };
    let blueprint = ImageClassification::blueprint(spec);
    let mut trainer =
        Trainer::new(&task, &blueprint, &spec.training, 0, &Device::Cpu, None).unwrap();
    let mut steps = Vec::new();
    let on_step = |step: &Step| {
        steps.push(step.clone());
        Flow::Continue
    };
    let ended = trainer.epoch(on_step, &|| false);
    let told = ended.unwrap_err().to_string();
    assert!(told.contains(&format!("example {} is broken", task.at)), "{told}");
    assert_eq!(steps.len(), 7);
    for StepTimes { wait, forward, backward, optimizer, device } in steps.iter().map(|s| s.times) {
        assert!(wait >= 0.0 && forward > 0.0 && backward > 0.0 && optimizer > 0.0);
        assert!(device >= 0.0);
    }
}
