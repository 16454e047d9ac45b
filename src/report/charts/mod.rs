//! Charts as SVG and PNG, drawn by the same code.

mod chart;
mod curves;
mod energy;
mod field;
mod legend;
mod marks;
mod metric_plot;
mod style;

use std::collections::BTreeSet;

use chart::render;

use super::summary::Summary;
use crate::error::Result;
use crate::results::SpectrumRecord;
use crate::spec::flatten;

const ENERGY: &str = "energy-vs-rank";
const CURVES: &str = "learning-curves";
const PARAMETERS: &str = "metric-vs-parameters";
const RANK: &str = "metric-vs-rank";

/// The file name of the chart against a field; None if the field's name is no valid file name.
fn chart_name(field: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match field {
        field::RANK => Some(RANK.into()),
        other => other.chars().all(plain).then(|| format!("metric-vs-{other}")),
    }
}

/// The names of all chart files that a report on these arms can have, with any sweep.
pub fn file_names(summary: &Summary) -> impl Iterator<Item = String> {
    let fields: BTreeSet<String> =
        summary.arms.iter().flat_map(|arm| flatten(&arm.variant.spec).into_keys()).collect();
    let against = fields.into_iter().filter_map(|field| chart_name(&field));
    let charts = [CURVES, PARAMETERS, RANK].map(String::from).into_iter().chain(against);
    charts.flat_map(|name| ["svg", "png"].map(|ending| format!("{name}.{ending}")))
}

/// Draws every chart that the evidence allows: (file name, content).
pub fn draw_all(summary: &Summary) -> Result<Vec<(String, Vec<u8>)>> {
    style::register_fonts()?;
    let mut files = Vec::new();
    if let Some(curves) = curves::Curves::new(summary) {
        render(CURVES, curves.size(), &curves, &mut files)?;
    }
    if let Some(scatter) = metric_plot::against_parameters(summary) {
        render(PARAMETERS, scatter.size(), &scatter, &mut files)?;
    }
    for field in field::fields(summary) {
        let Some(name) = chart_name(&field) else { continue };
        if let Some(lines) = field::against_field(summary, &field) {
            render(&name, lines.size(), &lines, &mut files)?;
        }
    }
    Ok(files)
}

/// Draws the energy that each rank keeps: (file name, content).
pub fn draw_spectrum(record: &SpectrumRecord) -> Result<Vec<(String, Vec<u8>)>> {
    style::register_fonts()?;
    let chart = energy::Energy::new(record);
    let mut files = Vec::new();
    render(ENERGY, chart.size(), &chart, &mut files)?;
    Ok(files)
}
