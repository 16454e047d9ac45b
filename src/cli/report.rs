//! `vlora report`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::spectrum::show;
use super::{
    FormatArgs, FormatName, clean, eprint_line, listed, not_written, print, print_as, several,
};
use crate::error::{Error, Fault, Result};
use crate::report::{Format, Summary, count, plain, write_report, write_tensorboard};
use crate::results::{ExperimentFolder, ExperimentRecord, RunFolder, SpectrumRecord, Weights};
use crate::spec::nearest;
use crate::tasks::evidence;

/// The most experiments, and the most runs, that are named in one line.
const MAX_NAMES: usize = 20;
const MAX_RUNS: usize = 3;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// An experiment's folder, as results/quickstart, or what `vlora spectrum` left
    folder: PathBuf,
    /// Also write the curves of every run into event files, which TensorBoard shows
    ///
    /// Each run has a folder DIR/ARM/seed-N: loss, learning rate and gradient norm of each step,
    /// the validation of each epoch, and the test. Runs that have not ended are there as far as they
    /// are, also where no run has ended and there is no table yet. Another experiment needs another
    /// DIR, since its arms may have the same names.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn report(args: &ReportArgs) -> Result<()> {
    if SpectrumRecord::is_in(&args.folder) {
        if args.tensorboard.is_some() {
            return Err(no_curves(&args.folder));
        }
        return show(&SpectrumRecord::read(&args.folder)?, &args.folder, args.format.format);
    }
    if !has_results(&args.folder) {
        return Err(no_results(&args.folder));
    }
    let folder = ExperimentFolder::new(&args.folder);
    let record = folder.read_record()?;
    // Curves begin with the first step, but a table needs a run that has ended.
    let summary = match args.tensorboard.is_some() && !folder.has_ended_run(&record) {
        true => None,
        false => Some(Summary::of(record.clone(), &folder, evidence)?),
    };
    let shown = match &summary {
        Some(summary) => write_and_show(summary, &folder, args.format.format),
        None => Ok(()),
    };
    let exported = match &args.tensorboard {
        Some(out) => export_curves(&folder, &record, summary.as_ref(), out, args.format.format),
        None => Ok(()),
    };
    shown.and(exported)?;
    summary.as_ref().and_then(damage).map_or(Ok(()), |damage| Err(Fault::of_lines(damage).into()))
}

/// Writes event files of TensorBoard and says where. Damaged runs of `summary` are left out; the report
/// names them itself.
fn export_curves(
    folder: &ExperimentFolder,
    record: &ExperimentRecord,
    summary: Option<&Summary>,
    out: &Path,
    format: FormatName,
) -> Result<()> {
    let damaged = summary.into_iter().flat_map(|summary| summary.damaged());
    let damaged: Vec<&str> = damaged.map(|run| run.id.as_str()).collect();
    let files = write_tensorboard(folder, record, evidence, &damaged, out)?;
    for reason in &files.left_out {
        eprint_line(&format!("note: a run is left out of the event files: {reason}"));
    }
    if files.written == 0 {
        // The report says what is damaged.
        return match damaged.is_empty() {
            true => Err(Fault::new("there are no curves to write")
                .source(clean(&folder.path().display().to_string()))
                .found("no recorded step that can be read")
                .expected("at least one run that has begun")
                .help("`vlora run` with the spec begins them")
                .into()),
            false => Ok(()),
        };
    }
    let (files, out) = (several(files.written, "event file"), clean(&out.display().to_string()));
    let line = format!("Wrote {files} to {out}; `tensorboard --logdir {out}` shows them");
    match format {
        FormatName::Table => print(&(line + "\n")),
        // The table alone goes to standard output.
        _ => {
            eprint_line(&line);
            Ok(())
        }
    }
}

/// The error for curves of spectra.
fn no_curves(folder: &Path) -> Error {
    Fault::new("`--tensorboard` needs the runs of an experiment")
        .source(clean(&folder.display().to_string()))
        .found("what `vlora spectrum` left")
        .expected("the folder of an experiment, as `vlora run` leaves it under results/")
        .into()
}

/// Writes the tables and charts, and prints the table. If files cannot be written, as in a
/// read-only folder, the table is still printed and the error returned.
pub fn write_and_show(
    summary: &Summary,
    folder: &ExperimentFolder,
    format: FormatName,
) -> Result<()> {
    if let Some(note) = missing_weights(summary, folder) {
        eprint_line(&note);
    }
    let written = write_report(summary, folder);
    print_as(format, &shown(summary, written.as_deref().unwrap_or_default(), folder, format))?;
    written.map(drop).map_err(|e| not_written(folder.path(), &e))
}

/// Names the damaged runs, which the table leaves out. None if there are none.
pub fn damage(summary: &Summary) -> Option<String> {
    let reasons: Vec<&str> = summary.damaged().map(|run| run.reason.as_str()).collect();
    let n = reasons.len();
    let more = n.saturating_sub(MAX_RUNS);
    let shown = reasons.into_iter().take(MAX_RUNS).collect::<Vec<_>>().join("\n");
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    (n > 0).then(|| {
        let are = if n == 1 { "is" } else { "are" };
        let runs = several(n, "finished run");
        format!("{runs} {are} damaged and left out of the table\n{shown}{more}")
    })
}

/// A note on finished runs without weights. A table does not need the weights, but other commands
/// do.
fn missing_weights(summary: &Summary, folder: &ExperimentFolder) -> Option<String> {
    let missing: Vec<&str> = summary
        .runs()
        .filter(|run| run.weights == Weights::Missing)
        .map(|run| run.id.as_str())
        .collect();
    let all = summary.runs().count();
    (!missing.is_empty()).then(|| {
        format!(
            "note: {}: {} of {} without weights (no {}): {}; the table is from the evidence, which \
             is whole, and to train a run again for its weights, remove its folder",
            clean(&folder.path().display().to_string()),
            count(missing.len() as u64),
            several(all, "finished run"),
            RunFolder::MODEL,
            listed(&missing, MAX_RUNS),
        )
    })
}

/// Whether a folder has results to report.
fn has_results(folder: &Path) -> bool {
    folder.join("experiment.json").exists() || SpectrumRecord::is_in(folder)
}

/// The error for a folder without results. It suggests where results are.
fn no_results(folder: &Path) -> Error {
    let shown = clean(&folder.display().to_string());
    let inside = experiments(folder);
    if !inside.is_empty() {
        return Error::from(
            Fault::new("this folder has the results of several experiments")
                .source(shown)
                .found(listed(&inside, MAX_NAMES))
                .expected("the folder of one experiment")
                .help(format!(
                    "vlora report {}",
                    clean(&folder.join(&inside[0]).display().to_string())
                )),
        );
    }
    let found = match (folder.is_dir(), folder.exists()) {
        (true, _) => "no experiment.json",
        (false, true) => "a file",
        (false, false) => "no such folder",
    };
    let fault = Fault::new("there are no results here")
        .source(shown)
        .found(found)
        .expected("the folder of an experiment, as `vlora run` leaves it under results/");
    match suggestion(folder) {
        Some(help) => fault.help(help).into(),
        None => fault.into(),
    }
}

/// Suggests the experiment that is probably meant, or lists those in the parent folder.
fn suggestion(folder: &Path) -> Option<String> {
    // The folder or a file of a run, inside that of an experiment.
    if let Some(experiment) = folder.ancestors().skip(1).find(|above| has_results(above)) {
        return Some(format!("did you mean `{}`?", clean(&experiment.display().to_string())));
    }
    // The name of an experiment or a spec.
    let name = folder.file_name()?.to_string_lossy().into_owned();
    let name = name.trim_end_matches(".yaml").trim_end_matches(".yml");
    let above = match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return None,
    };
    for place in [above, Path::new("results")] {
        let there = experiments(place);
        if let Some(near) = nearest(name, there.iter().map(String::as_str)) {
            return Some(format!(
                "did you mean `{}`?",
                clean(&place.join(near).display().to_string())
            ));
        }
    }
    let place = [above, Path::new("results")].into_iter().find(|p| !experiments(p).is_empty())?;
    Some(format!(
        "{} has {}",
        clean(&place.display().to_string()),
        listed(&experiments(place), MAX_NAMES)
    ))
}

/// The sorted names of the subfolders that have results.
fn experiments(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| has_results(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The table in the chosen format. Aligned text also has the notes and the written files.
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
            for section in summary.sections() {
                text += &format!("{}\n\n", section.title);
                text += &section.table.render(Format::Table);
                text.push('\n');
                for note in section.notes {
                    text += &format!("· {}\n", plain(&note));
                }
                text.push('\n');
            }
            for note in summary.notes() {
                text += &format!("· {}\n", plain(&note));
            }
            if !files.is_empty() {
                text +=
                    &format!("\nWritten to {}: {}\n", folder.path().display(), files.join(", "));
            }
            text
        }
        other => table.render(other.into()),
    }
}
