//! Learning curves by arm: training loss and validation metric against epochs, the mean over
//! seeds with a band from the smallest to the largest.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::chart::Chart;
use super::legend::{Key, Legend};
use super::marks::{Look, looks};
use super::style::{DrawResult, Style, padded};
use crate::report::summary::{ArmSummary, Summary};
use crate::report::text::chart_text;
use crate::results::EpochRecord;

pub struct Curves {
    panels: Vec<Panel>,
    legend: Legend,
}

struct Panel {
    title: String,
    series: Vec<Series>,
}

struct Series {
    look: Look,
    /// (epoch, mean, minimum, maximum).
    points: Vec<(f64, f64, f64, f64)>,
}

impl Curves {
    /// None if no run has finished.
    pub fn new(summary: &Summary) -> Option<Curves> {
        let arms: Vec<(&ArmSummary, Look)> = summary
            .arms
            .iter()
            .zip(looks(&summary.baselines()))
            .filter(|(arm, _)| !arm.runs.is_empty())
            .collect();
        if arms.is_empty() {
            return None;
        }
        let panel = |title: String, value: &dyn Fn(&EpochRecord) -> Option<f64>| Panel {
            title,
            series: arms.iter().map(|(arm, look)| series(arm, *look, value)).collect(),
        };
        let metric = summary.metric();
        let shown = |e: &EpochRecord| e.validation_metric.map(|value| metric.shown(value));
        let mut legend = Legend::new(
            arms.iter().map(|(arm, look)| (summary.marked_label(arm), *look, Key::Both)),
        );
        legend.add_notes(summary);
        Some(Curves {
            panels: vec![
                panel("Training loss".into(), &|e| Some(e.train_loss)),
                panel(format!("Validation {}", metric.title()), &shown),
            ]
            .into_iter()
            // Without validation there is only the training loss.
            .filter(|panel| panel.series.iter().any(|series| !series.points.is_empty()))
            .collect(),
            legend,
        })
    }
}

/// Width of both panels together, in pixels.
const PANELS_WIDTH: u32 = 840;

impl Curves {
    /// Width and height in pixels, with room for the legend.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.legend.size();
        (PANELS_WIDTH + width, height.max(380))
    }
}

/// The values of one arm, at the epochs for which every run has a value.
fn series(arm: &ArmSummary, look: Look, value: &dyn Fn(&EpochRecord) -> Option<f64>) -> Series {
    let epochs = arm.runs.iter().map(|r| r.epochs.len()).min().unwrap_or(0);
    let points = (0..epochs)
        .filter_map(|i| {
            let values: Option<Vec<f64>> = arm.runs.iter().map(|r| value(&r.epochs[i])).collect();
            let values = values?;
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            Some((arm.runs[0].epochs[i].epoch as f64, mean, low, high))
        })
        .collect();
    Series { look, points }
}

impl Chart for Curves {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        area.fill(&WHITE)?;
        let (panels, legend) = area.split_horizontally(style.px(PANELS_WIDTH));
        for (panel, area) in self.panels.iter().zip(panels.split_evenly((1, self.panels.len()))) {
            panel.draw(&area, style)?;
        }
        self.legend.draw(&legend, style)
    }
}

impl Panel {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let last = points().map(|p| p.0).fold(1.0, f64::max);
        let x = if last > 1.0 { 1.0..last } else { 0.5..1.5 };
        let y = padded(points().flat_map(|p| [p.2, p.3]), 0.06);
        let mut chart = ChartBuilder::on(area)
            .caption(chart_text(&self.title), style.bold(15))
            .margin(style.px(10))
            .x_label_area_size(style.px(40))
            .y_label_area_size(style.px(44))
            .build_cartesian_2d(x, y)?;
        let whole = |v: f64| if v.fract() == 0.0 { format!("{v:.0}") } else { String::new() };
        style.axes(&mut chart, area, "Epoch", "", Some(&whole))?;
        for s in &self.series {
            let band: Vec<_> = s.points.iter().map(|p| (p.0, p.2, p.3)).collect();
            style.band(&mut chart, &band, s.look)?;
        }
        for s in &self.series {
            style.line(&mut chart, s.points.iter().map(|p| (p.0, p.1)).collect(), s.look)?;
        }
        for (i, s) in self.series.iter().enumerate() {
            for (x, mean, ..) in marked(&s.points, i) {
                style.marker(&chart, area, (*x, *mean), s.look)?;
            }
        }
        Ok(())
    }
}

/// The points of a line that carry its arm's mark: a few, at other epochs than the next arm's.
fn marked<T>(points: &[T], arm: usize) -> impl Iterator<Item = &T> {
    const MOST: usize = 5;
    let step = points.len().div_ceil(MOST).max(1);
    points.iter().rev().skip(arm % step).step_by(step)
}
