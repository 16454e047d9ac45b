//! Arms of several experiments against those they are compared with, in margins of their tasks.

use super::forest::{Effect, Forest, Row};
use super::marks::looks;
use crate::report::claims::Contrast;
use crate::report::statistics::SIGNIFICANCE;
use crate::report::table::percent;
use crate::report::text::chart_text;
use crate::results::Better;

/// Differences in margins, one row a contrast, under a heading for each experiment. None without any.
pub fn contrasts(contrasts: &[&Contrast]) -> Option<Forest> {
    // Two looks that differ without colour.
    let looks = looks(&[true, false]);
    let mut rows = Vec::new();
    let mut experiment = None;
    for contrast in contrasts {
        let metric = contrast.metric;
        if experiment != Some(&contrast.experiment) {
            experiment = Some(&contrast.experiment);
            let lower = match metric.better {
                Better::Higher => "",
                Better::Lower => ", lower is better",
            };
            let text = format!("{}: {}{lower}", contrast.experiment, metric.title());
            rows.push(Row::Heading(chart_text(&text)));
        }
        let against = match contrast.is_with_baseline {
            true => String::new(),
            false => format!(" against {}", contrast.against),
        };
        let label = format!("{}{against}, {}", contrast.arm, contrast.fewer());
        let of = |difference: f64| contrast.in_margins(difference);
        rows.push(Row::Effect(Effect {
            label: chart_text(&label),
            look: looks[usize::from(contrast.is_claimed)],
            mean: of(contrast.comparison.difference.mean),
            interval: contrast
                .bounds
                .map(|[low, high]| [low / contrast.margin, high / contrast.margin]),
            seeds: contrast.comparison.pairs.iter().map(|pair| of(pair.difference)).collect(),
            text: chart_text(&contrast.difference()),
            is_bold: false,
        }));
    }
    let level = percent(1.0 - 2.0 * SIGNIFICANCE).replace(".0", "");
    let title = format!(
        "Difference in margins, right is better: mean, {level} interval of the test, seeds"
    );
    (!rows.is_empty()).then(|| Forest {
        rows,
        limit: Some((-1.0, "margin".into())),
        title,
        note: "Labels: how many parameters fewer than what it is compared with. Numbers: in the metric's unit, with the \
               95 % interval. Squares: what claims are about."
            .into(),
    })
}
