//! The table of trivial baselines: predictions that need no trained model.

use super::summary::Summary;
use super::table::{Align, Cell, Table, count};
use crate::results::TrivialBaseline;

impl Summary {
    /// One row for each trivial baseline. None where all of them are constant predictions: the notes name these
    /// where an arm is no better.
    pub fn trivial_baselines_table(&self) -> Option<Table> {
        let baselines = self.trivial_baselines();
        if baselines.iter().all(|(baseline, _)| baseline.is_constant) {
            return None;
        }
        let metrics = || std::iter::once(self.metric()).chain(self.other_metrics());
        let mut table = Table::new().column("baseline", "baseline", Align::Left);
        for metric in metrics() {
            let title = format!("test {}", metric.title());
            table = table.column(format!("test_{}", metric.name), title, Align::Right);
        }
        let mut table = table.column("examples", "examples", Align::Right);
        for (baseline, arms) in &baselines {
            let same = baselines.iter().filter(|(other, _)| other.answer == baseline.answer);
            let answer = match same.count() {
                1 => baseline.answer.to_string(),
                // Arms whose data are treated otherwise.
                _ => format!("{} ({})", baseline.answer, arms.join(", ")),
            };
            let mut cells = vec![Cell::text(answer)];
            cells.extend(metrics().enumerate().map(|(i, metric)| {
                let value = baseline.metrics.get(i).copied().flatten();
                let text = |value| metric.number(value).replace('-', "−");
                value.map_or_else(Cell::none, |value| Cell::number(value, text(value)))
            }));
            cells.push(Cell::number(baseline.examples, count(baseline.examples as u64)));
            table.row(cells);
        }
        Some(table)
    }

    /// What the rows are, as Markdown.
    pub fn trivial_baselines_notes(&self) -> Vec<String> {
        vec![
            "Predictions that need no trained model, on the test examples and by the metrics of the arms. \
             They are the same for every seed."
                .into(),
        ]
    }

    /// Those of all runs, with the labels of their arms. Runs on the same examples have the same ones.
    fn trivial_baselines(&self) -> Vec<(&TrivialBaseline, Vec<&str>)> {
        let mut distinct: Vec<(&TrivialBaseline, Vec<&str>)> = Vec::new();
        for arm in &self.arms {
            let label = arm.variant.label.as_str();
            for baseline in arm.runs.iter().flat_map(|run| &run.assessment.trivial_baselines) {
                match distinct.iter_mut().find(|(known, _)| *known == baseline) {
                    Some((_, arms)) if arms.last() == Some(&label) => {}
                    Some((_, arms)) => arms.push(label),
                    None => distinct.push((baseline, vec![label])),
                }
            }
        }
        distinct
    }
}
