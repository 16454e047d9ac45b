//! Test examples with the outputs of every arm side by side, to be read by people.

use super::summary::{FinishedRun, Summary};
use super::table::{Align, Cell, Format, Table, count};
use super::text::{code, markdown};
use crate::error::Result;
use crate::results::{ExperimentFolder, Samples};

/// Examples that are shown.
const EXAMPLES: usize = 20;

/// Outputs of the arms' runs of one seed.
pub struct SampleOutputs {
    /// One sentence a note, as Markdown.
    pub notes: Vec<String>,
    pub examples: Vec<SampleExample>,
}

/// An example with what it asks for and what the arms gave.
pub struct SampleExample {
    /// Its place in the test split.
    pub example: usize,
    /// What the line is, and its text: the input, the reference, and the output of each arm.
    pub lines: Vec<(String, String)>,
}

impl SampleOutputs {
    /// Reads the outputs of the seed that most arms have finished, the first of equals. None without a
    /// finished run, and for tasks whose outputs are not read by people.
    pub fn read(summary: &Summary, folder: &ExperimentFolder) -> Result<Option<SampleOutputs>> {
        let of_seed = |seed: u64| {
            let arms = summary.arms.iter();
            let runs = arms
                .filter_map(move |arm| Some((arm, arm.runs.iter().find(|run| run.seed == seed)?)));
            runs.collect::<Vec<_>>()
        };
        let seeds = summary.record.seeds.iter();
        let all = seeds.map(|seed| (*seed, of_seed(*seed)));
        let most = all.reduce(|best, next| if next.1.len() > best.1.len() { next } else { best });
        let Some((seed, runs)) = most else { return Ok(None) };
        let mut read: Vec<(&str, &FinishedRun, Samples)> = Vec::new();
        for (arm, run) in runs {
            // Outputs stand beside each other only if they are for the same examples.
            let is_other = |(_, first, _): &(&str, &FinishedRun, Samples)| {
                first.assessment.examples_hash != run.assessment.examples_hash
            };
            if read.first().is_some_and(is_other) {
                continue;
            }
            let evidence = summary.evidence_of(arm);
            if let Some(samples) = evidence.samples(&folder.run(&run.id), EXAMPLES)? {
                read.push((&arm.variant.label, run, samples));
            }
        }
        let Some((_, _, first)) = read.first() else { return Ok(None) };
        let examples = first.examples.iter().enumerate().map(|(place, sample)| {
            let shared =
                [(first.input, &sample.input), ("reference", &sample.reference)].into_iter();
            let outputs = read.iter().filter_map(|(label, _, samples)| {
                let arm_sample = samples.examples.get(place)?;
                (arm_sample.example == sample.example).then_some((*label, &arm_sample.output))
            });
            let lines = shared.chain(outputs).map(|(name, text)| (name.to_string(), text.clone()));
            SampleExample { example: sample.example, lines: lines.collect() }
        });
        let mut notes = vec![format!(
            "{} of {} test examples, evenly spaced over the split: the results had no part in the \
             choice. Outputs are those of seed {seed}.",
            count(first.examples.len() as u64),
            count(first.of as u64)
        )];
        let is_shown = |label: &str| read.iter().any(|(shown, ..)| *shown == label);
        let labels = summary.arms.iter().map(|arm| arm.variant.label.as_str());
        let missing: Vec<String> = labels.filter(|label| !is_shown(label)).map(code).collect();
        if !missing.is_empty() {
            notes.push(format!(
                "Without a finished run of this seed on these examples: {}.",
                missing.join(", ")
            ));
        }
        Ok(Some(SampleOutputs { notes, examples: examples.collect() }))
    }

    /// A page of Markdown with a table for each example.
    pub fn markdown(&self, experiment: &str) -> String {
        let mut out = format!("# {}: sample outputs\n\n", markdown(experiment));
        for note in &self.notes {
            out += &format!("- {note}\n");
        }
        for SampleExample { example, lines } in &self.examples {
            let mut table =
                Table::new().column("of", "", Align::Left).column("text", "", Align::Left);
            for (name, text) in lines {
                table.row(vec![Cell::text(name), Cell::text(text)]);
            }
            out += &format!("\n## Example {example}\n\n{}", table.render(Format::Markdown));
        }
        out
    }
}
