//! The table of answers that need no trained model, beside which those of the arms are read.

use super::summary::Summary;
use super::table::{Align, Cell, Table, count};
use crate::results::ReferenceScore;

impl Summary {
    /// One row for each kind of answers. None where all of them are constant: the notes name a constant
    /// answer where an arm is no better.
    pub fn references_table(&self) -> Option<Table> {
        let references = self.references();
        if references.iter().all(|reference| reference.is_constant) {
            return None;
        }
        let metrics = || std::iter::once(self.metric()).chain(self.other_metrics());
        let mut table = Table::new().column("answer", "answer", Align::Left);
        for metric in metrics() {
            let title = format!("test {}", metric.title());
            table = table.column(format!("test_{}", metric.name), title, Align::Right);
        }
        let mut table = table.column("examples", "examples", Align::Right);
        for reference in references {
            let mut cells = vec![Cell::text(reference.answer)];
            cells.extend(metrics().enumerate().map(|(i, metric)| {
                let value = reference.metrics.get(i).copied().flatten();
                let text = |value| metric.number(value).replace('-', "−");
                value.map_or_else(Cell::none, |value| Cell::number(value, text(value)))
            }));
            cells.push(Cell::number(reference.examples, count(reference.examples as u64)));
            table.row(cells);
        }
        Some(table)
    }

    /// What the rows are, as Markdown.
    pub fn references_notes(&self) -> Vec<String> {
        vec![
            "Answers that need no trained model, on the test examples and by the metrics of the arms. \
             They are the same for every seed."
                .into(),
        ]
    }

    /// Those of all runs. Runs on the same examples have the same ones.
    fn references(&self) -> Vec<&ReferenceScore> {
        let mut distinct: Vec<&ReferenceScore> = Vec::new();
        for reference in self.runs().flat_map(|run| &run.assessment.references) {
            if !distinct.contains(&reference) {
                distinct.push(reference);
            }
        }
        distinct
    }
}
