//! A chart as files: SVG and PNG of the same drawing.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::style::{DrawResult, FONT, Style};
use crate::error::{Error, Fault, Result};

/// A chart that can be drawn on any backend.
pub trait Chart {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB>;
}

/// Units of an SVG's coordinates per pixel. Plotters has whole numbers only.
const SVG_UNITS: u32 = 10;

/// PNG pixels per pixel, so that the PNG is sharp on dense screens.
const PNG_SCALE: u32 = 2;

/// A PNG is drawn at most so many times as large, and its pixels are the means of the drawn ones: plotters
/// draws most shapes without antialiasing.
const MAX_SAMPLES: u32 = 3;

/// Bytes that the drawing of a PNG takes at most, if fewer samples are enough for that.
const MAX_BYTES: usize = 128 << 20;

/// The samples per pixel and side for a PNG of a size.
fn samples(width: u32, height: u32) -> u32 {
    let bytes = |samples: u32| {
        let side = samples as usize;
        3 * (width as usize * side) * (height as usize * side)
    };
    (1..=MAX_SAMPLES).rev().find(|samples| bytes(*samples) <= MAX_BYTES).unwrap_or(1)
}

/// The font of an SVG, and those of the same widths that stand for it.
const SVG_FONTS: &str = "Liberation Sans, Arial, Helvetica, sans-serif";

/// The error of a chart that cannot be drawn.
fn failed(name: &str, reason: impl ToString) -> Error {
    Fault::failed(reason.to_string()).source(format!("the chart {name} cannot be drawn")).into()
}

/// Draws a chart of a size in pixels as SVG.
pub fn svg<C: Chart>(name: &str, (width, height): (u32, u32), chart: &C) -> Result<String> {
    let mut svg = String::new();
    {
        let size = (width * SVG_UNITS, height * SVG_UNITS);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        chart.draw(&area, &Style::new(SVG_UNITS, true)).map_err(|e| failed(name, e))?;
        area.present().map_err(|e| failed(name, e))?;
    }
    let drawn = format!("width=\"{}\" height=\"{}\"", width * SVG_UNITS, height * SVG_UNITS);
    let shown = format!("width=\"{width}\" height=\"{height}\"");
    let svg = svg.replacen(&drawn, &shown, 1);
    Ok(svg.replace(&format!("font-family=\"{FONT}\""), &format!("font-family=\"{SVG_FONTS}\"")))
}

/// Draws a chart of a size in pixels as PNG, with twice as many pixels a side.
pub fn png<C: Chart>(name: &str, (width, height): (u32, u32), chart: &C) -> Result<Vec<u8>> {
    let (width, height) = (width * PNG_SCALE, height * PNG_SCALE);
    let samples = samples(width, height);
    let (wide, high) = (width * samples, height * samples);
    let mut pixels = vec![0u8; wide as usize * high as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (wide, high)).into_drawing_area();
        let style = Style::new(PNG_SCALE * samples, false);
        chart.draw(&area, &style).map_err(|e| failed(name, e))?;
        area.present().map_err(|e| failed(name, e))?;
    }
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_raw(width, height, means(&pixels, wide as usize, samples as usize))
        .ok_or_else(|| failed(name, "the picture has another size"))?
        .write_to(&mut png, image::ImageFormat::Png)
        .map_err(|e| failed(name, e))?;
    Ok(png.into_inner())
}

/// The mean of each square of `side` pixels, of RGB values in rows of `width` pixels.
fn means(pixels: &[u8], width: usize, side: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / (side * side));
    for rows in pixels.chunks_exact(3 * width * side) {
        for x in 0..width / side {
            for channel in 0..3 {
                let at = |row: usize, column: usize| {
                    usize::from(rows[3 * (row * width + x * side + column) + channel])
                };
                let places = (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
                let sum: usize = places.map(|(row, column)| at(row, column)).sum();
                out.push(((sum + side * side / 2) / (side * side)) as u8);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_charts_take_fewer_samples() {
        assert_eq!([samples(2000, 800), samples(9000, 1000), samples(9000, 9000)], [3, 2, 1]);
    }

    #[test]
    fn a_pixel_is_the_mean_of_its_square() {
        // Two squares beside each other: red 90 in one of nine pixels, and green everywhere.
        let mut pixels = vec![0; 3 * 6 * 3];
        pixels[3 * 7] = 90;
        for row in 0..3 {
            for column in 3..6 {
                pixels[3 * (row * 6 + column) + 1] = 200;
            }
        }
        assert_eq!(means(&pixels, 6, 3), [10, 0, 0, 0, 200, 0]);
        assert_eq!(means(&pixels, 6, 1), pixels);
    }
}
