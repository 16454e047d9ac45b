//! The test metric against the parameter count, and against the rank.

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::style::{INK, Look, Style, legend_size, looks, padded, short_count};
use super::{Chart, Drawn};
use crate::report::statistics::Spread;
use crate::report::summary::Summary;
use crate::results::VariantRecord;
use crate::spec::{Rank, flatten, last_field};

/// Points with error bars of one standard deviation over a number.
pub struct Against {
    x_title: String,
    y_title: String,
    /// The x axis starts at zero, not near its smallest point.
    x_from_zero: bool,
    x_label: Box<dyn Fn(f64) -> String>,
    series: Vec<Series>,
    /// A horizontal line with its deviation: the baseline, where it has no place on the x axis.
    reference: Option<(String, Spread)>,
}

struct Series {
    name: String,
    look: Look,
    joined: bool,
    /// (x, metric).
    points: Vec<(f64, Spread)>,
}

/// One point an arm. None where no run has finished.
pub fn against_parameters(summary: &Summary) -> Option<Against> {
    let series: Vec<Series> = summary
        .arms
        .iter()
        .zip(looks(&summary.baselines()))
        .filter_map(|(arm, look)| {
            let points = vec![(arm.variant.parameters as f64, arm.test?)];
            Some(Series { name: arm.variant.label.clone(), look, joined: false, points })
        })
        .collect();
    (!series.is_empty()).then(|| Against {
        x_title: "Parameters".into(),
        y_title: y_title(summary),
        x_from_zero: true,
        x_label: Box::new(short_count),
        series,
        reference: None,
    })
}

/// A line for VLoRA arms that differ in nothing but the rank. None where there are not two of
/// them.
pub fn against_rank(summary: &Summary) -> Option<Against> {
    let scale = RankScale::of(summary);
    let mut groups: BTreeMap<String, (String, Vec<(f64, Spread)>)> = BTreeMap::new();
    for arm in &summary.arms {
        let (Some(vlora), Some(test)) = (&arm.variant.spec.vlora, arm.test) else { continue };
        let group = groups.entry(line_of(&arm.variant)).or_default();
        // Arms that differ in the rank alone go by the first one's name.
        if group.0.is_empty() {
            group.0 = group_name(&arm.variant);
        }
        group.1.push((scale.place(vlora.rank), test));
    }
    groups.retain(|_, (_, points)| points.len() > 1);
    if groups.is_empty() {
        return None;
    }
    let plain = vec![false; groups.len()];
    let series = groups
        .into_values()
        .zip(looks(&plain))
        .map(|((name, mut points), look)| {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series { name, look, joined: true, points }
        })
        .collect();
    let mut bases = summary.arms.iter().filter(|a| a.variant.arm == summary.record.baseline);
    let reference = match (bases.next(), bases.next()) {
        // With several baselines, one a sweep point, no single line is the one to compare with.
        (Some(base), None) => base.test.map(|test| (base.variant.label.clone(), test)),
        _ => None,
    };
    Some(Against {
        x_title: "Rank".into(),
        y_title: y_title(summary),
        x_from_zero: false,
        x_label: Box::new(move |v| scale.label(v)),
        series,
        reference,
    })
}

/// What the points of one line share. Swept ranks are one arm's; arms of their own belong together
/// where they differ in nothing but the rank.
fn line_of(variant: &VariantRecord) -> String {
    let (rank, rest): (Vec<_>, Vec<_>) =
        variant.point.iter().partition(|(key, _)| key == "vlora.rank");
    if !rank.is_empty() {
        return format!("{} {rest:?}", variant.arm);
    }
    let mut fields = flatten(&variant.spec);
    fields.remove("vlora.rank");
    format!("{fields:?}")
}

/// Places of ranks on the x axis: logarithmic, with the two ends that have no logarithm one step
/// beyond the smallest and the largest rank.
#[derive(Clone, Copy, Debug)]
struct RankScale {
    low: f64,
    high: f64,
    /// Whether rank 0 and `full` occur.
    ends: (bool, bool),
}

impl RankScale {
    fn of(summary: &Summary) -> RankScale {
        let ranks =
            || summary.arms.iter().filter_map(|a| Some(a.variant.spec.vlora.as_ref()?.rank));
        let logs = ranks().filter_map(|rank| match rank {
            Rank::Of(rank @ 1..) => Some((rank as f64).log2()),
            _ => None,
        });
        let (low, high) =
            logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (0.0, 0.0) } else { (low.floor(), high.ceil()) };
        let has = |end: Rank| ranks().any(|rank| rank == end);
        RankScale { low, high, ends: (has(Rank::Of(0)), has(Rank::Full)) }
    }

    fn place(&self, rank: Rank) -> f64 {
        match rank {
            Rank::Of(0) => self.low - 1.0,
            Rank::Of(rank) => (rank as f64).log2(),
            Rank::Full => self.high + 1.0,
        }
    }

    /// The rank at a place of the axis, where it is a whole one.
    fn label(&self, place: f64) -> String {
        let at = place.round();
        match (place - at).abs() < 1e-6 {
            true if at < self.low => {
                if self.ends.0 && at == self.low - 1.0 { "0" } else { "" }.into()
            }
            true if at > self.high => {
                if self.ends.1 && at == self.high + 1.0 { "full" } else { "" }.into()
            }
            true => format!("{:.0}", at.exp2()),
            false => String::new(),
        }
    }
}

/// The arm with its swept fields, without the rank.
fn group_name(variant: &VariantRecord) -> String {
    let fields = variant.point.iter().filter(|(key, _)| key != "vlora.rank");
    let named = fields.map(|(key, value)| format!(" {}={value}", last_field(key)));
    variant.arm.clone() + &named.collect::<String>()
}

fn y_title(summary: &Summary) -> String {
    format!("Test {} (%), mean ± sd over seeds", summary.metric_name())
}

/// Pixels of the plot beside the legend.
const PLOT_WIDTH: u32 = 560;

impl Against {
    /// A single line beside a labelled baseline needs no legend.
    fn legend(&self) -> Vec<(String, Look)> {
        match self.series.as_slice() {
            [only] if only.joined => Vec::new(),
            all => all.iter().map(|s| (s.name.clone(), s.look)).collect(),
        }
    }

    /// Wide and high enough for the legend.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = legend_size(&self.legend());
        (PLOT_WIDTH + width, height.max(400))
    }
}

impl Chart for Against {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, style: &Style) -> Drawn<DB> {
        area.fill(&WHITE)?;
        let (area, legend) = area.split_horizontally(style.px(PLOT_WIDTH));
        let lines = self.series.iter().any(|s| s.joined);
        style.legend(&legend, &self.legend(), lines)?;
        let points = || self.series.iter().flat_map(|s| &s.points);
        let reach = |s: &Spread| {
            let sd = s.sd.unwrap_or(0.0);
            [100.0 * (s.mean - sd), 100.0 * (s.mean + sd)]
        };
        let reference = self.reference.iter().map(|(_, s)| s);
        let spreads = points().map(|p| &p.1).chain(reference);
        let y = padded(spreads.flat_map(reach), 0.15);
        let mut x = padded(points().map(|p| p.0), 0.15);
        if self.x_from_zero {
            x = 0.0..points().map(|p| p.0).fold(1.0, f64::max) * 1.25;
        }
        let (x_low, x_high) = (x.start, x.end);
        let mut chart = ChartBuilder::on(&area)
            .margin(style.px(14))
            .x_label_area_size(style.px(44))
            .y_label_area_size(style.px(58))
            .build_cartesian_2d(x, y)?;
        style.axes(&mut chart, &self.x_title, &self.y_title, &self.x_label)?;
        if let Some((label, s)) = &self.reference {
            let [low, high] = reach(s);
            chart.draw_series([Rectangle::new(
                [(x_low, low), (x_high, high)],
                INK.mix(0.1).filled(),
            )])?;
            let level = 100.0 * s.mean;
            let line = [(x_low, level), (x_high, level)];
            chart.draw_series(DashedLineSeries::new(
                line,
                style.px(6),
                style.px(4),
                INK.stroke_width(style.px(2)),
            ))?;
            chart.draw_series([EmptyElement::at((x_low, level))
                + Text::new(
                    label.clone(),
                    (style.offset(8), style.offset(-18)),
                    style.text(12),
                )])?;
        }
        for s in &self.series {
            if s.joined {
                let line = s.points.iter().map(|p| (p.0, 100.0 * p.1.mean)).collect();
                style.line(&mut chart, line, s.look)?;
            }
            for (x, spread) in &s.points {
                let [low, high] = reach(spread);
                let (mean, width) = (100.0 * spread.mean, style.px(10));
                if spread.sd.is_some() {
                    let bar = s.look.colour.stroke_width(style.px(1)).filled();
                    let bar = ErrorBar::new_vertical(*x, low, mean, high, bar, width);
                    chart.draw_series([bar])?;
                }
                style.marker(&mut chart, (*x, mean), s.look)?;
            }
        }
        Ok(())
    }
}
