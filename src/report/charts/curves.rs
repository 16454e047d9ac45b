//! Learning curves by arm: training loss and validation metric against epochs, the mean over
//! seeds with a band from the smallest to the largest.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{Style, colours, padded};
use super::{Chart, Drawn};
use crate::report::summary::{ArmSummary, Summary};
use crate::results::EpochRecord;

pub struct Curves {
    panels: Vec<Panel>,
    legend: Vec<(String, RGBColor)>,
}

struct Panel {
    title: String,
    series: Vec<Series>,
}

struct Series {
    colour: RGBColor,
    /// (epoch, mean, smallest, largest).
    points: Vec<(f64, f64, f64, f64)>,
}

impl Curves {
    /// None where no run has finished.
    pub fn new(summary: &Summary) -> Option<Curves> {
        let baseline: Vec<bool> =
            summary.arms.iter().map(|a| a.variant.arm == summary.record.baseline).collect();
        let arms: Vec<(&ArmSummary, RGBColor)> = summary
            .arms
            .iter()
            .zip(colours(&baseline))
            .filter(|(arm, _)| !arm.runs.is_empty())
            .collect();
        if arms.is_empty() {
            return None;
        }
        let panel = |title: String, value: fn(&EpochRecord) -> f64| Panel {
            title,
            series: arms.iter().map(|(arm, colour)| series(arm, *colour, value)).collect(),
        };
        let metric = format!("Validation {} (%)", summary.metric_name());
        Some(Curves {
            panels: vec![
                panel("Training loss".into(), |e| e.train_loss),
                panel(metric, |e| 100.0 * e.validation_metric),
            ],
            legend: arms.iter().map(|(a, c)| (a.variant.label.clone(), *c)).collect(),
        })
    }
}

/// Pixels of both panels together, and of a line of the legend.
const PANELS_WIDTH: u32 = 840;
const LEGEND_LINE: u32 = 22;

impl Curves {
    /// Wide and high enough for the legend.
    pub fn size(&self) -> (u32, u32) {
        let longest = self.legend.iter().map(|(l, _)| l.chars().count()).max().unwrap_or(0);
        let lines = self.legend.len() as u32;
        (PANELS_WIDTH + 50 + 8 * longest as u32, 380.max(80 + LEGEND_LINE * lines))
    }
}

fn series(arm: &ArmSummary, colour: RGBColor, value: fn(&EpochRecord) -> f64) -> Series {
    let epochs = arm.runs.iter().map(|r| r.epochs.len()).min().unwrap_or(0);
    let points = (0..epochs)
        .map(|i| {
            let values: Vec<f64> = arm.runs.iter().map(|r| value(&r.epochs[i])).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (arm.runs[0].epochs[i].epoch as f64, mean, low, high)
        })
        .collect();
    Series { colour, points }
}

impl Chart for Curves {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, style: &Style) -> Drawn<DB> {
        area.fill(&WHITE)?;
        let (panels, legend) = area.split_horizontally(style.px(PANELS_WIDTH));
        for (panel, area) in self.panels.iter().zip(panels.split_evenly((1, self.panels.len()))) {
            panel.draw(&area, style)?;
        }
        for (i, (label, colour)) in self.legend.iter().enumerate() {
            let y = style.offset(52 + LEGEND_LINE as i32 * i as i32);
            let line = [(0, y), (style.offset(22), y)];
            legend.draw(&PathElement::new(line, colour.stroke_width(style.px(2))))?;
            let middle = style.text(13).pos(Pos::new(HPos::Left, VPos::Center));
            legend.draw(&Text::new(label.clone(), (style.offset(29), y), middle))?;
        }
        Ok(())
    }
}

impl Panel {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, style: &Style) -> Drawn<DB> {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let last = points().map(|p| p.0).fold(1.0, f64::max);
        let x = if last > 1.0 { 1.0..last } else { 0.5..1.5 };
        let y = padded(points().flat_map(|p| [p.2, p.3]), 0.06);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, style.bold(15))
            .margin(style.px(10))
            .x_label_area_size(style.px(40))
            .y_label_area_size(style.px(44))
            .build_cartesian_2d(x, y)?;
        let whole = |v: f64| if v.fract() == 0.0 { format!("{v:.0}") } else { String::new() };
        style.axes(&mut chart, "Epoch", "", whole)?;
        for s in &self.series {
            let band = s.points.iter().map(|p| (p.0, p.3));
            let back = s.points.iter().rev().map(|p| (p.0, p.2));
            let outline: Vec<_> = band.chain(back).collect();
            chart.draw_series([Polygon::new(outline, s.colour.mix(0.15))])?;
        }
        for s in &self.series {
            let line = s.points.iter().map(|p| (p.0, p.1));
            chart.draw_series(LineSeries::new(line, s.colour.stroke_width(style.px(2))))?;
            if let [(x, mean, ..)] = s.points[..] {
                // One epoch makes no line.
                chart.draw_series([Circle::new((x, mean), style.px(4), s.colour.filled())])?;
            }
        }
        Ok(())
    }
}
