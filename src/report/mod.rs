//! Tables and charts, computed from stored evidence only.

mod arm_notes;
mod arms;
mod charts;
mod claims;
mod comparison;
mod comparison_table;
mod document;
mod fields;
mod footnotes;
mod frame;
mod notes;
mod numbers;
mod page;
mod run_comparison;
mod seed_plan;
mod spectrum_tables;
pub mod statistics;
mod summary;
mod table;
mod text;

pub use claims::{
    ClaimExperiment, EvaluatedClaim, Results, Verdict, claims_page, claims_table, claims_text,
    evaluate,
};
pub use comparison::Comparison;
pub use notes::{match_notes, start_note};
pub use run_comparison::{ExampleCounts, RunComparison};
pub use seed_plan::{Deviation, SeedPlan};
pub use spectrum_tables::{spectrum_notes, spectrum_table, write_spectrum};
pub use summary::{ArmSummary, Summary};
pub use table::{Align, Cell, Format, Row, Table, count, percent, reduction};
pub use text::plain;

use crate::atomic::write_atomic;
use crate::error::Result;
use crate::results::ExperimentFolder;

/// Tables of comparisons, only there if an arm is compared with a baseline.
const COMPARISONS: &str = "comparisons.csv";
const PAIRS: &str = "pairs.csv";

/// The report as one page.
const PAGE: &str = "report.html";

/// The charts that the page shows.
fn figures(charts: &[charts::ChartFile]) -> Vec<page::Figure<'_>> {
    let mut figures = Vec::new();
    for (name, title, content) in charts {
        if !name.ends_with(".svg") {
            continue;
        }
        let svg = std::str::from_utf8(content).unwrap_or_default();
        // Without the declaration of a file of its own.
        figures.extend(svg.find("<svg").map(|start| page::Figure { title, svg: &svg[start..] }));
    }
    figures
}

/// Writes the tables and charts of `summary` into its folder: `table.md`, `table.csv`,
/// `comparisons.csv`, `pairs.csv`, `tables.tex`, `runs.parquet`,
/// `report.html` and the charts. Removes files of an earlier report
/// that are no longer part of it. Returns the files written.
pub fn write_report(summary: &Summary, folder: &ExperimentFolder) -> Result<Vec<String>> {
    let mut files = vec![
        ("table.md".to_string(), summary.markdown().into_bytes()),
        ("table.csv".to_string(), summary.table().render(Format::Csv).into_bytes()),
        ("tables.tex".to_string(), summary.latex().into_bytes()),
        ("runs.parquet".to_string(), frame::runs_parquet(summary)?),
    ];
    if !summary.comparisons().is_empty() {
        for (name, table) in
            [(COMPARISONS, summary.comparison_table()), (PAIRS, summary.pair_table())]
        {
            files.push((name.to_string(), table.render(Format::Csv).into_bytes()));
        }
    }
    let charts = charts::draw_all(summary)?;
    files.push((PAGE.to_string(), page::page(summary, &figures(&charts)).into_bytes()));
    files.extend(charts.into_iter().map(|(name, _, content)| (name, content)));
    for (name, content) in &files {
        write_atomic(&folder.file(name), content)?;
    }
    for name in charts::file_names(summary).chain([COMPARISONS, PAIRS].map(String::from)) {
        if !files.iter().any(|(written, _)| *written == name) {
            folder.remove(&name)?;
        }
    }
    Ok(files.into_iter().map(|(name, _)| name).collect())
}
