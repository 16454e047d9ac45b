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

use chart::{Chart, png, svg};

use super::claims::{CHART, Contrast};
use super::summary::Summary;
use crate::error::Result;
use crate::results::{ExperimentFolder, SpectrumRecord};
use crate::spec::is_field;

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

/// Whether a report of some spec writes a chart of this file name.
pub fn is_chart(file: &str) -> bool {
    let name = ["svg", "png"].iter().find_map(|ending| file.strip_suffix(&format!(".{ending}")));
    let is_swept = |name: &str| name.strip_prefix("metric-vs-").is_some_and(is_field);
    name.is_some_and(|name| {
        [CONFUSION, CURVES, EFFECTS, LAYERS, LAYER_MAP, PARAMETERS, RANK].contains(&name)
            || is_swept(name)
    })
}

/// File name, title and content.
pub type ChartFile = (String, String, Vec<u8>);

/// Draws every chart that the evidence allows, each as SVG and PNG.
pub fn draw_all(summary: &Summary, folder: &ExperimentFolder) -> Result<Vec<ChartFile>> {
    let mut drawn = Drawn { files: Vec::new(), is_overview: false };
    draw(summary, &mut drawn)?;
    if let Some(matrices) = confusion::Matrices::new(summary, folder)? {
        let title = "Confusion matrices over all seeds: how often each class was predicted, in percent \
                     of the test examples of each true class";
        drawn.add(CONFUSION, title, matrices.size(), &matrices)?;
    }
    Ok(drawn.files)
}

/// The charts of an experiment among others.
const OVERVIEW: [&str; 4] = [PARAMETERS, RANK, LAYERS, CURVES];

/// Draws the charts that a page over several experiments shows, as SVG. Those of a single point or epoch
/// are left out.
pub fn draw_overview(summary: &Summary) -> Result<Vec<ChartFile>> {
    let mut drawn = Drawn { files: Vec::new(), is_overview: true };
    draw(summary, &mut drawn)?;
    let arms = summary.arms.iter().filter(|arm| arm.test.is_some()).count();
    let epochs = summary.runs().map(|run| run.epochs.len()).max().unwrap_or(0);
    for (name, has_several) in [(PARAMETERS, arms > 1), (CURVES, epochs > 1)] {
        drawn.files.retain(|(file, ..)| has_several || *file != format!("{name}.svg"));
    }
    Ok(drawn.files)
}

/// The charts drawn so far.
struct Drawn {
    files: Vec<ChartFile>,
    is_overview: bool,
}

impl Drawn {
    fn add<C: Chart>(
        &mut self,
        name: &str,
        title: impl Into<String>,
        size: (u32, u32),
        chart: &C,
    ) -> Result<()> {
        if self.is_overview && !OVERVIEW.contains(&name) {
            return Ok(());
        }
        let title = title.into();
        let drawing = svg(name, size, chart)?.into_bytes();
        self.files.push((format!("{name}.svg"), title.clone(), drawing));
        if !self.is_overview {
            self.files.push((format!("{name}.png"), title, png(name, size, chart)?));
        }
        Ok(())
    }
}

/// Draws the charts of the summary.
fn draw(summary: &Summary, drawn: &mut Drawn) -> Result<()> {
    style::register_fonts()?;
    let metric = summary.metric().name;
    if let Some(effects) = effects::effects(summary) {
        let level = super::numbers::level();
        let title = format!(
            "Difference to the baseline with its {level} interval; small circles are single seeds"
        );
        drawn.add(EFFECTS, title, effects.size(), &effects)?;
    }
    if let Some(scatter) = metric_plot::against_parameters(summary) {
        let title =
            format!("Test {metric} against parameters, mean ± standard deviation over seeds");
        drawn.add(PARAMETERS, title, scatter.size(), &scatter)?;
    }
    for field in field::fields(summary) {
        let Some(name) = chart_name(&field) else { continue };
        if let Some(lines) = field::against_field(summary, &field) {
            let title =
                format!("Test {metric} against {field}, mean ± standard deviation over seeds");
            drawn.add(&name, title, lines.size(), &lines)?;
        }
    }
    if let Some(maps) = layer_map::LayerMaps::new(summary) {
        drawn.add(LAYER_MAP, "Which layers use one weight", maps.size(), &maps)?;
    }
    if let Some(layers) = layers::logit_lens_panels(summary) {
        let title = format!("What the head would answer after each layer: {}", layers.lines());
        drawn.add(LAYERS, title, layers.size(), &layers)?;
    }
    if let Some(curves) = curves::learning_curves(summary) {
        let title = format!("Learning curves: {}", curves.lines());
        drawn.add(CURVES, title, curves.size(), &curves)?;
    }
    Ok(())
}

/// Draws the contrasts of claims: (file name, content). Empty where there are none.
pub fn draw_contrasts(contrasts: &[&Contrast]) -> Result<Vec<(String, Vec<u8>)>> {
    style::register_fonts()?;
    match contrasts::contrasts(contrasts) {
        Some(chart) => both(CHART, chart.size(), &chart),
        None => Ok(Vec::new()),
    }
}

/// Draws the energy that each rank keeps: (file name, content).
pub fn draw_spectrum(record: &SpectrumRecord) -> Result<Vec<(String, Vec<u8>)>> {
    style::register_fonts()?;
    let chart = energy::Energy::new(record);
    both(ENERGY, chart.size(), &chart)
}

/// A chart as SVG and PNG.
fn both<C: Chart>(name: &str, size: (u32, u32), chart: &C) -> Result<Vec<(String, Vec<u8>)>> {
    let drawing = svg(name, size, chart)?.into_bytes();
    Ok(vec![(format!("{name}.svg"), drawing), (format!("{name}.png"), png(name, size, chart)?)])
}

#[cfg(test)]
mod tests {
    use super::is_chart;

    #[test]
    fn charts_of_any_spec_are_known_by_name_and_other_files_are_not() {
        for name in [
            "metric-vs-rank.svg",
            "metric-vs-lora.rank.png",
            "metric-vs-training.learning_rate.svg",
            "confusion.png",
        ] {
            assert!(is_chart(name), "{name}");
        }
        for name in [
            "metric-vs-rank.csv",
            "metric-vs-mine.png",
            "metric-vs-training.learning_rate copy.png",
            "metric-vs-vlora.rank.old.svg",
            "metric-vs-lora.rank (paper).svg",
            "table.md",
            "confusion.pdf",
            "svg",
        ] {
            assert!(!is_chart(name), "{name}");
        }
    }
}
