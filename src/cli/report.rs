//! `vlora report`.

use std::path::PathBuf;

use clap::Args;

use super::spectrum::show;
use super::{FormatArgs, FormatName, print};
use crate::error::Result;
use crate::report::{Format, Summary, write_report};
use crate::results::{ExperimentFolder, SpectrumRecord};

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// An experiment's folder, as results/quickstart, or what `vlora spectrum` left
    folder: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn report(args: &ReportArgs) -> Result<()> {
    if SpectrumRecord::is_in(&args.folder) {
        return show(&SpectrumRecord::read(&args.folder)?, &args.folder, args.format.format);
    }
    let folder = ExperimentFolder::new(&args.folder);
    let summary = Summary::read(&folder)?;
    let files = write_report(&summary, &folder)?;
    print(&shown(&summary, &files, &folder, args.format.format))
}

/// The table as asked for; for people with its notes and the files written.
pub fn shown(
    summary: &Summary,
    files: &[String],
    folder: &ExperimentFolder,
    format: FormatName,
) -> String {
    let table = summary.table();
    match format {
        FormatName::Table => {
            let mut text = table.render(Format::Table) + "\n";
            for note in summary.notes() {
                text += &format!("· {}\n", note.replace('`', ""));
            }
            text + &format!("\nWritten to {}: {}\n", folder.path().display(), files.join(", "))
        }
        other => table.render(other.into()),
    }
}
