//! The look of all charts: sizes, fonts, colours, ranges.

use std::ops::Range;
use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Drawn;

use crate::error::{Error, Result};

/// Registers the bundled fonts (Liberation Sans, SIL OFL 1.1) under the name charts use.
pub fn register_fonts() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let regular = include_bytes!("../fonts/LiberationSans-Regular.ttf").as_slice();
    let bold = include_bytes!("../fonts/LiberationSans-Bold.ttf").as_slice();
    let done = DONE.get_or_init(|| {
        register_font(FONT, FontStyle::Normal, regular).is_ok()
            && register_font(FONT, FontStyle::Bold, bold).is_ok()
    });
    match done {
        true => Ok(()),
        false => Err(Error::Failed("the bundled fonts cannot be read".into())),
    }
}

/// In an SVG the viewer's own sans-serif; in a PNG the bundled one.
pub const FONT: &str = "sans-serif";

pub const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Okabe and Ito's colours, told apart with any colour vision; black is the baseline's.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(150, 130, 40),
];

/// How an arm is drawn. Beyond the palette's colours, dashes and marker shapes tell arms apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub colour: RGBColor,
    round: usize,
}

/// A look an arm: black for the baseline, the palette in order for the others.
pub fn looks(is_baseline: &[bool]) -> Vec<Look> {
    let mut next = 0;
    is_baseline
        .iter()
        .map(|baseline| match baseline {
            true => Look { colour: INK, round: 0 },
            false => {
                next += 1;
                Look {
                    colour: COLOURS[(next - 1) % COLOURS.len()],
                    round: (next - 1) / COLOURS.len(),
                }
            }
        })
        .collect()
}

/// Pixels of a line of the legend.
const LEGEND_LINE: u32 = 22;

/// Width and height in pixels that a legend takes.
pub fn legend_size(entries: &[(String, Look)]) -> (u32, u32) {
    let longest = entries.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    match entries.is_empty() {
        true => (0, 0),
        false => (50 + 7 * longest as u32, 80 + LEGEND_LINE * entries.len() as u32),
    }
}

/// A chart of two linear axes.
type Plane<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Lengths in pixels at a scale.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    scale: u32,
}

impl Style {
    pub fn new(scale: u32) -> Style {
        Style { scale }
    }

    pub fn px(&self, length: u32) -> u32 {
        length * self.scale
    }

    pub fn offset(&self, length: i32) -> i32 {
        length * self.scale as i32
    }

    pub fn text(&self, size: u32) -> TextStyle<'static> {
        (FONT, self.px(size)).into_font().color(&INK)
    }

    /// Draws axes with horizontal grid lines; `x_label` names a place on the x axis, or nothing.
    pub fn axes<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        x_title: &str,
        y_title: &str,
        x_label: impl Fn(f64) -> String,
    ) -> Drawn<DB> {
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK.stroke_width(self.px(1)))
            .label_style(self.text(12))
            .axis_desc_style(self.text(13))
            .x_desc(x_title)
            .y_desc(y_title)
            .x_labels(8)
            .y_labels(7)
            .x_label_formatter(&|v| x_label(*v))
            .y_label_formatter(&|v| format!("{}", (v * 1000.0).round() / 1000.0))
            .draw()
    }

    /// A line through points, dashed from the palette's second round on.
    pub fn line<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        points: Vec<(f64, f64)>,
        look: Look,
    ) -> Drawn<DB> {
        let stroke = look.colour.stroke_width(self.px(2));
        if let Some((dash, gap)) = self.dash(look) {
            chart.draw_series(DashedLineSeries::new(points, dash, gap, stroke))?;
        } else {
            chart.draw_series(LineSeries::new(points, stroke))?;
        }
        Ok(())
    }

    /// A band between (x, low, high), to go behind a line.
    pub fn band<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        points: &[(f64, f64, f64)],
        look: Look,
    ) -> Drawn<DB> {
        let top = points.iter().map(|p| (p.0, p.2));
        let back = points.iter().rev().map(|p| (p.0, p.1));
        let outline: Vec<_> = top.chain(back).collect();
        chart.draw_series([Polygon::new(outline, look.colour.mix(0.15))])?;
        Ok(())
    }

    /// A marker at a point: a disc, then a triangle, then a cross.
    pub fn marker<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        at: (f64, f64),
        look: Look,
    ) -> Drawn<DB> {
        let at = chart.backend_coord(&at);
        let area = chart.plotting_area().strip_coord_spec();
        let (left, top) = area.get_base_pixel();
        self.mark(&area, (at.0 - left, at.1 - top), look)
    }

    fn mark<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        at: (i32, i32),
        look: Look,
    ) -> Drawn<DB> {
        let size = self.px(4);
        match look.round % 3 {
            0 => area.draw(&Circle::new(at, size, look.colour.filled())),
            1 => area.draw(&TriangleMarker::new(at, size + self.px(2), look.colour.filled())),
            _ => area.draw(&Cross::new(at, size, look.colour.stroke_width(self.px(2)))),
        }
    }

    fn dash(&self, look: Look) -> Option<(u32, u32)> {
        match look.round {
            0 => None,
            1 => Some((self.px(6), self.px(4))),
            _ => Some((self.px(2), self.px(3))),
        }
    }

    /// A name a line, beside a piece of its line or its marker.
    pub fn legend<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        entries: &[(String, Look)],
        lines: bool,
    ) -> Drawn<DB> {
        for (i, (name, look)) in entries.iter().enumerate() {
            let y = self.offset(52 + LEGEND_LINE as i32 * i as i32);
            let length = self.px(22);
            let (dash, gap) = self.dash(*look).unwrap_or((length, 0));
            match lines {
                false => self.mark(area, (self.offset(11), y), *look)?,
                true => {
                    for from in (0..length).step_by((dash + gap) as usize) {
                        let to = (from + dash).min(length);
                        let piece = [(from as i32, y), (to as i32, y)];
                        let stroke = look.colour.stroke_width(self.px(2));
                        area.draw(&PathElement::new(piece, stroke))?;
                    }
                }
            }
            let middle = self.text(13).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name.clone(), (self.offset(29), y), middle))?;
        }
        Ok(())
    }

    pub fn bold(&self, size: u32) -> TextStyle<'static> {
        (FONT, self.px(size), FontStyle::Bold).into_font().color(&INK)
    }
}

/// A range around values with a margin on both sides; never empty.
pub fn padded(values: impl IntoIterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values
        .into_iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = ((high - low) * margin).max(high.abs() * 1e-3).max(1e-9);
    low - room..high + room
}

/// `63.7k`, `23.8M`.
pub fn short_count(n: f64) -> String {
    let rounded = |v: f64, unit: &str| {
        let digits = if v >= 100.0 || v.fract() == 0.0 { 0 } else { 1 };
        format!("{v:.digits$}{unit}")
    };
    match n {
        n if n >= 1e9 => rounded(n / 1e9, "G"),
        n if n >= 1e6 => rounded(n / 1e6, "M"),
        n if n >= 1e3 => rounded(n / 1e3, "k"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_never_empty() {
        assert_eq!(padded([], 0.1), 0.0..1.0);
        let one = padded([5.0], 0.1);
        assert!(one.start < 5.0 && one.end > 5.0);
        let many = padded([0.0, 10.0, f64::NAN], 0.1);
        assert!((many.start + 1.0).abs() < 1e-9 && (many.end - 11.0).abs() < 1e-9);
    }

    #[test]
    fn every_arm_has_a_look_of_its_own() {
        let looks = looks(&[[true].as_slice(), &[false; 20]].concat());
        for (i, look) in looks.iter().enumerate() {
            assert!(!looks[..i].contains(look), "arm {i}");
        }
    }

    #[test]
    fn counts_are_short() {
        let got: Vec<String> =
            [0.0, 950.0, 63_754.0, 205_066.0, 23_751_400.0].into_iter().map(short_count).collect();
        assert_eq!(got, ["0", "950", "63.8k", "205k", "23.8M"]);
    }
}
