//! Arms beside the ones they are compared with, over all experiments that claims are about.

use serde_json::{Value, json};

use super::{EvaluatedClaim, Verdict};
use crate::report::comparison::Comparison;
use crate::report::numbers::{interval, level, plus_minus, signed};
use crate::report::statistics::{SIGNIFICANCE, Spread};
use crate::report::table::{Align, Cell, Table, percent};
use crate::results::Metric;

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
    /// The metric on the test split, of the arm and of the other one.
    pub tests: [Spread; 2],
    pub comparison: Comparison,
    /// The loss that counts as none, in the metric's printed unit.
    pub margin: f64,
    /// Whether the loss is within the margin.
    pub verdict: Verdict,
}

impl Contrast {
    /// `−3.0 (−4.7 to −1.4)`, in the metric's printed unit.
    pub fn difference(&self) -> String {
        let bounds = self.comparison.interval;
        let bounds = bounds.map_or(String::new(), |b| format!(" ({})", interval(self.metric, b)));
        format!("{}{bounds}", signed(self.metric, self.comparison.difference.mean))
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

    fn loss(&self) -> &'static str {
        match self.verdict {
            Verdict::Supported => "within the margin",
            Verdict::NotSupported => "beyond the margin",
            Verdict::Undecided | Verdict::NotRun => "undecided",
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
            "loss": self.loss(),
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
        .column("reduction", "parameters", Align::Right)
        .column("metric", "test metric", Align::Left)
        .column("mean", "mean", Align::Right)
        .column("against", "against", Align::Right)
        .column("difference", format!("difference ({})", level()), Align::Right)
        .column("seeds", "seeds", Align::Right)
        .column("margin", "margin", Align::Right)
        .column("loss", "loss", Align::Left);
    for contrast in contrasts {
        let [own, other] = contrast.tests.map(|test| plus_minus(contrast.metric, test));
        let n = contrast.comparison.pairs.len();
        let cells = [
            contrast.experiment.clone(),
            contrast.arm.clone(),
            contrast.fewer(),
            contrast.metric.title(),
            own,
            format!("{}: {other}", contrast.against),
            contrast.difference(),
            n.to_string(),
            contrast.margin.to_string(),
            contrast.loss().to_string(),
        ];
        let is_bold = contrast.is_claimed;
        table.row(cells.map(|text| Cell::text(text).bold_if(is_bold)).to_vec());
    }
    table
}

/// What the table and the chart show, as Markdown.
pub fn contrast_note() -> String {
    format!(
        "Each arm stands beside the one under \"against\", over the seeds that both have finished: differences are \
         paired by seed, with their {} interval. Bold: what claims are about. The loss is within the margin, or \
         beyond it, by a one-sided paired t-test at {}. The chart shows the same in margins, so that metrics share \
         an axis: right of zero the arm is better, left of the dashed line its loss is larger than the margin.",
        level(),
        percent(SIGNIFICANCE).replace(".0", "")
    )
}
