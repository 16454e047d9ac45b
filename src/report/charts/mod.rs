//! Charts as SVG and PNG, drawn by the same code.

mod curves;
mod field;
mod marks;
mod metric_plot;
mod spectrum;
mod style;

use std::collections::BTreeSet;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::summary::Summary;
use crate::error::{Error, Result};
use crate::results::SpectrumRecord;
use crate::spec::flatten;
use style::Style;

const ENERGY: &str = "energy-vs-rank";
const CURVES: &str = "learning-curves";
const PARAMETERS: &str = "metric-vs-parameters";
const RANK: &str = "metric-vs-rank";

/// The name of the chart against a field of the spec; None where no file can be called that.
fn against_name(field: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match field {
        field::RANK => Some(RANK.into()),
        other => other.chars().all(plain).then(|| format!("metric-vs-{other}")),
    }
}

/// The names of all chart files that a report on these arms can have, whatever they are swept over.
pub fn file_names(summary: &Summary) -> impl Iterator<Item = String> {
    let fields: BTreeSet<String> =
        summary.arms.iter().flat_map(|arm| flatten(&arm.variant.spec).into_keys()).collect();
    let against = fields.into_iter().filter_map(|field| against_name(&field));
    let charts = [CURVES, PARAMETERS, RANK].map(String::from).into_iter().chain(against);
    charts.flat_map(|name| ["svg", "png"].map(|ending| format!("{name}.{ending}")))
}

/// Draws every chart that the evidence allows: (file name, content).
pub fn draw_all(summary: &Summary) -> Result<Vec<(String, Vec<u8>)>> {
    style::register_fonts()?;
    let mut files = Vec::new();
    if let Some(curves) = curves::Curves::new(summary) {
        both(CURVES, curves.size(), &curves, &mut files)?;
    }
    if let Some(scatter) = metric_plot::against_parameters(summary) {
        both(PARAMETERS, scatter.size(), &scatter, &mut files)?;
    }
    for field in field::fields(summary) {
        let Some(name) = against_name(&field) else { continue };
        if let Some(lines) = field::against_field(summary, &field) {
            both(&name, lines.size(), &lines, &mut files)?;
        }
    }
    Ok(files)
}

/// Draws the energy that each rank keeps: (file name, content).
pub fn draw_spectrum(record: &SpectrumRecord) -> Result<Vec<(String, Vec<u8>)>> {
    style::register_fonts()?;
    let chart = spectrum::Energy::new(record);
    let mut files = Vec::new();
    both(ENERGY, chart.size(), &chart, &mut files)?;
    Ok(files)
}

/// What plotters calls a failed drawing, whatever it draws on.
type Drawn<DB> = std::result::Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// A chart that can be drawn on any backend.
trait Chart {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, style: &Style) -> Drawn<DB>;
}

/// Pixels of a PNG for one of the SVG's, so that it is sharp on dense screens.
const PNG_SCALE: u32 = 2;

fn both<C: Chart>(
    name: &str,
    (width, height): (u32, u32),
    chart: &C,
    files: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let failed = |e: String| Error::Failed(format!("the chart {name} cannot be drawn: {e}"));

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
