//! Models and training against PyTorch: timm's ViT and the authors' VLoRA package, from
//! `scripts/reference/make_fixtures.py`.

use candle_core::{Device, Result, Tensor};
use vlora::models::vit::Vit;
use vlora::nn::{Mode, StepKey, Variable, ops};
use vlora::results::{Metric, Scores};
use vlora::spec::{RunSpec, TrainingSpec};
use vlora::tasks::{BatchPlan, Blueprint, DataSet, ImageClassification, Split, Task, batches_of};
use vlora::train::{Flow, Start, Trainer};

use crate::common::compare::relative;
use crate::common::pytorch;
use crate::common::spec::parsed;

struct Fixture {
    file: pytorch::Fixture,
    spec: RunSpec,
}

/// The fixture and, from its metadata, the spec of the same model and training.
fn fixture(file: &str) -> Fixture {
    let file = pytorch::Fixture::named(file);
    let spec = parsed(&file.metadata["spec"], &[]).unwrap().variants.remove(0).spec;
    Fixture { file, spec }
}

impl Fixture {
    fn batch(&self) -> (Tensor, Tensor) {
        (self.file.tensors["images"].clone(), self.file.numbers("labels"))
    }
}

/// The fixture's one batch as a task, so that the real training loop runs on it.
struct OneBatch<'a> {
    fixture: &'a Fixture,
}

impl OneBatch<'_> {
    fn blueprint(&self) -> Blueprint<'_, Vit> {
        ImageClassification::blueprint(&self.fixture.spec)
    }
}

impl DataSet for OneBatch<'_> {
    type Batch = (Tensor, Tensor);

    fn len(&self, split: Split) -> usize {
        if split == Split::Train { 6 } else { 0 }
    }

    fn epoch(&self, _: usize) -> Vec<BatchPlan> {
        batches_of(&[0, 1, 2, 3, 4, 5], 6)
    }

    fn batches_per_epoch(&self) -> usize {
        1
    }

    fn evaluation(&self, _: Split) -> Vec<BatchPlan> {
        Vec::new()
    }

    fn train_batch(&self, _: usize, _: &BatchPlan) -> Result<Self::Batch> {
        Ok(self.fixture.batch())
    }

    fn evaluation_batch(&self, _: Split, _: &BatchPlan) -> Result<Self::Batch> {
        Ok(self.fixture.batch())
    }
}

impl<'a> Task for OneBatch<'a> {
    type Data = OneBatch<'a>;
    type Model = Vit;
    type Predictions = ();
    type Outcome = ();

    fn data(&self) -> &OneBatch<'a> {
        self
    }

    fn metrics(&self) -> &'static [Metric] {
        &[]
    }

    fn loss(&self, model: &Vit, key: StepKey, batch: &(Tensor, Tensor)) -> Result<Variable> {
        let (images, labels) = batch;
        let smoothing = self.fixture.spec.training.label_smoothing;
        let logits = model.forward(images, Mode::Training(key))?;
        ops::mean(&ops::cross_entropy(&logits, labels, smoothing)?)
    }

    fn predict(&self, _: &Vit, _: &(Tensor, Tensor)) -> Result<()> {
        Ok(())
    }

    fn predict_logit_lens(&self, _: &Vit, _: &(Tensor, Tensor)) -> Result<Vec<()>> {
        Ok(Vec::new())
    }

    fn outcomes(&self, _: Split, _: &[BatchPlan], predictions: Vec<()>) -> Result<Vec<()>> {
        Ok(predictions)
    }

    fn scores(&self, _: &[()]) -> Scores {
        Scores { loss: 0.0, metrics: Vec::new() }
    }
}

const START: StepKey = StepKey { seed: 0, step: 0, part: 0 };

/// `--nocapture` shows the largest differences of each fixture.
fn check(file: &str) {
    let (mut in_gradients, mut in_steps) = (0f64, 0f64);
    let fixture = fixture(file);
    let task = OneBatch { fixture: &fixture };
    let blueprint = task.blueprint();
    let (store, model) = blueprint.train(0, &Device::Cpu).unwrap();
    // `load` refuses a missing, extra or misshapen name: the names are PyTorch's.
    store.load(&fixture.file.group("weight.")).unwrap();

    let (images, _) = fixture.batch();
    let logits = model.forward(&images, Mode::Training(START)).unwrap();
    let in_logits = relative(logits.tensor(), &fixture.file.tensors["logits"]);
    assert!(in_logits < 1e-5, "{file}: logits differ by {in_logits:e}");
    // Without a graph.
    let frozen = blueprint.frozen(&store).unwrap();
    let frozen = frozen.forward(&images, Mode::Evaluation).unwrap();
    let error = relative(frozen.tensor(), &fixture.file.tensors["logits"]);
    assert!(error < 1e-5, "{file}: evaluation's logits differ by {error:e}");

    let loss = task.loss(&model, START, &fixture.batch()).unwrap();
    let error = relative(loss.tensor(), &fixture.file.tensors["loss"]);
    assert!(error < 1e-5, "{file}: the loss differs by {error:e}");
    let gradients = loss.backward(1.0).unwrap();
    let wanted = fixture.file.group("grad.");
    for p in store.parameters() {
        let got = gradients.get(&p.value);
        match (got, wanted.get(&p.name)) {
            (Some(got), Some(want)) => {
                let error = relative(got, want);
                in_gradients = in_gradients.max(error);
                assert!(error < 1e-4, "{file}: the gradient of {} differs by {error:e}", p.name);
            }
            (None, None) => assert!(!p.trained, "{file}: {} gets no gradient", p.name),
            (None, Some(_)) => panic!("{file}: {} gets no gradient", p.name),
            (Some(_), None) => panic!("{file}: {} gets a gradient, and none in PyTorch", p.name),
        }
    }

    // Ten steps of the real loop, started from the fixture's weights.
    let training: &TrainingSpec = &fixture.spec.training;
    let values = fixture.file.group("weight.");
    let start = Start { values, from_seed: Box::new(|_| false) };
    let mut trainer =
        Trainer::new(&task, &blueprint, training, 0, &Device::Cpu, Some(&start)).unwrap();
    while !trainer.is_done() {
        trainer.epoch(|_| Flow::Continue, &|| false).unwrap();
    }
    assert_eq!(trainer.state().step, 10);
    trainer.select().unwrap();
    for (name, want) in fixture.file.group("after.") {
        let p = trainer.store().get(&name).unwrap();
        let got = p.var.as_detached_tensor();
        let error = relative(&got, &want);
        in_steps = in_steps.max(error);
        let most = if p.trained { 1e-3 } else { 0.0 };
        assert!(error <= most, "{file}: after ten steps {name} differs by {error:e}");
    }
    println!(
        "{file}: logits {in_logits:.0e}, gradients {in_gradients:.0e}, ten steps {in_steps:.0e}"
    );
}

#[test]
fn vit_equals_timm() {
    check("vit-class-token.safetensors");
    check("vit-mean.safetensors");
}

/// ViT-Lite's layers, with this program's names.
#[test]
fn vit_lite_equals_compact_transformers() {
    check("vit-lite.safetensors");
}

/// The moving average of the weights after ten steps.
#[test]
fn averaged_weights_equal_timms() {
    check("vit-ema.safetensors");
}

/// Several ranks, sizes and alphas; rank and alpha a target; 1-D targets; increments switched off.
#[test]
fn vlora_equals_the_authors_package() {
    for name in ["", "-lists", "-one-compound", "-vectors", "-disabled"] {
        check(&format!("vlora-authors{name}.safetensors"));
    }
}

/// The readings that the authors' package has not, against the formula in plain PyTorch.
#[test]
fn every_other_reading_equals_pytorch() {
    for name in [
        "previous",
        "previous-detach",
        "base-mixed",
        "vectors",
        "vectors-detach",
        "full-base-detach",
        "full-previous",
        "rank-0",
    ] {
        check(&format!("vlora-{name}.safetensors"));
    }
}

/// Every way of sharing layers, with increments and without, with more shared than matrices.
#[test]
fn every_way_of_sharing_equals_pytorch() {
    for name in ["sequence", "cycle", "cycle-reversed", "all", "all-previous", "list", "ends"] {
        check(&format!("map-{name}.safetensors"));
    }
}

#[test]
fn lora_equals_pytorch() {
    for name in ["dense", "vlora", "vlora-head-norms", "previous-biases"] {
        check(&format!("lora-{name}.safetensors"));
    }
}
