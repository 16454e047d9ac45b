//! What an experiment's evidence says: a row a run, a row an arm, and the notes below.

use super::notes::{
    data_note, kept_note, load_note, machine_note, match_notes, method_note, precision_note,
    start_note, training_note,
};
use super::statistics::Spread;
use super::table::{Align, Cell, Table, count, percent, reduction};
use crate::error::{Error, Result};
use crate::results::{
    EpochRecord, ExperimentFolder, ExperimentRecord, Failure, KeptRecord, Provenance, RunFolder,
    RunResult, RunState, SCHEMA_VERSION, SpecRecord, StartRecord, TestRecord, VariantRecord,
};
use crate::size::bytes;
use crate::spec::{Rank, RunSpec, agree, identifying_fields};

/// Everything the tables and charts show.
#[derive(Clone, Debug)]
pub struct Summary {
    pub record: ExperimentRecord,
    /// In the order of the record's variants.
    pub arms: Vec<ArmSummary>,
}

/// One arm at one sweep point, over its seeds.
#[derive(Clone, Debug)]
pub struct ArmSummary {
    pub variant: VariantRecord,
    pub runs: Vec<FinishedRun>,
    /// Runs that failed, by seed, with the reason; and how many have not finished.
    pub failures: Vec<(u64, String)>,
    pub unfinished: usize,
    pub test: Option<Spread>,
    /// Test metric minus the baseline's, over the seeds that both finished on the same data.
    pub difference: Option<Spread>,
    /// 1 − parameters / the baseline's; None for the baseline itself.
    pub reduction: Option<f64>,
}

/// A finished run's evidence.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    pub id: String,
    pub seed: u64,
    pub result: RunResult,
    pub epochs: Vec<EpochRecord>,
    pub provenance: Provenance,
    /// Where it starts from other weights.
    pub start: Option<StartRecord>,
}

impl Summary {
    /// Reads every run that the experiment's record on disk names.
    pub fn read(folder: &ExperimentFolder) -> Result<Summary> {
        Summary::of(folder.read_record()?, folder)
    }

    /// Reads every run that `record` names, and checks that its evidence agrees with itself.
    pub fn of(record: ExperimentRecord, folder: &ExperimentFolder) -> Result<Summary> {
        if record.schema != SCHEMA_VERSION {
            return Err(Error::Input(format!(
                "{}: the results are of another version\n  found:    schema {}\n  expected: \
                 schema {SCHEMA_VERSION}",
                folder.path().display(),
                record.schema
            )));
        }
        let mut arms = Vec::new();
        for variant in &record.variants {
            if variant.runs.len() != record.seeds.len() {
                return Err(Error::Input(format!(
                    "{}: the record is damaged\n  found:    {} runs of {}\n  expected: one a \
                     seed, {}",
                    folder.file("experiment.json").display(),
                    variant.runs.len(),
                    variant.label,
                    record.seeds.len()
                )));
            }
            let mut arm = ArmSummary {
                variant: variant.clone(),
                runs: Vec::new(),
                failures: Vec::new(),
                unfinished: 0,
                test: None,
                difference: None,
                reduction: None,
            };
            for (seed, id) in record.seeds.iter().zip(&variant.runs) {
                let run = folder.run(id);
                match run.state() {
                    RunState::Finished => arm.runs.push(finished(&run, id, *seed, variant)?),
                    RunState::Failed => {
                        let failure: Failure = run.read_json(RunFolder::FAILURE)?;
                        arm.failures.push((*seed, failure.reason));
                    }
                    RunState::Planned | RunState::Running | RunState::Interrupted => {
                        arm.unfinished += 1;
                    }
                }
            }
            let metrics: Vec<f64> = arm.runs.iter().map(|r| r.result.test_metric).collect();
            arm.test = Spread::of(&metrics);
            arms.push(arm);
        }
        if arms.iter().all(|a| a.runs.is_empty() && a.failures.is_empty()) {
            return Err(Error::Input(format!(
                "{}: no run has ended yet\n  expected: at least one finished run, as `vlora run` \
                 leaves it",
                folder.path().display()
            )));
        }
        check_starts(&arms, folder)?;
        compare(&mut arms, &record.baseline);
        Ok(Summary { record, arms })
    }

    fn runs(&self) -> impl Iterator<Item = &FinishedRun> {
        self.arms.iter().flat_map(|a| &a.runs)
    }

    /// Which arms are the baseline, in the arms' order.
    pub fn baselines(&self) -> Vec<bool> {
        self.arms.iter().map(|a| a.variant.arm == self.record.baseline).collect()
    }

    /// Whether an arm trains less than all of its parameters.
    fn some_frozen(&self) -> bool {
        self.arms.iter().any(|a| a.variant.trained != a.variant.parameters)
    }

    /// Whether arms were computed in different precisions.
    fn precisions_differ(&self) -> bool {
        let precision = |a: &ArmSummary| a.variant.spec.precision;
        self.arms.windows(2).any(|pair| precision(&pair[0]) != precision(&pair[1]))
    }

    pub fn metric_name(&self) -> &str {
        self.runs().next().map_or("metric", |r| &r.result.metric_name)
    }

    /// A row an arm.
    pub fn table(&self) -> Table {
        let metric = self.metric_name();
        let mut table = Table::new()
            .column("arm", "arm", Align::Left)
            .column("parameters", "parameters", Align::Right)
            .column("reduction", "reduction", Align::Right)
            .column_if(self.some_frozen(), "trained", "trained", Align::Right)
            .column_if(self.precisions_differ(), "precision", "precision", Align::Left)
            .hidden("metric")
            .column("mean", format!("test {metric} (%)"), Align::Right)
            .hidden("sd")
            .column("seeds", "seeds", Align::Right)
            .column("difference", "difference (points)", Align::Right)
            .hidden("difference_sd")
            .column("seconds", "training (s)", Align::Right)
            .column("throughput", "images/s", Align::Right)
            .column("peak_bytes", "peak memory", Align::Right);
        for arm in &self.arms {
            let over_runs = |f: &dyn Fn(&RunResult) -> f64| {
                let values: Vec<f64> = arm.runs.iter().map(|r| f(&r.result)).collect();
                Spread::of(&values).map(|s| s.mean)
            };
            let optional = |value: Option<f64>, text: &dyn Fn(f64) -> String| match value {
                Some(v) => Cell::number(v, text(v)),
                None => Cell::none(),
            };
            let peak = arm.runs.iter().map(|r| r.result.peak_bytes).max().flatten();
            table.row(vec![
                Cell::text(&arm.variant.label),
                Cell::number(arm.variant.parameters, count(arm.variant.parameters)),
                optional(arm.reduction, &percent),
                Cell::number(arm.variant.trained, count(arm.variant.trained)),
                Cell::text(arm.variant.spec.precision.name()),
                Cell::text(metric),
                match arm.test {
                    Some(s) => Cell::number(s.mean, plus_minus(s, false)),
                    None => Cell::none(),
                },
                optional(arm.test.and_then(|s| s.sd), &|v| v.to_string()),
                Cell::number(arm.runs.len(), arm.runs.len().to_string()),
                match arm.difference {
                    Some(s) => Cell::number(s.mean, plus_minus(s, true)),
                    None => Cell::none(),
                },
                optional(arm.difference.and_then(|s| s.sd), &|v| v.to_string()),
                optional(over_runs(&|r| r.training_seconds), &|v| format!("{v:.1}")),
                optional(over_runs(&|r| r.throughput), &|v| format!("{v:.0}")),
                match peak {
                    Some(peak) => Cell::number(peak, bytes(peak)),
                    None => Cell::none(),
                },
            ]);
        }
        table
    }

    /// The table with its notes.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n", self.record.name);
        if !self.record.description.is_empty() {
            out += &format!("{}\n\n", self.record.description.trim());
        }
        out += &self.table().markdown();
        out.push('\n');
        for note in self.notes() {
            out += &format!("- {note}\n");
        }
        out
    }

    /// What a reader must know to judge the table: what the paper leaves open and how it was
    /// settled, data, training, machine, and what is missing.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "Test {} is the mean ± sample standard deviation over seeds; the difference is taken \
             seed by seed against `{}`. Training time and throughput (without evaluation) are means \
             over runs; peak memory is the most bytes that were allocated at once in any of them, \
             decoded images included where they are not mapped from the cache; on a GPU, of its memory.",
            self.metric_name(),
            self.record.baseline
        )];
        let of_arms = |note: &dyn Fn(&RunSpec) -> Option<String>| {
            let arms = self.arms.iter().map(|a| (&a.variant.label, &a.variant.spec));
            by_arms(arms.filter_map(|(label, spec)| Some((label.clone(), note(spec)?))))
        };
        notes.extend(of_arms(&method_note));
        for arm in &self.arms {
            let start = arm.runs.iter().find_map(|run| run.start.as_ref());
            let started = start.map(StartRecord::started);
            notes.extend(start_note(&arm.variant, started.as_ref()));
        }
        for arm in &self.arms {
            let starts = arm.runs.iter().filter_map(|run| run.start.as_ref());
            let kept = starts.flat_map(|start| &start.kept).filter(|kept| kept.rank != Rank::Full);
            let kept: Vec<&KeptRecord> = kept.collect();
            notes.extend(kept_note(&arm.variant.label, &kept));
        }
        notes.extend(
            self.arms.iter().flat_map(|a| match_notes(&a.variant.label, &a.variant.matched)),
        );
        notes.extend(by_arms(self.arms.iter().map(|arm| {
            let pixels = arm.runs.first().and_then(|run| run.provenance.pixel_source);
            (arm.variant.label.clone(), training_note(&arm.variant.spec, pixels))
        })));
        notes.extend(of_arms(&|spec| Some(precision_note(spec.precision).to_string())));
        if self.precisions_differ() {
            notes.push(
                "Not all arms were computed in the same precision: what parts two of them may be \
                 the precision, too."
                    .into(),
            );
        }
        if distinct(self.runs().map(|r| r.provenance.data_sha256.clone())).len() > 1 {
            notes.push(
                "Not all arms ran on the same data: no difference is taken where it differs."
                    .into(),
            );
        }
        notes.extend(distinct(self.runs().map(|r| data_note(&r.provenance))));
        notes.extend(distinct(self.runs().flat_map(|r| r.provenance.data_notes.clone())));
        let machines = distinct(self.runs().flat_map(|r| &r.provenance.sessions).map(machine_note));
        if machines.len() > 1 {
            notes.push(
                "Runs worked on several machines or versions, or not all beside as many others: \
                 their times do not compare."
                    .into(),
            );
        }
        let devices = self.runs().flat_map(|r| &r.provenance.sessions).map(|s| s.device.clone());
        if distinct(devices).len() > 1 {
            notes.push(
                "Runs were computed on different devices, which round differently: what parts two \
                 of them may be that, too."
                    .into(),
            );
        }
        if self.runs().any(|r| r.provenance.sessions.iter().any(|s| s.jobs > 1)) {
            notes.push(
                "Runs that were trained at once (`--jobs`) shared their device: their times are \
                 longer than those of runs alone, and their peak memory was not counted."
                    .into(),
            );
        }
        notes.extend(load_note(self.runs().map(|r| &r.result)));
        notes.extend(machines);
        for arm in &self.arms {
            let label = &arm.variant.label;
            for (seed, reason) in &arm.failures {
                let reason = reason.lines().next().unwrap_or_default();
                notes.push(format!("`{label}`, seed {seed}, failed: {reason}"));
            }
            if arm.unfinished > 0 {
                notes.push(format!("`{label}`: not finished: {}.", arm.unfinished));
            }
        }
        notes
    }
}

/// Reads a finished run and holds its result to the evidence it was made from.
fn finished(run: &RunFolder, id: &str, seed: u64, variant: &VariantRecord) -> Result<FinishedRun> {
    let result: RunResult = run.read_json(RunFolder::RESULT)?;
    let spec: SpecRecord = run.read_json(RunFolder::SPEC)?;
    let epochs: Vec<EpochRecord> = run.read_lines(RunFolder::EPOCHS)?;
    let tests: Vec<TestRecord> = run.read_lines(RunFolder::TEST)?;
    let provenance: Provenance = run.read_json(RunFolder::PROVENANCE)?;
    let start: Option<StartRecord> = match variant.spec.start {
        Some(_) => Some(run.read_json(RunFolder::START)?),
        None => None,
    };
    let n = tests.len() as f64;
    let correct = tests.iter().filter(|t| t.label == t.prediction).count() as f64;
    let loss = tests.iter().map(|t| f64::from(t.loss)).sum::<f64>() / n;
    let checks = [
        (RunFolder::RESULT, result.schema == SCHEMA_VERSION && spec.schema == SCHEMA_VERSION),
        (
            RunFolder::SPEC,
            spec.id == id && spec.seed == seed && same_run(&spec.spec, &variant.spec),
        ),
        (RunFolder::EPOCHS, epochs.len() == variant.spec.training.epochs),
        (RunFolder::TEST, tests.len() == provenance.test_examples),
        (RunFolder::TEST, result.test_metric == correct / n && result.test_loss == loss),
        (RunFolder::RESULT, result.parameters == variant.parameters),
        (RunFolder::RESULT, result.trained == variant.trained),
    ];
    match checks.iter().find(|(_, holds)| !holds) {
        None => Ok(FinishedRun { id: id.to_string(), seed, result, epochs, provenance, start }),
        Some((file, _)) => Err(Error::Input(format!(
            "{}: the run's evidence does not agree with its other files\n  expected: what `vlora \
             run` writes; remove the run's folder to train it again",
            run.file(file).display()
        ))),
    }
}

/// Refuses a run whose start is not what the run it names ended in.
fn check_starts(arms: &[ArmSummary], folder: &ExperimentFolder) -> Result<()> {
    for arm in arms {
        let Some(label) = &arm.variant.start else { continue };
        let sources = arms.iter().filter(|a| a.variant.label == *label).flat_map(|a| &a.runs);
        let sources: Vec<&FinishedRun> = sources.collect();
        for run in &arm.runs {
            let source = sources.iter().find(|source| source.seed == run.seed);
            let started = run.start.as_ref().map(|start| &start.sha256);
            if source.is_some_and(|source| started != Some(&source.result.model_sha256)) {
                return Err(Error::Input(format!(
                    "{}: the run started from other weights than `{label}` now has\n  help: remove \
                     the run's folder to train it again",
                    folder.run(&run.id).path().display()
                )));
            }
        }
    }
    Ok(())
}

/// Whether two specs are of one run; what its data and weights are called may differ.
fn same_run(a: &RunSpec, b: &RunSpec) -> bool {
    identifying_fields(a) == identifying_fields(b)
}

/// Fills in what is relative to the baseline at the same sweep point.
fn compare(arms: &mut [ArmSummary], baseline: &str) {
    let references: Vec<ArmSummary> =
        arms.iter().filter(|a| a.variant.arm == baseline).cloned().collect();
    for arm in arms.iter_mut().filter(|a| a.variant.arm != baseline) {
        let base = references.iter().find(|b| agree(&b.variant.point, &arm.variant.point));
        let Some(base) = base else { continue };
        arm.reduction = Some(reduction(arm.variant.parameters, base.variant.parameters));
        let differences: Vec<f64> = arm
            .runs
            .iter()
            .filter_map(|run| {
                let same = |b: &&FinishedRun| {
                    b.seed == run.seed && b.provenance.data_sha256 == run.provenance.data_sha256
                };
                let pair = base.runs.iter().find(same)?;
                Some(run.result.test_metric - pair.result.test_metric)
            })
            .collect();
        arm.difference = Spread::of(&differences);
    }
}

/// `81.3 ± 0.4`, in per cent; `−2.1 ± 0.3` with a sign.
fn plus_minus(s: Spread, signed: bool) -> String {
    let number = |v: f64| format!("{:.1}", 100.0 * v).replace('-', "−");
    let sign = if signed && s.mean >= 0.0 { "+" } else { "" };
    match s.sd {
        Some(sd) => format!("{sign}{} ± {}", number(s.mean), number(sd)),
        None => format!("{sign}{}", number(s.mean)),
    }
}

/// Notes that differ between arms, each with the arms it is about; one that all share alone.
fn by_arms(items: impl Iterator<Item = (String, String)>) -> Vec<String> {
    const MOST: usize = 4;
    let mut notes: Vec<(Vec<String>, String)> = Vec::new();
    for (label, note) in items {
        match notes.iter_mut().find(|(_, n)| *n == note) {
            Some((labels, _)) => labels.push(format!("`{label}`")),
            None => notes.push((vec![format!("`{label}`")], note)),
        }
    }
    if let [(_, only)] = notes.as_slice() {
        return vec![only.clone()];
    }
    let named = |(labels, note): (Vec<String>, String)| {
        let more = labels.len().saturating_sub(MOST);
        let first = labels.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{first}{more}: {note}")
    };
    notes.into_iter().map(named).collect()
}

fn distinct(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for item in items {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}
