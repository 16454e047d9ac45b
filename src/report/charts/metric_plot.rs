//! The test metric against a number of each arm: its parameter count, or a field of its spec.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::Chart;
use super::legend::{Key, Legend};
use super::marks::{Look, looks};
use super::style::{DrawResult, INK, Plane, Style, padded, short_count};
use crate::report::statistics::Spread;
use crate::report::summary::Summary;
use crate::results::Metric;

/// A scatter plot with error bars of one standard deviation.
pub struct MetricPlot {
    pub x_title: String,
    /// The metric of the values. They are drawn in its unit.
    pub metric: &'static Metric,
    pub axis: Axis,
    pub series: Vec<Series>,
    /// Horizontal lines, for arms that have no place on the x axis.
    pub levels: Vec<(Look, Spread)>,
    /// Corners of the Pareto front, in the metric's unit.
    pub front: Vec<(f64, f64)>,
    /// Curves through dense arms of growing size, in the metric's unit.
    pub ladders: Vec<Vec<(f64, f64)>>,
    pub legend: Legend,
}

/// The x axis.
pub enum Axis {
    /// Starts at zero, with round numbers.
    FromZero,
    /// Covers its points, with a label at each place.
    Places(Vec<(f64, String)>),
}

/// Marks of one look.
pub struct Series {
    pub look: Look,
    pub joined: bool,
    /// (x, metric).
    pub points: Vec<(f64, Spread)>,
}

/// One point per arm. None if no run has finished.
pub fn against_parameters(summary: &Summary) -> Option<MetricPlot> {
    let arms = || summary.arms.iter().zip(looks(&summary.baselines()));
    let finished = || arms().filter_map(|(arm, look)| Some((arm, look, arm.test?)));
    let series: Vec<Series> = finished()
        .map(|(arm, look, test)| Series {
            look,
            joined: false,
            points: vec![(arm.variant.parameters as f64, test)],
        })
        .collect();
    let mut legend =
        Legend::new(finished().map(|(arm, look, _)| (summary.marked_label(arm), look, Key::Mark)));
    let points = series.iter().flat_map(|s| &s.points).map(|(x, test)| (*x, test.mean));
    let front = front(points.collect(), summary.metric());
    if front.len() > 1 {
        legend.add_sentence("Grey line: no arm with as few parameters has a better mean.");
    }
    let shown = |points: Vec<(f64, f64)>| {
        points.into_iter().map(|(x, value)| (x, summary.metric().shown(value))).collect()
    };
    let ladders: Vec<_> =
        summary.ladders().iter().map(|l| shown(summary.ladder_points(l))).collect();
    if !ladders.is_empty() {
        legend.add_sentence("Dashed: dense models of other sizes, by a monotone curve.");
    }
    legend.add_notes(summary);
    (!series.is_empty()).then(|| MetricPlot {
        x_title: "Parameters".into(),
        metric: summary.metric(),
        axis: Axis::FromZero,
        series,
        levels: Vec::new(),
        front,
        ladders,
        legend,
    })
}

/// The Pareto front of points (parameters, metric): those that no point with as few parameters is
/// better than. Joined by steps; in the metric's unit.
fn front(mut points: Vec<(f64, f64)>, metric: &Metric) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut corners: Vec<(f64, f64)> = Vec::new();
    let mut best: Option<f64> = None;
    for (x, value) in points {
        if best.is_some_and(|best| !metric.is_better(value, best)) {
            continue;
        }
        match corners.last().copied() {
            // Of arms of one size, the best counts.
            Some((last, _)) if last == x => {
                corners.pop();
            }
            Some((_, level)) => corners.push((x, level)),
            None => {}
        }
        corners.push((x, metric.shown(value)));
        best = Some(value);
    }
    corners
}

/// Least and greatest width of the plot without the legend, in pixels. In between, it grows with
/// the number of marks that may be placed side by side.
const PLOT_WIDTH: (u32, u32) = (560, 4000);
/// In pixels: the margin around the plot, and the width of the y axis labels.
const MARGIN: u32 = 14;
const Y_LABELS: u32 = 58;
const FRONT: RGBColor = RGBColor(150, 150, 150);
/// More bands of levels would hide one another.
const MAX_BANDS: usize = 2;
/// Pixels between two marks side by side.
const STEP: u32 = 14;

impl MetricPlot {
    fn plot_width(&self) -> u32 {
        let scattered = self.series.iter().filter(|s| !s.joined).count() as u32;
        let of_points = (STEP * scattered + 200).clamp(PLOT_WIDTH.0, PLOT_WIDTH.1);
        of_points + self.levels_width()
    }

    /// Pixels at the left of the plot that are reserved for the marks of levels.
    fn levels_width(&self) -> u32 {
        match self.levels.len() as u32 {
            0 => 0,
            levels => STEP * (levels + 1),
        }
    }

    /// Extends the range of the points to the left, with room for the marks of levels.
    fn with_levels(&self, points: Range<f64>) -> Range<f64> {
        let levels = f64::from(self.levels_width());
        let all = f64::from(self.plot_width() - 2 * MARGIN - Y_LABELS);
        let room = (points.end - points.start) * levels / (all - levels);
        points.start - room..points.end
    }

    /// Width and height in pixels, with room for the legend.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.legend.size();
        (self.plot_width() + width, height.max(400))
    }

    /// The two ends of an error bar, in the metric's unit.
    fn bar_ends(&self, s: &Spread) -> [f64; 2] {
        let sd = s.sd.unwrap_or(0.0);
        [self.metric.shown(s.mean - sd), self.metric.shown(s.mean + sd)]
    }

    fn y_title(&self) -> String {
        format!("Test {}, mean ± sd over seeds", self.metric.title())
    }

    /// The x position of each point, and whether any point was moved. `pixel`: the size of a pixel
    /// on both axes; `step`: the width of a mark in pixels.
    fn places(&self, pixel: (f64, f64), step: f64, x: &Range<f64>) -> (Vec<Vec<f64>>, bool) {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let y = |shown: f64| shown / pixel.1;
        let at: Vec<Dot> = points()
            .map(|(x, spread)| Dot {
                x: x / pixel.0,
                y: y(self.metric.shown(spread.mean)),
                bar: self.bar_ends(spread).map(y),
            })
            .collect();
        let within = x.start / pixel.0 + step / 2.0..x.end / pixel.0 - step / 2.0;
        let shifts = shifts(&at, step, &within);
        let mut next = shifts.iter().map(|shift| shift * pixel.0);
        let place = |s: &Series| s.points.iter().zip(&mut next).map(|(p, by)| p.0 + by).collect();
        (self.series.iter().map(place).collect(), shifts.iter().any(|shift| *shift != 0.0))
    }
}

/// If there are more marks than this, none is moved and they may overlap.
const MAX_APART: usize = 400;

/// A mark and its error bar, in pixels.
#[derive(Clone, Copy, Debug)]
struct Dot {
    x: f64,
    y: f64,
    /// The ends of the error bar.
    bar: [f64; 2],
}

/// How far each mark is moved to the right or left so that no marks and no error bars overlap.
/// Marks are moved as little as possible, in their order.
fn shifts(at: &[Dot], step: f64, within: &Range<f64>) -> Vec<f64> {
    let mut placed: Vec<Dot> = Vec::new();
    let mut shifts = Vec::new();
    for dot in at {
        let free = |x: f64| {
            placed.iter().all(|other| {
                let apart = (other.x - x).abs();
                let marks = apart < step && (other.y - dot.y).abs() < step;
                let bars = other.bar[0] < dot.bar[1] && dot.bar[0] < other.bar[1];
                !marks && (!bars || apart >= 0.4 * step)
            })
        };
        // Half steps: marks placed before may leave no whole step free.
        let tries = if at.len() > MAX_APART { 0 } else { 4 * at.len() };
        let by = (1..=tries)
            .flat_map(|n| [1.0, -1.0].map(|side| side * step / 2.0 * n as f64))
            .filter(|by| within.contains(&(dot.x + by)));
        let by = std::iter::once(0.0).chain(by).find(|by| free(dot.x + by)).unwrap_or(0.0);
        placed.push(Dot { x: dot.x + by, ..*dot });
        shifts.push(by);
    }
    shifts
}

impl Chart for MetricPlot {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        area.fill(&WHITE)?;
        let (area, legend) = area.split_horizontally(style.px(self.plot_width()));
        self.legend.draw(&legend, style)?;
        let points = || self.series.iter().flat_map(|s| &s.points);
        let spreads = points().map(|p| &p.1).chain(self.levels.iter().map(|(_, s)| s));
        let y = padded(spreads.flat_map(|spread| self.bar_ends(spread)), 0.15);
        let x = match self.axis {
            Axis::FromZero => 0.0..points().map(|p| p.0).fold(1.0, f64::max) * 1.1,
            Axis::Places(_) => self.with_levels(padded(points().map(|p| p.0), 0.15)),
        };
        let (x_range, y_height) = (x.clone(), y.end - y.start);
        let (x_low, x_high) = (x.start, x.end);
        let mut chart = ChartBuilder::on(&area)
            .margin(style.px(MARGIN))
            .x_label_area_size(style.px(44))
            .y_label_area_size(style.px(Y_LABELS))
            .build_cartesian_2d(x, y)?;
        let (width, height) = chart.plotting_area().dim_in_pixel();
        let pixel = (x_high - x_low) / f64::from(width.max(1));
        let pixels = (pixel, y_height / f64::from(height.max(1)));
        let (places, moved) = self.places(pixels, f64::from(style.px(STEP)), &x_range);
        let title = match moved {
            true => format!("{} (marks that would overlap stand side by side)", self.x_title),
            false => self.x_title.clone(),
        };
        match &self.axis {
            Axis::FromZero => {
                style.axes(&mut chart, &area, &title, &self.y_title(), Some(&short_count))?
            }
            Axis::Places(labels) => {
                style.axes(&mut chart, &area, &title, &self.y_title(), None)?;
                place_labels(&chart, &area, labels, style)?;
            }
        }
        let front = FRONT.stroke_width(style.px(1));
        chart.draw_series([PathElement::new(self.front.clone(), front)])?;
        for ladder in &self.ladders {
            let stroke = INK.stroke_width(style.px(1));
            let (dash, gap) = (style.px(5), style.px(3));
            chart.draw_series(DashedLineSeries::new(ladder.clone(), dash, gap, stroke))?;
        }
        self.draw_levels(&mut chart, (x_low, x_high), style)?;
        for (s, xs) in self.series.iter().zip(&places).filter(|(s, _)| s.joined) {
            let line =
                xs.iter().zip(&s.points).map(|(x, p)| (*x, self.metric.shown(p.1.mean))).collect();
            style.line(&mut chart, line, s.look)?;
        }
        // All error bars come before all marks, so that nothing is painted over a mark.
        for (s, xs) in self.series.iter().zip(&places) {
            let bar = s.look.colour.stroke_width(style.px(1));
            let cap = f64::from(style.px(4)) * pixel;
            for (x, (_, spread)) in xs.iter().zip(&s.points).filter(|(_, p)| p.1.sd.is_some()) {
                let [low, high] = self.bar_ends(spread);
                let cap_at = |y| PathElement::new(vec![(x - cap, y), (x + cap, y)], bar);
                let stem = PathElement::new(vec![(*x, low), (*x, high)], bar);
                chart.draw_series([stem, cap_at(low), cap_at(high)])?;
            }
        }
        for (s, xs) in self.series.iter().zip(&places) {
            for (x, (_, spread)) in xs.iter().zip(&s.points) {
                style.marker(&chart, &area, (*x, self.metric.shown(spread.mean)), s.look)?;
            }
        }
        // Where levels have no bands, their marks have error bars.
        if self.levels.len() > MAX_BANDS {
            for (i, (look, spread)) in self.levels.iter().enumerate() {
                let x = x_low + f64::from(style.px(STEP * (i as u32 + 1))) * pixel;
                let [low, high] = self.bar_ends(spread);
                let bar = look.colour.stroke_width(style.px(1));
                chart.draw_series([PathElement::new(vec![(x, low), (x, high)], bar)])?;
            }
        }
        // Marks of levels are placed one after another, so that equal levels stay visible.
        for (i, (look, spread)) in self.levels.iter().enumerate() {
            let x = x_low + f64::from(style.px(STEP) * (i as u32 + 1)) * pixel;
            style.marker(&chart, &area, (x, self.metric.shown(spread.mean)), *look)?;
        }
        Ok(())
    }
}

impl MetricPlot {
    fn draw_levels<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        (x_low, x_high): (f64, f64),
        style: &Style,
    ) -> DrawResult<DB> {
        let bands = if self.levels.len() > MAX_BANDS { &[] } else { self.levels.as_slice() };
        for (look, spread) in bands {
            let [low, high] = self.bar_ends(spread);
            style.band(chart, &[(x_low, low, high), (x_high, low, high)], *look)?;
        }
        for (look, spread) in &self.levels {
            let level = self.metric.shown(spread.mean);
            let line = [(x_low, level), (x_high, level)];
            let stroke = look.colour.stroke_width(style.px(2));
            let (dash, gap) = style.dash(*look).unwrap_or((style.px(6), style.px(4)));
            chart.draw_series(DashedLineSeries::new(line, dash, gap, stroke))?;
        }
        Ok(())
    }
}

/// A tick and a label at each place below the x axis. Labels that would touch are left out.
fn place_labels<DB: DrawingBackend>(
    chart: &Plane<DB>,
    area: &DrawingArea<DB, Shift>,
    labels: &[(f64, String)],
    style: &Style,
) -> DrawResult<DB> {
    let (left, top) = area.get_base_pixel();
    let bottom = chart.plotting_area().get_pixel_range().1.end - top;
    let mut free_from = i32::MIN;
    for (place, label) in labels {
        let x = chart.backend_coord(&(*place, 0.0)).0 - left;
        let tick = [(x, bottom), (x, bottom + style.offset(5))];
        area.draw(&PathElement::new(tick, INK.stroke_width(style.px(1))))?;
        let half = style.offset(7 * label.chars().count() as i32) / 2;
        if x - half < free_from {
            continue;
        }
        free_from = x + half + style.offset(4);
        let text = style.text(12).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(label.clone(), (x, bottom + style.offset(8)), text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_has_no_point_that_another_beats() {
        use crate::results::Better;
        let metric = Metric::SHARE;
        let points = vec![(30.0, 0.5), (10.0, 0.25), (20.0, 0.125), (10.0, 0.375), (40.0, 0.5)];
        assert_eq!(front(points.clone(), &metric), [(10.0, 37.5), (30.0, 37.5), (30.0, 50.0)]);
        let lower = Metric { better: Better::Lower, ..metric };
        assert_eq!(front(points, &lower), [(10.0, 25.0), (20.0, 25.0), (20.0, 12.5)]);
        assert!(front(Vec::new(), &lower).is_empty());
    }

    #[test]
    fn marks_are_moved_apart_as_little_as_it_takes() {
        let within = 0.0..100.0;
        let dot = |(x, y): &(f64, f64)| Dot { x: *x, y: *y, bar: [*y, *y] };
        let apart =
            |at: &[(f64, f64)]| shifts(&at.iter().map(dot).collect::<Vec<_>>(), 2.0, &within);
        // Far enough apart in one direction.
        assert_eq!(apart(&[(5.0, 1.0), (7.0, 1.0), (5.0, 3.0)]), [0.0; 3]);
        assert_eq!(apart(&[(5.0, 1.0), (5.0, 1.0), (5.0, 2.0)]), [0.0, 2.0, -2.0]);
        // Not over the edge.
        assert_eq!(apart(&[(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)]), [0.0, 2.0, 4.0]);
        let many: Vec<(f64, f64)> =
            (0..60).map(|i| (f64::from(20 + i * i % 7), f64::from(i % 5) / 2.0)).collect();
        let moved: Vec<(f64, f64)> =
            many.iter().zip(apart(&many)).map(|(p, by)| (p.0 + by, p.1)).collect();
        for (i, a) in moved.iter().enumerate() {
            let free = |b: &(f64, f64)| (a.0 - b.0).abs() >= 2.0 || (a.1 - b.1).abs() >= 2.0;
            assert!(moved[..i].iter().all(free), "{i}: {moved:?}");
        }
        // Error bars may be closer to each other than marks.
        let bars = [[0.0, -9.0, 9.0], [6.0, -2.0, 12.0], [15.0, 10.0, 20.0]];
        let bars = bars.map(|[y, low, high]| Dot { x: 5.0, y, bar: [low, high] });
        assert_eq!(shifts(&bars, 2.0, &within), [0.0, 1.0, 0.0]);
    }
}
