//! Which layers use which weights, and what they add: a row of boxes for each way of sharing.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::Chart;
use super::legend::wrapped;
use super::style::{DrawResult, INK, Style};
use crate::report::summary::Summary;
use crate::report::text::chart_text;
use crate::spec::{LayerUse, WayOfSharing, ways_of_sharing};

/// The ways in which the arms share layers.
pub struct LayerMaps {
    rows: Vec<Row>,
}

struct Row {
    /// The names of the arms, in lines.
    names: Vec<String>,
    layers: Vec<LayerUse>,
    /// Whether increments have a rank at all.
    has_increments: bool,
}

/// Models with more layers are left out: the chart would be too wide to read.
const MAX_LAYERS: usize = 48;
/// Most ways of sharing that are drawn, in the order of the table.
const MAX_ROWS: usize = 30;
/// In pixels: a box, the gap between two, and the room for names.
const BOX: u32 = 28;
const GAP: u32 = 8;
const NAMES: u32 = 210;
/// Characters of a line of names.
const NAME: usize = 30;
/// In pixels: above the boxes of a row, for arcs, and below them.
const ARCS: u32 = 34;
const BELOW: u32 = 14;
const LINE: u32 = 17;
const NOTE: u32 = 62;

/// Light tones that black text stands on; in grey they differ little, and the numbers tell them apart.
const TONES: [RGBColor; 6] = [
    RGBColor(205, 224, 240),
    RGBColor(250, 222, 196),
    RGBColor(205, 234, 222),
    RGBColor(240, 216, 230),
    RGBColor(252, 240, 190),
    RGBColor(226, 226, 226),
];

impl LayerMaps {
    /// None if no arm shares layers.
    pub fn new(summary: &Summary) -> Option<LayerMaps> {
        let arms = summary.arms.iter().map(|arm| &arm.variant);
        let mut ways = ways_of_sharing(arms.map(|v| (v.label.as_str(), &v.spec)));
        ways.retain(|way| way.layers.len() <= MAX_LAYERS);
        ways.truncate(MAX_ROWS);
        let rows = ways.into_iter().map(|way| {
            let arms = match &way.labels[..] {
                [first, _, .., last] => format!("{first}, …, {last} ({} arms)", way.labels.len()),
                labels => labels.join(", "),
            };
            let names = match way.stack_names() {
                Some(stacks) => format!("{arms}: {stacks}"),
                None => arms,
            };
            let WayOfSharing { layers, has_increments, .. } = way;
            Row { names: wrapped(&chart_text(&names), NAME), layers, has_increments }
        });
        let rows: Vec<Row> = rows.collect();
        (!rows.is_empty()).then_some(LayerMaps { rows })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let layers = self.rows.iter().map(|row| row.layers.len()).max().unwrap_or(0) as u32;
        let width = NAMES + layers * (BOX + GAP) + 20;
        (width.max(520), self.rows.iter().map(Row::height).sum::<u32>() + NOTE)
    }
}

impl Row {
    fn height(&self) -> u32 {
        ARCS + BELOW + BOX.max(LINE * self.names.len() as u32)
    }
}

/// The left edge of a layer's box, in pixels.
fn left(layer: usize) -> u32 {
    NAMES + layer as u32 * (BOX + GAP)
}

impl Chart for LayerMaps {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        area.fill(&WHITE)?;
        let px = |length: u32| style.px(length) as i32;
        let mut top = 0;
        for row in &self.rows {
            row.draw(area, style, top)?;
            top += row.height();
        }
        let note = "Numbers are weights: layers with one number use the same one, and an outlined layer owns \
                    it. +: the layer adds an increment, to what its arc leads to.";
        for (i, line) in wrapped(note, 80).iter().enumerate() {
            let at = (px(10), px(top + 18 + LINE * i as u32));
            area.draw(&Text::new(line.clone(), at, style.text(12)))?;
        }
        Ok(())
    }
}

impl Row {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
        top: u32,
    ) -> DrawResult<DB> {
        let px = |length: u32| style.px(length) as i32;
        let right = style.text(13).pos(Pos::new(HPos::Right, VPos::Top));
        for (i, name) in self.names.iter().enumerate() {
            let at = (px(NAMES - 14), px(top + ARCS + 6 + LINE * i as u32));
            area.draw(&Text::new(name.clone(), at, right.clone()))?;
        }
        for (layer, layer_use) in self.layers.iter().enumerate() {
            let (x, y) = (left(layer), top + ARCS);
            let corners = [(px(x), px(y)), (px(x + BOX), px(y + BOX))];
            let tone = TONES[layer_use.weight % TONES.len()];
            area.draw(&Rectangle::new(corners, tone.filled()))?;
            if layer_use.adds_to.is_none() {
                area.draw(&Rectangle::new(corners, INK.stroke_width(style.px(1))))?;
            }
            let plus = if self.has_increments && layer_use.has_increment { "+" } else { "" };
            let middle = style.text(13).pos(Pos::new(HPos::Center, VPos::Center));
            let at = (px(x) + px(BOX) / 2, px(y) + px(BOX) / 2 + style.text_drop(13));
            area.draw(&Text::new(format!("{}{plus}", layer_use.weight), at, middle))?;
            if let Some(other) = layer_use.adds_to.filter(|_| self.has_increments) {
                arc(area, style, (left(other), x), y)?;
            }
        }
        Ok(())
    }
}

/// A half ellipse above two boxes, from the middle of one to that of the other; a wider one is higher.
fn arc<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    style: &Style,
    (from, to): (u32, u32),
    y: u32,
) -> DrawResult<DB> {
    const STEPS: u32 = 24;
    let (from, to) = (f64::from(from + BOX / 2), f64::from(to + BOX / 2));
    let height = (8.0 + (to - from) / 12.0).min(f64::from(ARCS - 6));
    let (middle, half) = ((from + to) / 2.0, (to - from) / 2.0);
    let points = (0..=STEPS).map(|step| {
        let angle = std::f64::consts::PI * f64::from(step) / f64::from(STEPS);
        let (x, up) = (middle - half * angle.cos(), height * angle.sin());
        (style.fraction(x), style.fraction(f64::from(y) - 2.0 - up))
    });
    area.draw(&PathElement::new(points.collect::<Vec<_>>(), INK.stroke_width(style.px(1))))
}
