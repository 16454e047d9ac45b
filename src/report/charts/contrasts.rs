//! Arms of several experiments against those they are compared with, in margins of their tasks.

use super::forest::{Comparison, Forest, Row};
use super::marks::looks;
use crate::report::claims::Contrast;
use crate::report::numbers::level;
use crate::report::text::chart_text;

/// Differences in margins, one row a contrast, under a heading for each experiment. None without any.
pub fn contrasts(contrasts: &[&Contrast]) -> Option<Forest> {
    // Two looks that differ without colour.
    let looks = looks(&[true, false]);
    let mut rows = Vec::new();
    let mut experiment = None;
    for contrast in contrasts {
        if experiment != Some(&contrast.experiment) {
            experiment = Some(&contrast.experiment);
            let text = format!("{}: {}", contrast.experiment, contrast.metric.title());
            rows.push(Row::Heading(chart_text(&text)));
        }
        let of = |difference: f64| contrast.in_margins(difference);
        let comparison = &contrast.comparison;
        let against = match contrast.is_with_baseline {
            true => String::new(),
            false => format!(" against {}", contrast.against),
        };
        let label = format!("{}{against}, {}", contrast.arm, contrast.fewer());
        rows.push(Row::Comparison(Comparison {
            label: chart_text(&label),
            look: looks[usize::from(contrast.is_claimed)],
            mean: of(comparison.difference.mean),
            interval: comparison.interval.map(|i| [of(i.low), of(i.high)]),
            seeds: comparison.pairs.iter().map(|pair| of(pair.difference)).collect(),
            text: chart_text(&contrast.difference()),
            is_bold: contrast.is_claimed,
        }));
    }
    let title =
        format!("Difference in margins, right is better: mean, {} interval, seeds", level());
    (!rows.is_empty()).then(|| Forest {
        rows,
        limit: Some((-1.0, "margin".into())),
        title,
        note:
            "Labels: how many parameters fewer than the baseline. Numbers: in the metric's unit. \
               Squares, bold: what claims are about."
                .into(),
    })
}
