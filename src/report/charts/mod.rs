//! Charts as SVG and PNG, drawn by the same code.

mod chart;
mod confusion;
mod contrasts;
mod curves;
mod effects;
mod energy;
mod field;
mod forest;
mod layer_map;
mod layers;
mod legend;
mod marks;
mod metric_plot;
mod panels;
mod style;

use std::collections::BTreeSet;

use chart::render;

use super::claims::{CHART, Contrast};
use super::summary::Summary;
use crate::error::Result;
use crate::results::{ExperimentFolder, SpectrumRecord};
use crate::spec::flatten;

const ENERGY: &str = "energy-vs-rank";
const CONFUSION: &str = "confusion";
const CURVES: &str = "learning-curves";
const EFFECTS: &str = "effects";
const LAYERS: &str = "layers";
const LAYER_MAP: &str = "layer-map";
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
    let charts = [CONFUSION, CURVES, EFFECTS, LAYERS, LAYER_MAP, PARAMETERS, RANK]
        .map(String::from)
        .into_iter()
        .chain(against);
    charts.flat_map(|name| ["svg", "png"].map(|ending| format!("{name}.{ending}")))
}

/// File name, title and content.
pub type ChartFile = (String, String, Vec<u8>);

/// Draws every chart that the evidence allows, each as SVG and PNG.
pub fn draw_all(summary: &Summary, folder: &ExperimentFolder) -> Result<Vec<ChartFile>> {
    style::register_fonts()?;
    let mut files = Vec::new();
    let metric = summary.metric().name;
    if let Some(effects) = effects::effects(summary) {
        let level = super::numbers::level();
        let title = format!(
            "Difference to the baseline with its {level} interval; small circles are single seeds"
        );
        add(&mut files, &title, EFFECTS, effects.size(), &effects)?;
    }
    if let Some(scatter) = metric_plot::against_parameters(summary) {
        let title =
            format!("Test {metric} against parameters, mean ± standard deviation over seeds");
        add(&mut files, &title, PARAMETERS, scatter.size(), &scatter)?;
    }
    for field in field::fields(summary) {
        let Some(name) = chart_name(&field) else { continue };
        if let Some(lines) = field::against_field(summary, &field) {
            let title =
                format!("Test {metric} against {field}, mean ± standard deviation over seeds");
            add(&mut files, &title, &name, lines.size(), &lines)?;
        }
    }
    if let Some(maps) = layer_map::LayerMaps::new(summary) {
        let title = "Which layers use one weight";
        add(&mut files, title, LAYER_MAP, maps.size(), &maps)?;
    }
    if let Some(layers) = layers::layer_readouts(summary) {
        let title = format!("What the head would answer after each layer: {}", layers.lines());
        add(&mut files, &title, LAYERS, layers.size(), &layers)?;
    }
    if let Some(curves) = curves::learning_curves(summary) {
        let title = format!("Learning curves: {}", curves.lines());
        add(&mut files, &title, CURVES, curves.size(), &curves)?;
    }
    if let Some(matrices) = confusion::Matrices::new(summary, folder)? {
        let title = "Confusion matrices over all seeds: how often each class was predicted, in percent \
                     of the test examples of each true class";
        add(&mut files, title, CONFUSION, matrices.size(), &matrices)?;
    }
    Ok(files)
}

/// Draws a chart as SVG and PNG.
fn add<C: chart::Chart>(
    files: &mut Vec<ChartFile>,
    title: &str,
    name: &str,
    size: (u32, u32),
    drawing: &C,
) -> Result<()> {
    let mut drawn = Vec::new();
    render(name, size, drawing, &mut drawn)?;
    files.extend(drawn.into_iter().map(|(name, content)| (name, title.to_string(), content)));
    Ok(())
}

/// Draws the contrasts of claims: (file name, content). Empty where there are none.
pub fn draw_contrasts(contrasts: &[&Contrast]) -> Result<Vec<(String, Vec<u8>)>> {
    style::register_fonts()?;
    let mut files = Vec::new();
    if let Some(chart) = contrasts::contrasts(contrasts) {
        render(CHART, chart.size(), &chart, &mut files)?;
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
