//! A chart as files: SVG and PNG of the same drawing.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::style::{DrawResult, Style};
use crate::error::{Error, Fault, Result};

/// A chart that can be drawn on any backend.
pub trait Chart {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB>;
}

/// PNG pixels per SVG pixel, so that the PNG is sharp on dense screens.
const PNG_SCALE: u32 = 2;

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
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        chart.draw(&area, &Style::new(1)).map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
    }
    files.push((format!("{name}.svg"), svg.into_bytes()));

    let (width, height) = (width * PNG_SCALE, height * PNG_SCALE);
    let mut pixels = vec![0u8; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        chart.draw(&area, &Style::new(PNG_SCALE)).map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
    }
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| failed("the picture has another size".into()))?
        .write_to(&mut png, image::ImageFormat::Png)
        .map_err(|e| failed(e.to_string()))?;
    files.push((format!("{name}.png"), png.into_inner()));
    Ok(())
}
