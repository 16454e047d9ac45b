//! Tables and charts, computed from stored evidence and nothing else.

mod charts;
mod frame;
mod statistics;
mod summary;
mod table;

pub use statistics::Spread;
pub use summary::{ArmSummary, Summary};
pub use table::{Align, Cell, Format, Table, bytes, count, percent};

use crate::error::Result;
use crate::results::{ExperimentFolder, write_atomic};

/// Reads the experiment's evidence and writes `table.md`, `table.csv`, `runs.parquet` and the
/// charts beside it. Returns what the table shows and the files written.
pub fn write_report(folder: &ExperimentFolder) -> Result<(Summary, Vec<String>)> {
    let summary = Summary::read(folder)?;
    let table = summary.table();
    let mut files = vec![
        ("table.md".to_string(), summary.markdown().into_bytes()),
        ("table.csv".to_string(), table.render(Format::Csv).into_bytes()),
        ("runs.parquet".to_string(), frame::runs_parquet(&summary)?),
    ];
    files.extend(charts::draw_all(&summary)?);
    let mut names = Vec::new();
    for (name, content) in files {
        write_atomic(&folder.file(&name), &content)?;
        names.push(name);
    }
    Ok((summary, names))
}
