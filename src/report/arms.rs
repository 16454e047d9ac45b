//! The table of arms.

use super::comparison::Comparison;
use super::fields;
use super::numbers::{difference_title, interval, plus_minus, seeds, signed};
use super::statistics::Spread;
use super::summary::{ArmSummary, FEWER_SEEDS, FinishedRun, NOT_LEARNED, Summary};
use super::table::{Align, Cell, Table, count, percent};
use crate::results::RunResult;
use crate::size::bytes;

impl Summary {
    /// One row per arm. CSV and JSON also have a column for each swept field ([`fields::columns`]).
    pub fn table(&self) -> Table {
        let (metric, unit) = (self.metric(), self.work_unit());
        let difference = difference_title(metric);
        let swept = fields::columns(self, &fields::swept(self));
        let validated = self.arms.iter().any(|arm| arm.validation.is_some());
        let mut table = Table::new().column("arm", "arm", Align::Left);
        for field in &swept {
            table = table.hidden(&field.column);
        }
        let mut table = table
            .column("parameters", "parameters", Align::Right)
            .column("reduction", "reduction", Align::Right)
            .column_if(self.some_frozen(), "trained", "trained", Align::Right)
            .column_if(self.precisions_differ(), "precision", "precision", Align::Left)
            .hidden("metric")
            .column_if(
                validated,
                "validation",
                format!("validation {}", metric.title()),
                Align::Right,
            )
            .hidden("validation_sd")
            .column("mean", format!("test {}", metric.title()), Align::Right)
            .hidden("sd")
            .column("seeds", "seeds", Align::Right)
            .hidden("seeds_planned")
            .hidden("trivial")
            .hidden("not_learned")
            .column("difference", difference, Align::Right)
            .hidden("difference_sd")
            .hidden("difference_low")
            .hidden("difference_high")
            .hidden("difference_seeds");
        for other in self.other_metrics() {
            let title = format!("test {}", other.title());
            table = table.column(format!("test_{}", other.name), title, Align::Right);
            table = table.hidden(format!("test_{}_sd", other.name));
        }
        let mut table = table
            .column("seconds", "training (s)", Align::Right)
            .column("throughput", unit.per_second(), Align::Right)
            .column("peak_bytes", "peak memory", Align::Right);
        for (i, arm) in self.arms.iter().enumerate() {
            let mut cells = vec![Cell::text(&arm.variant.label)];
            cells.extend(swept.iter().map(|field| Cell::of(field.values[i].clone())));
            cells.extend(self.cells(arm));
            table.row(cells);
        }
        table
    }

    /// An arm's cells after the swept fields.
    fn cells(&self, arm: &ArmSummary) -> Vec<Cell> {
        let over_runs = |f: &dyn Fn(&RunResult) -> f64| {
            let values: Vec<f64> = arm.runs.iter().map(|r| f(&r.result)).collect();
            Spread::of(&values).map(|s| s.mean)
        };
        let of_training = |f: &dyn Fn(&RunResult) -> f64| {
            let trained = arm.runs.iter().all(|r| r.result.of_training(()).is_some());
            over_runs(f).filter(|_| trained)
        };
        let optional = |value: Option<f64>, text: &dyn Fn(f64) -> String| match value {
            Some(v) => Cell::number(v, text(v)),
            None => Cell::none(),
        };
        let full = |value: Option<f64>| optional(value, &|v| v.to_string());
        let whole = |n: usize| Cell::number(n, n.to_string());
        let spread = |s: Option<Spread>, text: &dyn Fn(Spread) -> String| match s {
            Some(s) => Cell::number(s.mean, text(s)),
            None => Cell::none(),
        };
        let primary = |s: Spread| plus_minus(self.metric(), s);
        let comparison = arm.comparison.as_ref();
        let (finished, planned) = (arm.runs.len(), self.record.seeds.len());
        let peak = arm.runs.iter().map(|r| r.result.peak_bytes).max().flatten();
        let mut cells = vec![
            Cell::number(arm.variant.parameters, count(arm.variant.parameters)),
            optional(arm.reduction, &|share| percent(share).replace('-', "−")),
            Cell::number(arm.variant.trained, count(arm.variant.trained)),
            Cell::text(arm.variant.spec.precision.name()),
            Cell::text(self.metric().name),
            spread(arm.validation, &primary),
            full(arm.validation.and_then(|s| s.sd)),
            spread(arm.test, &|s| primary(s) + &self.marks(arm)),
            full(arm.test.and_then(|s| s.sd)),
            Cell::number(
                finished,
                match finished == planned {
                    true => finished.to_string(),
                    false => format!("{finished} of {planned}"),
                },
            ),
            whole(planned),
            full(arm.runs.first().and_then(FinishedRun::trivial_value)),
            whole(arm.not_learned().count()),
            comparison.map_or_else(Cell::none, |c| self.difference_cell(c, finished)),
            full(comparison.and_then(|c| c.difference.sd)),
            full(comparison.and_then(|c| c.interval).map(|i| i.low)),
            full(comparison.and_then(|c| c.interval).map(|i| i.high)),
            comparison.map_or_else(Cell::none, |c| whole(c.pairs.len())),
        ];
        for other in self.other_metrics() {
            let values = arm.tested(other);
            cells.push(spread(values, &|s| plus_minus(other, s)));
            cells.push(full(values.and_then(|s| s.sd)));
        }
        cells.extend([
            optional(of_training(&|r| r.training_seconds), &|v| format!("{v:.1}")),
            optional(of_training(&|r| r.throughput), &|v| format!("{v:.0}")),
            match peak {
                Some(peak) => Cell::number(peak, bytes(peak)),
                None => Cell::none(),
            },
        ]);
        cells
    }

    /// The difference with its interval, and the seeds that it is over if the arm has finished more.
    /// Bold if it is significant.
    fn difference_cell(&self, comparison: &Comparison, finished: usize) -> Cell {
        let (metric, paired) = (self.metric(), comparison.pairs.len());
        let mut text = signed(metric, comparison.difference.mean);
        let bounds = comparison.interval.map(|bounds| interval(metric, bounds));
        let fewer = (paired != finished).then(|| seeds(paired));
        let beside: Vec<String> = bounds.into_iter().chain(fewer).collect();
        if !beside.is_empty() {
            text += &format!(" ({})", beside.join("; "));
        }
        Cell::number(comparison.difference.mean, text).bold_if(comparison.is_significant())
    }

    /// The marks at an arm's mean that the notes explain.
    pub fn marks(&self, arm: &ArmSummary) -> String {
        let marks = [
            (arm.not_learned().next().is_some(), NOT_LEARNED),
            (self.has_fewer_seeds(arm), FEWER_SEEDS),
        ];
        let here = marks.iter().filter(|(here, _)| *here).map(|(_, mark)| format!(" {mark}"));
        here.collect()
    }

    /// The label with the marks.
    pub fn marked_label(&self, arm: &ArmSummary) -> String {
        arm.variant.label.clone() + &self.marks(arm)
    }
}
