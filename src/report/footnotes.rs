//! The notes below a table: which ones appear, and in which order. Their sentences are in
//! [`super::notes`].

use super::arm_notes::{ArmStatements, merged};
use super::notes::{
    data_note, kept_note, load_note, machine_note, match_notes, method_statements, precision_note,
    start_statements, training_statements,
};
use super::numbers::level;
use super::summary::{ArmSummary, FEWER_SEEDS, FinishedRun, NOT_LEARNED, Summary};
use super::table::count;
use super::text::{code, markdown};
use crate::results::{Better, Kept, StartRecord, TrivialBaseline};
use crate::spec::Rank;

impl Summary {
    /// What a reader must know to judge the table, as Markdown: the paper's open questions and how
    /// they were settled, data, training, machine, and missing runs.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "Test {} is the mean ± sample standard deviation over seeds, validation that of the \
             epochs whose weights were tested; the difference is taken seed by seed against {}, with \
             its {} interval in brackets. Training time and throughput (without evaluation) are means \
             over runs; peak memory is the most bytes that were allocated at once in any of them, {}; \
             on a GPU, of its memory.",
            markdown(self.metric().name),
            code(&self.record.baseline),
            level(),
            self.arms.first().map_or("", |arm| self.evidence_of(arm).memory_note())
        )];
        notes.extend(self.not_learned_notes());
        if self.seeds_differ() {
            notes.push(self.seeds_note());
        }
        let of_arms = |title: &str, statements: &dyn Fn(&ArmSummary) -> Option<Vec<String>>| {
            let statements_of = |arm| Some((arm, statements(arm)?));
            let arms = self.arms.iter().filter_map(statements_of);
            let arms =
                arms.map(|(arm, statements)| ArmStatements { variant: &arm.variant, statements });
            merged(title, &arms.collect::<Vec<_>>())
        };
        notes.extend(of_arms("VLoRA: ", &|arm| method_statements(&arm.variant.spec)));
        let starts = self.arms.iter().any(|arm| arm.variant.spec.start.is_some());
        notes.extend(of_arms("Start: ", &|arm| {
            let start = arm.runs.iter().find_map(|run| run.start.as_ref());
            let started = start.map(StartRecord::started);
            let statements =
                start_statements(self.evidence_of(arm), &arm.variant, started.as_ref());
            // Of an arm that starts from the seed nothing is said, so that the others are named.
            statements.or_else(|| starts.then(|| vec![String::new(); 2]))
        }));
        for arm in &self.arms {
            let starts = arm.runs.iter().filter_map(|run| run.start.as_ref());
            let kept = starts.flat_map(|start| &start.kept).filter(|kept| kept.rank != Rank::Full);
            let kept: Vec<&Kept> = kept.collect();
            notes.extend(kept_note(&arm.variant.label, &kept));
        }
        notes.extend(
            self.arms.iter().flat_map(|a| match_notes(&a.variant.label, &a.variant.matched)),
        );
        notes.extend(of_arms("Model and training: ", &|arm| {
            let provenance = arm.runs.first().map(|run| &run.provenance);
            Some(training_statements(self.evidence_of(arm), &arm.variant.spec, provenance).into())
        }));
        notes.extend(self.arms.iter().filter_map(ended_early_note));
        notes.extend(of_arms("Precision: ", &|arm| {
            Some(vec![precision_note(arm.variant.spec.precision).into()])
        }));
        if self.precisions_differ() {
            notes.push(
                "Not all arms were computed in the same precision: differences between them \
                 may also come from the precision."
                    .into(),
            );
        }
        notes.extend(self.other_data_note());
        notes.extend(self.data_notes());
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
                "Runs were computed on different devices, which round differently: differences \
                 between them may also come from the device."
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
        notes.extend(verified_notes(&self.runs().collect::<Vec<_>>()));
        notes.extend(load_note(self.runs().map(|r| &r.result)));
        notes.extend(machines);
        for arm in &self.arms {
            let label = &arm.variant.label;
            for (seed, reason) in &arm.failures {
                let reason = reason.lines().next().unwrap_or_default();
                let reason = markdown(reason);
                notes.push(format!("{}, seed {seed}, failed: {reason}", code(label)));
            }
            for run in &arm.damaged {
                notes.push(format!(
                    "{}, seed {}, run {}, left out: {}.",
                    code(label),
                    run.seed,
                    code(&run.id),
                    markdown(run.summary())
                ));
            }
            if arm.unfinished > 0 {
                notes.push(format!("{}: not finished: {}.", code(label), arm.unfinished));
            }
        }
        notes
    }
}

impl Summary {
    /// Says so if arms were trained or tested on other data than others.
    fn other_data_note(&self) -> Option<String> {
        let differ = |seed: u64| {
            let runs = self.runs().filter(|run| run.seed == seed);
            let tested =
                runs.map(|r| (r.provenance.data_sha256.clone(), r.assessment.examples_hash));
            distinct(tested).len() > 1
        };
        if distinct(self.runs().map(|run| run.seed)).into_iter().any(differ) {
            return Some(
                "Not all arms ran on the same data and test examples, tokens included: where they \
                 differ, no difference is taken, and losses do not compare."
                    .into(),
            );
        }
        let trained = self
            .arms
            .iter()
            .filter(|arm| arm.variant.spec.training.trains() && !arm.runs.is_empty());
        let parts = trained.map(|arm| {
            let files = arm.variant.spec.data.files();
            let examples = arm.runs.first().map(|run| run.provenance.train_examples);
            (files.train.to_string(), files.validation.cloned(), files.test.cloned(), examples)
        });
        (distinct(parts).len() > 1).then(|| {
            "Not all arms were trained on the same examples: their splits, or what was left out of \
             them, differ."
                .into()
        })
    }

    /// The data of the runs; where they are several, with the arms that ran on them.
    fn data_notes(&self) -> Vec<String> {
        let notes = distinct(self.runs().map(|run| data_note(&run.provenance)));
        if notes.len() < 2 {
            return notes;
        }
        let arms_of = |note: &String| {
            let ran =
                |arm: &&ArmSummary| arm.runs.iter().any(|r| data_note(&r.provenance) == *note);
            let labels = self.arms.iter().filter(ran).map(|arm| code(&arm.variant.label));
            labels.collect::<Vec<_>>().join(", ")
        };
        notes.iter().map(|note| format!("{note} Arms: {}.", arms_of(note))).collect()
    }
}

/// After how many epochs the runs of an arm ended that could end early.
fn ended_early_note(arm: &ArmSummary) -> Option<String> {
    let training = &arm.variant.spec.training;
    training.patience?;
    let epochs = || arm.runs.iter().map(|run| run.epochs.len());
    let (least, most) = (epochs().min()?, epochs().max()?);
    let range = if least == most { most.to_string() } else { format!("{least} to {most}") };
    Some(format!(
        "{}: training ended after {range} of at most {} epochs.",
        code(&arm.variant.label),
        training.epochs
    ))
}

/// Which runs were repeated, and what came of it.
fn verified_notes(runs: &[&FinishedRun]) -> Vec<String> {
    let all = runs.len();
    let repeated = || runs.iter().filter_map(|run| Some((run, run.verification.as_ref()?)));
    let equal =
        |full: bool| repeated().filter(|(_, v)| v.difference.is_none() && v.full == full).count();
    let mut notes = Vec::new();
    for (full, what) in [(true, "in full"), (false, "in their first steps")] {
        if equal(full) > 0 {
            notes.push(format!(
                "{} of {} runs were repeated {what} and are bitwise identical.",
                count(equal(full) as u64),
                count(all as u64)
            ));
        }
    }
    for (run, verification) in repeated() {
        for what in verification.seed_effects.iter().flat_map(|effects| effects.missing()) {
            notes.push(format!(
                "Another seed does not change the {what} of the run {}: its seeds are not independent.",
                code(&run.id)
            ));
        }
        if let Some(difference) = &verification.difference {
            notes.push(format!(
                "The run {} was repeated and is not the same: {}.",
                code(&run.id),
                markdown(difference.lines().next().unwrap_or_default())
            ));
        }
    }
    notes
}

impl Summary {
    /// Which arms learned nothing, and by which rule. One note for each answer that they
    /// do not beat.
    fn not_learned_notes(&self) -> Vec<String> {
        let mut by_rule: Vec<(&TrivialBaseline, Vec<String>)> = Vec::new();
        for arm in &self.arms {
            let failed: Vec<&FinishedRun> = arm.not_learned().collect();
            let Some(trivial) = failed.first().and_then(|run| run.assessment.trivial()) else {
                continue;
            };
            let which = match failed.len() == arm.runs.len() {
                true => String::new(),
                false => format!(" (seed {})", seeds_text(failed.iter().map(|run| run.seed))),
            };
            let constant = match failed.iter().all(|run| run.assessment.is_constant) {
                true => ", which gives every example the same answer",
                false => "",
            };
            let named = format!("{}{which}{constant}", code(&arm.variant.label));
            match by_rule.iter_mut().find(|(rule, _)| *rule == trivial) {
                Some((_, arms)) => arms.push(named),
                None => by_rule.push((trivial, vec![named])),
            }
        }
        let note = |(trivial, arms): (&TrivialBaseline, Vec<String>)| {
            let metric = self.metric();
            let bound = match metric.better {
                Better::Higher => "most",
                Better::Lower => "least",
            };
            let error = metric.number(trivial.error.unwrap_or_default());
            let error = format!("{error} {}", metric.difference_unit);
            let value = metric.text(trivial.value());
            let answer = match trivial.is_constant {
                true => {
                    format!("one answer for every example reaches ({}: {value})", trivial.answer)
                }
                false => format!("{} reaches ({value})", trivial.answer),
            };
            format!(
                "{NOT_LEARNED} Did not learn: {}. Test {} is at {bound} what {answer}, with one \
                 standard error of that over {} examples ({}).",
                arms.join("; "),
                markdown(metric.name),
                count(trivial.examples as u64),
                error.trim_end()
            )
        };
        by_rule.into_iter().map(note).collect()
    }

    /// Lists the means that are over fewer seeds.
    fn seeds_note(&self) -> String {
        let fewer = self.arms.iter().filter(|arm| self.has_fewer_seeds(arm));
        let named: Vec<String> = fewer
            .map(|arm| {
                let seeds = seeds_text(arm.runs.iter().map(|run| run.seed));
                format!("{} (seed {seeds})", code(&arm.variant.label))
            })
            .collect();
        format!(
            "{FEWER_SEEDS} Over fewer seeds than other arms, with whose means these do not compare: {}. \
             Differences are over the seeds that both arms have.",
            named.join(", ")
        )
    }
}

fn seeds_text(seeds: impl Iterator<Item = u64>) -> String {
    seeds.map(|seed| seed.to_string()).collect::<Vec<_>>().join(", ")
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut out: Vec<T> = Vec::new();
    for item in items {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}
