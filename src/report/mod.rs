//! Tables and charts, computed from stored evidence only.

mod arms;
mod charts;
mod fields;
mod footnotes;
mod frame;
mod notes;
mod spectrum_tables;
mod statistics;
mod summary;
mod table;
mod text;

pub use notes::{match_notes, start_note};
pub use spectrum_tables::{spectrum_notes, spectrum_table, write_spectrum};
pub use statistics::Spread;
pub use summary::{ArmSummary, Summary};
pub use table::{Align, Cell, Format, Row, Table, count, percent, reduction};
pub use text::plain;

use crate::atomic::write_atomic;
use crate::error::Result;
use crate::results::ExperimentFolder;

/// Writes `table.md`, `table.csv`, `runs.parquet` and the charts of `summary` into its folder.
/// Removes charts of an earlier report that are no longer part of it. Returns the files written.
pub fn write_report(summary: &Summary, folder: &ExperimentFolder) -> Result<Vec<String>> {
    let mut files = vec![
        ("table.md".to_string(), summary.markdown().into_bytes()),
        ("table.csv".to_string(), summary.table().render(Format::Csv).into_bytes()),
        ("runs.parquet".to_string(), frame::runs_parquet(summary)?),
    ];
    files.extend(charts::draw_all(summary)?);
    for (name, content) in &files {
        write_atomic(&folder.file(name), content)?;
    }
    for name in charts::file_names(summary) {
        if !files.iter().any(|(written, _)| *written == name) {
            folder.remove(&name)?;
        }
    }
    Ok(files.into_iter().map(|(name, _)| name).collect())
}
