//! Arms beside the ones they are compared with, over all experiments that claims are about.

use serde_json::{Value, json};

use super::{EvaluatedClaim, Verdict};
use crate::report::comparison::Comparison;
use crate::report::numbers::{level, mean_and_interval, plus_minus};
use crate::report::statistics::{SIGNIFICANCE, Spread};
use crate::report::table::{Align, Cell, Table, percent};
use crate::report::text::markdown;
use crate::results::Metric;
use crate::spec::NUMERICS_VERSION;

/// An arm beside the one it is compared with, by the margin of its task.
#[derive(Clone, Debug)]
pub struct Contrast {
    pub experiment: String,
    pub arm: String,
    /// The arm that it is compared with.
    pub against: String,
    /// Whether that is the experiment's baseline.
    pub is_with_baseline: bool,
    /// Whether a claim is about it. The others are shown beside it.
    pub is_claimed: bool,
    /// 1 − parameters / those of the other arm.
    pub reduction: f64,
    pub metric: &'static Metric,
    /// The metric on the test split, of the arm and of the other one, over the seeds that both have finished.
    pub tests: [Spread; 2],
    pub comparison: Comparison,
    /// The loss that counts as none, in the metric's printed unit.
    pub margin: f64,
    /// The bounds of the one-sided tests in the printed unit, positive where the arm is better. None where the
    /// spread over seeds is not known.
    pub bounds: Option<[f64; 2]>,
    /// Whether the arm is non-inferior.
    pub verdict: Verdict,
    /// The numerics version of its runs, where it is not this program's.
    pub numerics: Option<u32>,
}

impl Contrast {
    /// `−3.0 (−4.7 to −1.4)`, in the metric's printed unit.
    pub fn difference(&self) -> String {
        let Comparison { difference, interval, .. } = &self.comparison;
        mean_and_interval(self.metric, difference.mean, *interval)
    }

    /// A difference of the metric in margins, positive where the arm is better.
    pub fn in_margins(&self, difference: f64) -> f64 {
        self.metric.better.sign() * self.metric.shown(difference) / self.margin
    }

    /// `61.0 % fewer`, `2.0 % more`, `as many`.
    pub fn fewer(&self) -> String {
        match percent(self.reduction.abs()) {
            none if none == percent(0.0) => "as many".into(),
            share if self.reduction > 0.0 => format!("{share} fewer"),
            share => format!("{share} more"),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.verdict {
            Verdict::Supported => "non-inferior",
            Verdict::NotSupported => "inferior",
            Verdict::Undecided | Verdict::NotRun => "inconclusive",
        }
    }

    /// `3`, `8 of 10`.
    fn seeds(&self) -> String {
        match (self.comparison.pairs.len(), self.comparison.planned) {
            (n, planned) if n < planned => format!("{n} of {planned}"),
            (n, _) => n.to_string(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let shown = |difference: f64| self.metric.shown(difference);
        let bounds = self.comparison.interval.map(|b| [shown(b.low), shown(b.high)]);
        json!({
            "experiment": self.experiment,
            "arm": self.arm,
            "against": self.against,
            "is_claimed": self.is_claimed,
            "reduction": self.reduction,
            "metric": self.metric.name,
            "mean": shown(self.tests[0].mean),
            "against_mean": shown(self.tests[1].mean),
            "difference": shown(self.comparison.difference.mean),
            "interval": bounds,
            "seeds": self.comparison.pairs.len(),
            "margin": self.margin,
            "verdict": self.verdict(),
        })
    }
}

/// All contrasts of the claims' checks, those of one experiment together, each arm once.
pub fn contrasts<'a>(evaluated: &'a [EvaluatedClaim]) -> Vec<&'a Contrast> {
    let all = evaluated.iter().flat_map(|claim| &claim.checks).flat_map(|check| &check.contrasts);
    let mut out: Vec<&Contrast> = Vec::new();
    for contrast in all {
        let arms = |c: &Contrast| (c.experiment.clone(), c.arm.clone(), c.against.clone());
        let same = out.iter().position(|other| arms(other) == arms(contrast));
        let last = out.iter().rposition(|other| other.experiment == contrast.experiment);
        match (same, last) {
            (Some(same), _) if contrast.is_claimed => out[same] = contrast,
            (Some(_), _) => {}
            (None, Some(last)) => out.insert(last + 1, contrast),
            (None, None) => out.push(contrast),
        }
    }
    out
}

/// One row for each contrast.
pub fn contrast_table(contrasts: &[&Contrast]) -> Table {
    let mut table = Table::new()
        .column("experiment", "experiment", Align::Left)
        .column("arm", "arm", Align::Left)
        .column("role", "role", Align::Left)
        .column("reduction", "parameters", Align::Right)
        .column("metric", "test metric", Align::Left)
        .column("mean", "mean", Align::Right)
        .column("against", "against", Align::Right)
        .column("difference", format!("difference ({})", level()), Align::Right)
        .column("seeds", "seeds", Align::Right)
        .column("margin", "margin", Align::Right)
        .column("verdict", "verdict", Align::Left);
    for contrast in contrasts {
        let [mean, other] = contrast.tests.map(|test| plus_minus(contrast.metric, test));
        let cells = [
            contrast.experiment.clone(),
            contrast.arm.clone(),
            if contrast.is_claimed { "claimed" } else { "beside" }.to_string(),
            contrast.fewer(),
            contrast.metric.title(),
            mean,
            format!("{}: {other}", contrast.against),
            contrast.difference(),
            contrast.seeds(),
            contrast.margin.to_string(),
            contrast.verdict().to_string(),
        ];
        table.row(cells.map(Cell::text).to_vec());
    }
    table
}

/// What the table and the chart show, as Markdown.
pub fn contrast_note(contrasts: &[&Contrast]) -> String {
    let mut older: Vec<String> = contrasts
        .iter()
        .filter_map(|c| Some(format!("{} ({})", markdown(&c.experiment), c.numerics?)))
        .collect();
    older.dedup();
    let older = match older.is_empty() {
        true => String::new(),
        false => format!(
            " Computed by an earlier numerics version than {NUMERICS_VERSION}: {}.",
            older.join(", ")
        ),
    };
    format!(
        "Each arm stands beside the one under \"against\", over the seeds that both have finished: differences are \
         paired by seed, with their {} interval. Non-inferior: the loss is smaller than the margin, by a one-sided \
         paired t-test at {}; inferior: it is larger, by the same test in the other direction. Claims are about the \
         arms in the role \"claimed\". Those beside are exploratory, and no test is adjusted for the others. The \
         chart shows the same in margins, so that metrics share an axis: right of zero the arm is better, and an \
         interval that begins right of the dashed line is non-inferior.{older}",
        level(),
        percent(SIGNIFICANCE).replace(".0", "")
    )
}
