//! Every arm's difference to its baseline: mean, interval and single seeds, sorted by the mean.

use super::forest::{Effect, Forest, Row};
use super::marks::looks;
use crate::report::numbers::{level, mean_and_interval};
use crate::report::summary::Summary;
use crate::report::text::chart_text;
use crate::results::Better;

/// Most rows: the primary contrast, then those with the largest differences.
const MAX_ROWS: usize = 60;

/// Differences to the baseline, one row an arm, the best on top. None if no arm is compared with a baseline.
pub fn effects(summary: &Summary) -> Option<Forest> {
    let metric = summary.metric();
    let looks = looks(&summary.baselines());
    let arms = summary.arms.iter().zip(looks);
    let mut rows: Vec<(bool, Effect)> = arms
        .filter_map(|(arm, look)| {
            let c = arm.comparison.as_ref()?;
            let row = Effect {
                label: chart_text(&summary.marked_label(arm)),
                look,
                mean: metric.shown(c.difference.mean),
                interval: c.interval.map(|i| [metric.shown(i.low), metric.shown(i.high)]),
                seeds: c.pairs.iter().map(|pair| metric.shown(pair.difference)).collect(),
                text: mean_and_interval(metric, c.difference.mean, c.interval),
                is_bold: c.is_significant(),
            };
            Some((c.is_primary, row))
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    rows.sort_by(|(primary, a), (other, b)| {
        other.cmp(primary).then(b.mean.abs().total_cmp(&a.mean.abs()))
    });
    let more = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    rows.sort_by(|(_, a), (_, b)| match metric.better {
        Better::Higher => b.mean.total_cmp(&a.mean),
        Better::Lower => a.mean.total_cmp(&b.mean),
    });
    let unit = match metric.difference_unit {
        "" => String::new(),
        unit => format!(" ({unit})"),
    };
    let bold = if rows.iter().any(|(_, row)| row.is_bold) { "; bold: significant" } else { "" };
    let (name, level) = (metric.name, level());
    Some(Forest {
        rows: rows.into_iter().map(|(_, row)| Row::Effect(row)).collect(),
        limit: None,
        title: format!(
            "Test {name} minus the baseline's{unit}: mean, {level} interval, seeds{bold}"
        ),
        note: match more {
            0 => String::new(),
            more => format!("{more} arms with smaller differences are in comparisons.csv"),
        },
    })
}
