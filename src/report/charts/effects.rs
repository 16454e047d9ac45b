//! Every arm's difference to its baseline: mean, interval and single seeds, sorted by the mean.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::Chart;
use super::marks::{Look, looks};
use super::style::{DrawResult, GRID, INK, Style, number, padded};
use crate::report::numbers::{interval, level, signed};
use crate::report::summary::Summary;
use crate::report::text::chart_text;
use crate::results::{Better, Metric};

/// Differences to the baseline, one row an arm.
pub struct Effects {
    metric: &'static Metric,
    /// The best on top.
    rows: Vec<Row>,
    /// Arms beyond the most that are shown.
    more: usize,
}

struct Row {
    label: String,
    look: Look,
    /// In the metric's printed unit, as the two below.
    mean: f64,
    interval: Option<[f64; 2]>,
    seeds: Vec<f64>,
    /// The numbers, as tables have them.
    text: String,
    is_significant: bool,
    is_primary: bool,
}

/// Most rows: the primary contrast, then those with the largest differences.
const MOST: usize = 60;
/// In pixels: of a row, above the first row, below the last, and of the plot's inside.
const ROW: u32 = 28;
const TOP: u32 = 30;
const BOTTOM: u32 = 62;
const PLOT: u32 = 420;
/// Pixels of a character of a label and of a number.
const CHARACTER: u32 = 7;

impl Effects {
    /// None if no arm is compared with a baseline.
    pub fn new(summary: &Summary) -> Option<Effects> {
        let metric = summary.metric();
        let looks = looks(&summary.baselines());
        let arms = summary.arms.iter().zip(looks);
        let mut rows: Vec<Row> = arms
            .filter_map(|(arm, look)| {
                let c = arm.comparison.as_ref()?;
                let mean = signed(metric, c.difference.mean);
                Some(Row {
                    label: chart_text(&summary.marked_label(arm)),
                    look,
                    mean: metric.shown(c.difference.mean),
                    interval: c.interval.map(|i| [metric.shown(i.low), metric.shown(i.high)]),
                    seeds: c.pairs.iter().map(|pair| metric.shown(pair.difference)).collect(),
                    text: match c.interval {
                        Some(bounds) => format!("{mean} ({})", interval(metric, bounds)),
                        None => mean,
                    },
                    is_significant: c.is_significant(),
                    is_primary: c.is_primary,
                })
            })
            .collect();
        if rows.is_empty() {
            return None;
        }
        rows.sort_by(|a, b| {
            b.is_primary.cmp(&a.is_primary).then(b.mean.abs().total_cmp(&a.mean.abs()))
        });
        let more = rows.len().saturating_sub(MOST);
        rows.truncate(MOST);
        rows.sort_by(|a, b| match metric.better {
            Better::Higher => b.mean.total_cmp(&a.mean),
            Better::Lower => a.mean.total_cmp(&b.mean),
        });
        Some(Effects { metric, rows, more })
    }

    fn label_width(&self) -> u32 {
        let longest = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        CHARACTER * longest as u32 + 24
    }

    fn text_width(&self) -> u32 {
        let longest = self.rows.iter().map(|row| row.text.chars().count()).max().unwrap_or(0);
        CHARACTER * longest as u32 + 24
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let height = TOP + ROW * self.rows.len() as u32 + BOTTOM;
        (self.label_width() + PLOT + self.text_width(), height + if self.more > 0 { 18 } else { 0 })
    }

    fn title(&self) -> String {
        let unit = match self.metric.difference_unit {
            "" => String::new(),
            unit => format!(" ({unit})"),
        };
        let name = self.metric.name;
        let bold =
            if self.rows.iter().any(|row| row.is_significant) { "; bold: significant" } else { "" };
        format!("Test {name} minus the baseline's{unit}: mean, {} interval, seeds{bold}", level())
    }
}

impl Chart for Effects {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        area.fill(&WHITE)?;
        let values = self.rows.iter().flat_map(|row| {
            row.seeds.iter().copied().chain(row.interval.into_iter().flatten()).chain([row.mean])
        });
        let x = padded(values.chain([0.0]), 0.06);
        let rows = self.rows.len() as f64;
        let inside = ROW * self.rows.len() as u32;
        let below = self.size().1 - TOP - inside;
        let mut chart = ChartBuilder::on(area)
            .margin_top(style.px(TOP))
            .margin_left(style.px(self.label_width()))
            .margin_right(style.px(self.text_width()))
            .x_label_area_size(style.px(below))
            .build_cartesian_2d(x, rows..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .bold_line_style(GRID.stroke_width(style.px(1)))
            .light_line_style(TRANSPARENT)
            .axis_style(INK.stroke_width(style.px(1)))
            .set_all_tick_mark_size(style.px(5))
            .label_style(style.text(12))
            .x_labels(7)
            .y_labels(0)
            .x_label_formatter(&|v| number(*v))
            .draw()?;
        let zero = [(0.0, 0.0), (0.0, rows)];
        chart.draw_series([PathElement::new(zero, INK.stroke_width(style.px(1)))])?;
        for (i, row) in self.rows.iter().enumerate() {
            let y = i as f64 + 0.5;
            if let Some([low, high]) = row.interval {
                let bar = [(low, y), (high, y)];
                let stroke = row.look.colour.stroke_width(style.px(2));
                chart.draw_series([PathElement::new(bar, stroke)])?;
            }
        }
        for (i, row) in self.rows.iter().enumerate() {
            let y = i as f64 + 0.5;
            for seed in &row.seeds {
                // Below the mark, which would hide it.
                let (x, y) = chart.backend_coord(&(*seed, y));
                let y = y + style.offset(7);
                let dot = |style: ShapeStyle, radius| Circle::new((x, y), radius, style);
                area.draw(&dot(WHITE.filled(), style.px(3)))?;
                area.draw(&dot(row.look.colour.stroke_width(style.px(1)), style.px(3)))?;
            }
            style.marker(&chart, area, (row.mean, y), row.look)?;
            let (_, y) = chart.backend_coord(&(0.0, y));
            let y = y + style.text_drop(13);
            let font = if row.is_significant { style.bold(13) } else { style.text(13) };
            let right = font.clone().pos(Pos::new(HPos::Right, VPos::Center));
            let left = font.pos(Pos::new(HPos::Left, VPos::Center));
            let end = style.px(self.label_width() + PLOT) as i32 + style.offset(12);
            let label = style.px(self.label_width()) as i32 - style.offset(12);
            area.draw(&Text::new(row.label.clone(), (label, y), right))?;
            area.draw(&Text::new(row.text.clone(), (end, y), left))?;
        }
        let centre = Pos::new(HPos::Center, VPos::Center);
        let middle = style.px(self.size().0 / 2) as i32;
        let line = |n: u32| style.px(TOP + inside + 40 + 18 * n) as i32;
        let title = chart_text(&self.title());
        area.draw(&Text::new(title, (middle, line(0)), style.text(13).pos(centre)))?;
        if self.more > 0 {
            let more =
                format!("{} arms with smaller differences are in comparisons.csv", self.more);
            area.draw(&Text::new(more, (middle, line(1)), style.text(12).pos(centre)))?;
        }
        Ok(())
    }
}
