//! Tables and charts, computed from stored evidence only.

mod arm_notes;
mod arm_summary;
mod arms;
mod charts;
mod claims;
mod comparison;
mod comparison_table;
mod dense_ladder;
mod dense_ladder_table;
mod document;
mod fields;
mod footnotes;
mod frame;
mod layers;
mod notes;
mod numbers;
mod page;
mod run_comparison;
mod samples;
mod seed_plan;
mod spectrum_tables;
pub mod statistics;
mod summary;
mod table;
mod tensorboard;
mod text;
mod trials;
mod trials_table;
mod trivial_baselines;

pub use claims::{
    ClaimExperiment, Contrast, EvaluatedClaim, Results, Verdict, claims_page, claims_table,
    claims_text, evaluate,
};
pub use comparison::Comparison;
pub use notes::{match_notes, start_note};
pub use run_comparison::{ExampleCounts, RunComparison};
pub use seed_plan::{Deviation, SeedPlan};
pub use spectrum_tables::{spectrum_notes, spectrum_table, write_spectrum};
pub use summary::{ArmSummary, FinishedRun, Summary};
pub use table::{Align, Cell, Format, Row, Table, count, percent, reduction};
pub use tensorboard::{EventFiles, write_tensorboard};
pub use text::plain;

use claims::{CHART, contrasts};
use document::Section;
use page::{ShownExperiment, ShownSpectrum, svg_text};
use samples::SampleOutputs;

use std::path::Path;

use crate::atomic::write_atomic;
use crate::error::Result;
use crate::results::{ExperimentFolder, SpectrumRecord};
use crate::spec::Claims;

/// Each comparison's differences seed by seed, only there if an arm is compared with a baseline.
const PAIRS: &str = "pairs.csv";

/// Test examples with the arms' outputs, only there where outputs are texts.
const SAMPLES: &str = "samples.md";

/// The report as one page.
const PAGE: &str = "report.html";

/// What the page over all experiments shows.
pub struct Overview<'a> {
    pub claims: &'a Claims,
    pub evaluated: &'a [EvaluatedClaim<'a>],
    pub experiments: Vec<&'a ClaimExperiment>,
    /// Records of the differences between a model's layers, with their folders relative to the page's.
    pub spectra: Vec<(String, SpectrumRecord)>,
}

/// Writes the pages of claims into a folder: `claims.md`, `report.html`, and `claims.svg` and `claims.png`
/// if any arms are compared. Removes those of an earlier page that has no chart any more. Links lead to the
/// experiments in the folder of results. Returns the files written.
pub fn write_claims(shown: Overview, folder: &Path) -> Result<Vec<String>> {
    let Overview { claims, evaluated, experiments, spectra } = shown;
    let mut files = charts::draw_contrasts(&contrasts(evaluated))?;
    let chart = files.iter().find_map(|(name, content)| svg_text(name, content));
    let with_charts = experiments.into_iter().map(|experiment| {
        let charts = match experiment.results.summary() {
            Some(summary) => charts::draw_overview(summary)?,
            None => Vec::new(),
        };
        Ok(ShownExperiment { experiment, charts })
    });
    let experiments: Vec<ShownExperiment> = with_charts.collect::<Result<_>>()?;
    let with_charts = spectra.into_iter().map(|(folder, record)| {
        let charts = charts::draw_spectrum(&record)?;
        Ok(ShownSpectrum { record, folder, charts })
    });
    let spectra: Vec<ShownSpectrum> = with_charts.collect::<Result<_>>()?;
    let page = page::overview(claims, evaluated, chart, &experiments, &spectra);
    files.push((PAGE.to_string(), page.into_bytes()));
    files.push((format!("{CHART}.md"), claims_page(claims, evaluated).into_bytes()));
    for (name, content) in &files {
        write_atomic(&folder.join(name), content)?;
    }
    for name in ["svg", "png"].map(|ending| format!("{CHART}.{ending}")) {
        if !files.iter().any(|(written, _)| *written == name) {
            ExperimentFolder::new(folder).remove(&name)?;
        }
    }
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// Writes the tables and charts of `summary` into its folder: `table.md`, `table.csv`, `pairs.csv`,
/// `samples.md`, a CSV a section, `tables.tex`, `runs.parquet`, `report.html` and the charts. Removes files
/// of an earlier report that are no longer part of it. Returns the files written.
pub fn write_report(summary: &Summary, folder: &ExperimentFolder) -> Result<Vec<String>> {
    let mut files = vec![
        ("table.md".to_string(), summary.markdown().into_bytes()),
        ("table.csv".to_string(), summary.table().render(Format::Csv).into_bytes()),
        ("tables.tex".to_string(), summary.latex().into_bytes()),
        ("runs.parquet".to_string(), frame::runs_parquet(summary)?),
    ];
    for section in summary.sections() {
        files.push((section.file(), section.data().render(Format::Csv).into_bytes()));
    }
    if !summary.comparisons().is_empty() {
        files.push((PAIRS.to_string(), summary.pair_table().render(Format::Csv).into_bytes()));
    }
    let samples = SampleOutputs::read(summary, folder)?;
    if let Some(samples) = &samples {
        files.push((SAMPLES.to_string(), samples.markdown(&summary.record.name).into_bytes()));
    }
    let charts = charts::draw_all(summary, folder)?;
    let page = page::page(summary, samples.as_ref(), &page::figures(&charts));
    files.push((PAGE.to_string(), page.into_bytes()));
    files.extend(charts.into_iter().map(|(name, _, content)| (name, content)));
    for (name, content) in &files {
        write_atomic(&folder.file(name), content)?;
    }
    let others = [PAIRS, SAMPLES].map(String::from);
    let old_charts = folder.names().into_iter().filter(|name| charts::is_chart(name));
    for name in old_charts.chain(Section::files()).chain(others) {
        if !files.iter().any(|(written, _)| *written == name) {
            folder.remove(&name)?;
        }
    }
    Ok(files.into_iter().map(|(name, _)| name).collect())
}
