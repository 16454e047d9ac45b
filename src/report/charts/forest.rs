//! A forest plot: one row for each difference with its mean, interval and single seeds, and its numbers beside
//! it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::Chart;
use super::marks::Look;
use super::style::{DrawResult, GRID, INK, Style, number, padded};
use crate::report::text::chart_text;

/// Differences below each other.
pub struct Forest {
    pub rows: Vec<Row>,
    /// A dashed line at a value, and what it means.
    pub limit: Option<(f64, String)>,
    /// What the horizontal axis shows.
    pub title: String,
    /// A line below the title; may be empty.
    pub note: String,
}

pub enum Row {
    /// The heading of the rows below it.
    Heading(String),
    Effect(Effect),
}

pub struct Effect {
    pub label: String,
    pub look: Look,
    /// In the axis's unit, as the two below.
    pub mean: f64,
    pub interval: Option<[f64; 2]>,
    pub seeds: Vec<f64>,
    /// The numbers, as tables have them.
    pub text: String,
    pub is_bold: bool,
}

/// In pixels: of a row, above the first row, below the last, and of the plot's inside.
const ROW: u32 = 28;
const TOP: u32 = 30;
const BOTTOM: u32 = 62;
const PLOT: u32 = 420;
/// Of a further line of text below the plot.
const LINE: u32 = 18;
/// Pixels of a character of a label and of a number.
const CHARACTER: u32 = 7;

impl Forest {
    fn effects(&self) -> impl Iterator<Item = (usize, &Effect)> {
        self.rows.iter().enumerate().filter_map(|(i, row)| match row {
            Row::Effect(effect) => Some((i, effect)),
            Row::Heading(_) => None,
        })
    }

    fn label_width(&self) -> u32 {
        let longest = self.rows.iter().map(|row| match row {
            Row::Effect(effect) => effect.label.chars().count(),
            Row::Heading(text) => text.chars().count(),
        });
        CHARACTER * longest.max().unwrap_or(0) as u32 + 24
    }

    fn text_width(&self) -> u32 {
        let longest = self.effects().map(|(_, c)| c.text.chars().count()).max().unwrap_or(0);
        CHARACTER * longest as u32 + 24
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let height = TOP + ROW * self.rows.len() as u32 + BOTTOM;
        let note = if self.note.is_empty() { 0 } else { LINE };
        (self.label_width() + PLOT + self.text_width(), height + note)
    }
}

impl Chart for Forest {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        area.fill(&WHITE)?;
        let values = self.effects().flat_map(|(_, row)| {
            row.seeds.iter().copied().chain(row.interval.into_iter().flatten()).chain([row.mean])
        });
        let limit = self.limit.iter().map(|(at, _)| *at);
        let x = padded(values.chain([0.0]).chain(limit), 0.06);
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
        let line = INK.stroke_width(style.px(1));
        chart.draw_series([PathElement::new([(0.0, 0.0), (0.0, rows)], line)])?;
        let centre = Pos::new(HPos::Center, VPos::Center);
        if let Some((at, meaning)) = &self.limit {
            let ends = [(*at, 0.0), (*at, rows)];
            chart.draw_series(DashedLineSeries::new(ends, style.px(6), style.px(4), line))?;
            let (x, y) = chart.backend_coord(&(*at, 0.0));
            let above = (x, y - style.offset(12));
            area.draw(&Text::new(chart_text(meaning), above, style.text(12).pos(centre)))?;
        }
        for (i, row) in self.effects() {
            let y = i as f64 + 0.5;
            if let Some([low, high]) = row.interval {
                let bar = [(low, y), (high, y)];
                let stroke = row.look.colour.stroke_width(style.px(2));
                chart.draw_series([PathElement::new(bar, stroke)])?;
            }
        }
        let beside = |position| Pos::new(position, VPos::Center);
        let label_end = style.px(self.label_width()) as i32 - style.offset(12);
        for (i, row) in self.rows.iter().enumerate() {
            let middle = i as f64 + 0.5;
            let text_y = chart.backend_coord(&(0.0, middle)).1 + style.text_drop(13);
            let row = match row {
                Row::Heading(text) => {
                    let place = (style.offset(12), text_y);
                    let font = style.bold(13).pos(beside(HPos::Left));
                    area.draw(&Text::new(text.clone(), place, font))?;
                    continue;
                }
                Row::Effect(row) => row,
            };
            for seed in &row.seeds {
                // Below the mark, which would hide it.
                let (x, y) = chart.backend_coord(&(*seed, middle));
                let y = y + style.offset(7);
                let dot = |style: ShapeStyle, radius| Circle::new((x, y), radius, style);
                area.draw(&dot(WHITE.filled(), style.px(3)))?;
                area.draw(&dot(row.look.colour.stroke_width(style.px(1)), style.px(3)))?;
            }
            style.marker(&chart, area, (row.mean, middle), row.look)?;
            let font = if row.is_bold { style.bold(13) } else { style.text(13) };
            let end = style.px(self.label_width() + PLOT) as i32 + style.offset(12);
            let label = font.clone().pos(beside(HPos::Right));
            area.draw(&Text::new(row.label.clone(), (label_end, text_y), label))?;
            let text = font.pos(beside(HPos::Left));
            area.draw(&Text::new(row.text.clone(), (end, text_y), text))?;
        }
        let middle = style.px(self.size().0 / 2) as i32;
        let line = |n: u32| style.px(TOP + inside + 40 + LINE * n) as i32;
        let title = chart_text(&self.title);
        area.draw(&Text::new(title, (middle, line(0)), style.text(13).pos(centre)))?;
        if !self.note.is_empty() {
            let note = chart_text(&self.note);
            area.draw(&Text::new(note, (middle, line(1)), style.text(12).pos(centre)))?;
        }
        Ok(())
    }
}
