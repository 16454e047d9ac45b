//! What all charts share: sizes, fonts, axes, ranges.

use std::ops::Range;
use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Fault, Result};
use crate::report::text::chart_text;

/// Registers the bundled fonts (Liberation Sans, SIL OFL 1.1) under the name that charts use.
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
        false => Err(Fault::failed("the bundled fonts cannot be read").into()),
    }
}

/// An SVG shows the viewer's own sans-serif font; a PNG has the bundled one.
pub const FONT: &str = "sans-serif";

pub const INK: RGBColor = RGBColor(40, 40, 40);
pub const GRID: RGBColor = RGBColor(225, 225, 225);

/// The result of drawing with plotters, on any backend.
pub type DrawResult<DB> =
    std::result::Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// A chart with two linear axes.
pub type Plane<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Lengths, fonts and axes at a scale.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    scale: u32,
    /// Whether a viewer sets the text.
    is_vector: bool,
}

impl Style {
    /// `is_vector`: for SVG, whose text is set by the viewer.
    pub fn new(scale: u32, is_vector: bool) -> Style {
        Style { scale, is_vector }
    }

    pub fn px(&self, length: u32) -> u32 {
        length * self.scale
    }

    pub fn offset(&self, length: i32) -> i32 {
        length * self.scale as i32
    }

    /// The same for a fraction of a pixel.
    pub fn fraction(&self, length: f64) -> i32 {
        (length * f64::from(self.scale)).round() as i32
    }

    /// How far below a place a text of a size is drawn to stand at its middle. A text's box reaches
    /// further below its letters than above them.
    pub fn text_drop(&self, size: u32) -> i32 {
        if self.is_vector { 0 } else { (self.px(size) / 6) as i32 }
    }

    pub fn text(&self, size: u32) -> TextStyle<'static> {
        (FONT, self.px(size)).into_font().color(&INK)
    }

    /// Draws axes with horizontal grid lines on `area`, which the chart is built on. `x_label` gives the
    /// label of a place on the x axis, or an empty text. Without it the x axis has no ticks either.
    pub fn axes<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        area: &DrawingArea<DB, Shift>,
        x_title: &str,
        y_title: &str,
        x_label: Option<&dyn Fn(f64) -> String>,
    ) -> DrawResult<DB> {
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID.stroke_width(self.px(1)))
            .light_line_style(TRANSPARENT)
            .axis_style(INK.stroke_width(self.px(1)))
            .set_all_tick_mark_size(self.px(5))
            .label_style(self.text(12))
            .axis_desc_style(self.text(13))
            .x_desc(chart_text(x_title))
            .y_desc(chart_text(y_title))
            .x_labels(if x_label.is_some() { 8 } else { 0 })
            .y_labels(Y_TICKS)
            .x_label_formatter(&|v| x_label.map(|label| label(*v)).unwrap_or_default())
            .y_label_formatter(&|_| String::new())
            .draw()?;
        self.y_labels(chart, area)
    }

    /// The numbers beside the ticks of the y axis, at their middle.
    fn y_labels<DB: DrawingBackend>(
        &self,
        chart: &Plane<DB>,
        area: &DrawingArea<DB, Shift>,
    ) -> DrawResult<DB> {
        let (left, top) = area.get_base_pixel();
        let edge = chart.plotting_area().get_pixel_range().0.start - left;
        let right = self.text(12).pos(Pos::new(HPos::Right, VPos::Center));
        // As many as the grid lines above.
        for value in RangedCoordf64::from(chart.y_range()).key_points(Y_TICKS) {
            let y = chart.backend_coord(&(chart.x_range().start, value)).1 - top;
            let place = (edge - self.offset(8), y + self.text_drop(12));
            area.draw(&Text::new(number(value), place, right.clone()))?;
        }
        Ok(())
    }

    pub fn bold(&self, size: u32) -> TextStyle<'static> {
        (FONT, self.px(size), FontStyle::Bold).into_font().color(&INK)
    }
}

/// Most ticks of the y axis.
const Y_TICKS: usize = 7;

/// A number on an axis, with a real minus.
pub fn number(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    // Zero has no sign.
    format!("{}", rounded + 0.0).replace('-', "−")
}

/// A range that covers the finite values, with a relative margin on both sides; never empty.
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
    fn counts_are_short() {
        let got: Vec<String> =
            [0.0, 950.0, 63_754.0, 205_066.0, 23_751_400.0].into_iter().map(short_count).collect();
        assert_eq!(got, ["0", "950", "63.8k", "205k", "23.8M"]);
    }
}
