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

/// A PNG is drawn so many times as large, and its pixels are the means of the drawn ones: plotters draws
/// most shapes without antialiasing.
const SAMPLES: u32 = 3;

/// The font of an SVG, and those of the same widths that stand for it.
const SVG_FONTS: &str = "Liberation Sans, Arial, Helvetica, sans-serif";

/// Draws a chart of a size in pixels as SVG and PNG.
pub fn render<C: Chart>(
    name: &str,
    (width, height): (u32, u32),
    chart: &C,
    files: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let failed = |e: String| {
        Error::from(Fault::failed(e).source(format!("the chart {name} cannot be drawn")))
    };

    let mut svg = String::new();
    {
        let size = (width * SVG_UNITS, height * SVG_UNITS);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        chart.draw(&area, &Style::new(SVG_UNITS, true)).map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
    }
    let drawn = format!("width=\"{}\" height=\"{}\"", width * SVG_UNITS, height * SVG_UNITS);
    let shown = format!("width=\"{width}\" height=\"{height}\"");
    let svg = svg.replacen(&drawn, &shown, 1);
    let svg =
        svg.replace(&format!("font-family=\"{FONT}\""), &format!("font-family=\"{SVG_FONTS}\""));
    files.push((format!("{name}.svg"), svg.into_bytes()));

    let (width, height) = (width * PNG_SCALE, height * PNG_SCALE);
    let (wide, high) = (width * SAMPLES, height * SAMPLES);
    let mut pixels = vec![0u8; wide as usize * high as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (wide, high)).into_drawing_area();
        let style = Style::new(PNG_SCALE * SAMPLES, false);
        chart.draw(&area, &style).map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
    }
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_raw(width, height, means(&pixels, wide as usize))
        .ok_or_else(|| failed("the picture has another size".into()))?
        .write_to(&mut png, image::ImageFormat::Png)
        .map_err(|e| failed(e.to_string()))?;
    files.push((format!("{name}.png"), png.into_inner()));
    Ok(())
}

/// The mean of each square of pixels, of RGB values in rows of `width` pixels.
fn means(pixels: &[u8], width: usize) -> Vec<u8> {
    const SIDE: usize = SAMPLES as usize;
    let mut out = Vec::with_capacity(pixels.len() / (SIDE * SIDE));
    for rows in pixels.chunks_exact(3 * width * SIDE) {
        for x in 0..width / SIDE {
            for channel in 0..3 {
                let at = |row: usize, column: usize| {
                    usize::from(rows[3 * (row * width + x * SIDE + column) + channel])
                };
                let places = (0..SIDE).flat_map(|row| (0..SIDE).map(move |column| (row, column)));
                let sum: usize = places.map(|(row, column)| at(row, column)).sum();
                out.push(((sum + SIDE * SIDE / 2) / (SIDE * SIDE)) as u8);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(means(&pixels, 6), [10, 0, 0, 0, 200, 0]);
    }
}
