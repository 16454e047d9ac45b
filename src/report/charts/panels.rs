//! Lines in panels side by side: each the mean over an arm's seeds, in a band from the smallest to the
//! largest.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::chart::Chart;
use super::legend::Legend;
use super::marks::Look;
use super::style::{DrawResult, Style, padded};
use crate::report::text::chart_text;

/// Panels with one legend.
pub struct Panels {
    pub panels: Vec<Panel>,
    pub legend: Legend,
}

pub struct Panel {
    pub title: String,
    pub x_title: &'static str,
    pub series: Vec<Series>,
}

/// The line of an arm.
pub struct Series {
    pub look: Look,
    /// (x, mean, minimum, maximum). Every x is a whole number.
    pub points: Vec<(f64, f64, f64, f64)>,
}

/// The bands of more arms would hide one another.
const MAX_BANDS: usize = 6;
/// Width of both panels together, in pixels.
const PANELS_WIDTH: u32 = 840;

impl Panels {
    /// What the lines are, for a title.
    pub fn lines(&self) -> &'static str {
        match self.panels.iter().all(|panel| panel.series.len() <= MAX_BANDS) {
            true => "mean over seeds, in a band from the smallest to the largest",
            false => "mean over seeds",
        }
    }

    /// Width and height in pixels, with room for the legend.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.legend.size();
        (PANELS_WIDTH + width, height.max(380))
    }
}

impl Series {
    /// Values at each x, one a run. None of them may be empty.
    pub fn over_runs(look: Look, values: impl Iterator<Item = (f64, Vec<f64>)>) -> Series {
        let points = values.map(|(x, values)| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (x, mean, low, high)
        });
        Series { look, points: points.collect() }
    }
}

impl Chart for Panels {
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
        let first = points().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let last = points().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
        let x = if last > first { first..last } else { last - 0.5..last + 0.5 };
        let y = padded(points().flat_map(|p| [p.2, p.3]), 0.06);
        let mut chart = ChartBuilder::on(area)
            .caption(chart_text(&self.title), style.bold(15))
            .margin(style.px(10))
            .margin_right(style.px(16))
            .x_label_area_size(style.px(40))
            .y_label_area_size(style.px(44))
            .build_cartesian_2d(x, y)?;
        let whole = |v: f64| if v.fract() == 0.0 { format!("{v:.0}") } else { String::new() };
        style.axes(&mut chart, area, self.x_title, "", Some(&whole))?;
        let banded = if self.series.len() > MAX_BANDS { &[] } else { &self.series[..] };
        for s in banded {
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

/// The points of a line that carry its arm's mark: a few, at other places than the next arm's.
fn marked<T>(points: &[T], arm: usize) -> impl Iterator<Item = &T> {
    const MAX_MARKS: usize = 5;
    let step = points.len().div_ceil(MAX_MARKS).max(1);
    points.iter().rev().skip(arm % step).step_by(step)
}
