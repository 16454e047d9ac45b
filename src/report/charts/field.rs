//! The test metric against a field of the spec. Arms that differ only in this field are joined by a
//! line; arms without the field are horizontal lines.

use std::collections::BTreeMap;

use super::legend::{Key, Legend};
use super::marks::{Look, looks};
use super::metric_plot::{Axis, MetricPlot, Series};
use crate::report::fields::swept;
use crate::report::statistics::Spread;
use crate::report::summary::Summary;
use crate::results::VariantRecord;
use crate::spec::{flatten, last_field};

/// The rank of increments. It has a chart even where it differs between arms without a sweep.
pub const RANK: &str = "vlora.rank";
/// The value for a full matrix, placed beyond every number.
const FULL: &str = "full";

/// Fields that a chart can be drawn against: the rank, and the swept fields.
pub fn fields(summary: &Summary) -> Vec<String> {
    let swept = swept(summary).into_iter().filter(|field| field != RANK);
    std::iter::once(RANK.to_string()).chain(swept).collect()
}

/// The arms of one legend entry.
struct Group {
    /// Names without the field on the axis, each once, in the order of the table.
    names: Vec<String>,
    /// The table row of its first arm.
    row: usize,
    points: Vec<(f64, Spread)>,
    /// The marks of all its arms, see [`Summary::marks`].
    marks: String,
    /// The metric of an arm that has no place on the axis.
    level: Option<Spread>,
}

impl Group {
    /// The names of all arms on the line; for many arms, the first, the last and their number.
    fn name(&self) -> String {
        const MAX_NAMES: usize = 3;
        match &self.names[..] {
            [first, .., last] if self.names.len() > MAX_NAMES => {
                format!("{first} … {last} ({} arms)", self.names.len())
            }
            names => names.join(", "),
        }
    }
}

/// None if fewer than two arms differ in the field alone, or if its values are not numbers. Every
/// arm of the summary is in the chart or named below its legend.
pub fn against_field(summary: &Summary, field: &str) -> Option<MetricPlot> {
    let values: Vec<Option<Value>> =
        summary.arms.iter().map(|arm| Value::of(&arm.variant, field)).collect();
    let scale = Scale::of(values.iter().flatten().copied(), field == RANK)?;
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (row, (arm, value)) in summary.arms.iter().zip(&values).enumerate() {
        let Some(test) = arm.test else { continue };
        let variant = &arm.variant;
        let key = match value {
            Some(_) => line_of(variant, field),
            None => variant.label.clone(),
        };
        let name = match value {
            Some(_) => line_name(variant, field),
            None => variant.label.clone(),
        };
        let group = groups.entry(key).or_insert_with(|| Group {
            names: Vec::new(),
            row,
            points: Vec::new(),
            marks: String::new(),
            level: None,
        });
        if !group.names.contains(&name) {
            group.names.push(name);
        }
        for mark in summary.marks(arm).split_whitespace() {
            if !group.marks.contains(mark) {
                group.marks += &format!(" {mark}");
            }
        }
        match value {
            Some(value) => group.points.push((scale.place(*value), test)),
            None => group.level = Some(test),
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| group.row);
    for group in &mut groups {
        group.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    if !groups.iter().any(|group| group.points.len() > 1) {
        return None;
    }
    // An arm looks the same in every chart; a line looks like its first arm.
    let of_arms = looks(&summary.baselines());
    let looks: Vec<Look> = groups.iter().map(|group| of_arms[group.row]).collect();
    let key = |group: &Group| match group.points.len() {
        1 => Key::Mark,
        _ => Key::Both,
    };
    let entries = groups.iter().zip(&looks);
    let mut legend = Legend::new(
        entries.clone().map(|(group, look)| (group.name() + &group.marks, *look, key(group))),
    );
    if groups.iter().any(|group| group.level.is_some()) {
        legend.add_sentence(&format!("A line across is an arm without {}.", title(field)));
    }
    legend.add_notes(summary);
    let levels = entries.clone().filter_map(|(group, look)| Some((*look, group.level?)));
    let levels = levels.collect();
    let series = entries.filter(|(group, _)| !group.points.is_empty()).map(|(group, look)| {
        Series { look: *look, joined: group.points.len() > 1, points: group.points.clone() }
    });
    let x_title = match field {
        RANK => "Rank".to_string(),
        other => other.to_string(),
    };
    let mut labels: Vec<(f64, String)> =
        values.iter().flatten().map(|value| (scale.place(*value), value.text())).collect();
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    labels.dedup();
    Some(MetricPlot {
        x_title,
        metric: summary.metric(),
        axis: Axis::Places(labels),
        series: series.collect(),
        levels,
        front: Vec::new(),
        ladders: Vec::new(),
        legend,
    })
}

fn title(field: &str) -> String {
    match field {
        RANK => "a VLoRA rank".into(),
        other => other.into(),
    }
}

/// A key that is equal for the points of one line. Swept values belong to one line if they are of
/// one arm and, for matched arms, of one size. Other arms belong together if they differ only in
/// the field.
fn line_of(variant: &VariantRecord, field: &str) -> String {
    let (swept, rest): (Vec<_>, Vec<_>) = variant.point.iter().partition(|(key, _)| key == field);
    if !swept.is_empty() {
        let sizes: Vec<usize> = variant.matched.iter().map(|m| m.value).collect();
        return format!("{} {rest:?} {sizes:?}", variant.arm);
    }
    let mut fields = flatten(&variant.spec);
    fields.remove(field);
    format!("{fields:?}")
}

/// The label without the field on the axis.
fn line_name(variant: &VariantRecord, field: &str) -> String {
    let at = variant.point.iter().find(|(key, _)| key == field);
    // The whole field stands in labels where two swept fields have the same last name.
    let swept: Vec<String> = at.map_or(Vec::new(), |(key, value)| {
        [last_field(key), key].map(|name| format!("{name}={value}")).to_vec()
    });
    let parts = variant.label.split(' ').filter(|part| swept.iter().all(|swept| swept != part));
    parts.collect::<Vec<_>>().join(" ")
}

/// A number, or `full`, which is placed beyond all numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Number(f64),
    Full,
}

impl Value {
    /// From the arm's spec; from its sweep point if the spec does not have the field.
    fn of(variant: &VariantRecord, field: &str) -> Option<Value> {
        let at_point = variant.point.iter().find(|(key, _)| key == field);
        let text = flatten(&variant.spec).remove(field);
        let text = text.or(at_point.map(|(_, value)| value.clone()))?;
        match text.trim_matches('"') {
            FULL => Some(Value::Full),
            number => number.parse().ok().filter(|v: &f64| v.is_finite()).map(Value::Number),
        }
    }

    fn text(self) -> String {
        match self {
            Value::Full => FULL.into(),
            Value::Number(v) if v != 0.0 && !(1e-3..1e6).contains(&v.abs()) => format!("{v:e}"),
            Value::Number(v) => v.to_string(),
        }
    }
}

/// Positions on the x axis. It is logarithmic where values span more than a factor of four, and for
/// ranks. A value without a logarithm is one step beyond the smallest or the largest.
#[derive(Clone, Copy, Debug)]
struct Scale {
    logarithmic: bool,
    low: f64,
    high: f64,
    step: f64,
}

impl Scale {
    /// None if there are no numbers.
    fn of(values: impl Iterator<Item = Value>, is_rank: bool) -> Option<Scale> {
        let numbers: Vec<f64> = values
            .filter_map(|value| match value {
                Value::Number(v) => Some(v),
                Value::Full => None,
            })
            .collect();
        let range = |all: &mut dyn Iterator<Item = f64>| {
            all.fold(None, |range: Option<(f64, f64)>, v| {
                Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
            })
        };
        let (least, most) = range(&mut numbers.iter().copied())?;
        let positive = range(&mut numbers.iter().copied().filter(|v| *v > 0.0));
        match positive {
            Some((low, high)) if least >= 0.0 && (is_rank || high > 4.0 * low) => {
                let (low, high) = (low.log2(), high.log2());
                let step = ((high - low) / 6.0).max(1.0);
                Some(Scale { logarithmic: true, low, high, step })
            }
            _ => {
                let step = ((most - least) / 6.0).max(f64::MIN_POSITIVE);
                Some(Scale { logarithmic: false, low: least, high: most, step })
            }
        }
    }

    fn place(&self, value: Value) -> f64 {
        match value {
            Value::Full => self.high + self.step,
            Value::Number(v) if !self.logarithmic => v,
            Value::Number(0.0) => self.low - self.step,
            Value::Number(v) => v.log2(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_placed_on_the_axis() {
        let scale = |values: &[Value], rank| Scale::of(values.iter().copied(), rank);
        let n = Value::Number;
        let ranks = scale(&[n(0.0), n(1.0), n(8.0), Value::Full], true).unwrap();
        let places = [n(0.0), n(1.0), n(8.0), Value::Full].map(|v| ranks.place(v));
        assert_eq!(places, [-1.0, 0.0, 3.0, 4.0]);
        // Learning rates over decades, neighbouring depths, negative numbers.
        assert!(scale(&[n(1e-4), n(1e-2)], false).unwrap().logarithmic);
        assert!(!scale(&[n(4.0), n(6.0), n(8.0)], false).unwrap().logarithmic);
        let linear = scale(&[n(-1.0), n(100.0)], false).unwrap();
        assert_eq!((linear.place(n(-1.0)), linear.place(n(100.0))), (-1.0, 100.0));
        assert!(scale(&[Value::Full], true).is_none());
    }

    #[test]
    fn values_are_named_as_they_are_written() {
        let named: Vec<String> =
            [0.0, 4.0, 0.05, 3e-4, 2e7].map(|v| Value::Number(v).text()).to_vec();
        assert_eq!(named, ["0", "4", "0.05", "3e-4", "2e7"]);
    }
}
