//! `vlora claims`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::report::damage;
use super::{FormatArgs, FormatName, clean, eprint_line, not_written, print, print_as};
use crate::error::{Error, Fault, Result};
use crate::models;
use crate::report::{
    ClaimExperiment, Overview, Results, Summary, claims_page, claims_table, claims_text, evaluate,
    plain, write_claims,
};
use crate::results::{ExperimentFolder, SpectrumRecord};
use crate::spec::{self, Claims};
use crate::tasks::evidence;

#[derive(Debug, Args)]
pub struct ClaimsArgs {
    /// A file of published claims
    #[arg(default_value = "experiments/paper/claims.yaml")]
    file: PathBuf,
    /// The folder with the experiments' results
    #[arg(long, value_name = "FOLDER", default_value = "results")]
    results: PathBuf,
    /// Also write the verdicts into a folder, as claims.md with its chart and as report.html with all
    /// experiments
    ///
    /// report.html has the tables and charts of every experiment that the file names. Links lead to the
    /// experiments in the folder of results, so that is the place of these pages.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn claims(args: &ClaimsArgs) -> Result<()> {
    let claims = Claims::load(&args.file)?;
    check_folders(args)?;
    let experiments = experiments(&claims, args)?;
    let evaluated =
        evaluate(&claims, &|check| &experiments[check.spec.as_str()]).map_err(|fault| {
            Fault::new(fault.summary)
                .source(clean(&args.file.display().to_string()))
                .within(format!("claim {}", fault.claim))
                .found(format!("`{}`", fault.found))
                .did_you_mean(fault.nearest.as_deref())
        })?;
    // What cannot be used is left out, which must not go unnoticed.
    let mut unusable: Vec<String> = experiments.values().filter_map(left_out).collect();
    match args.format.format {
        FormatName::Table => print(&claims_text(&claims, &evaluated))?,
        FormatName::Markdown => print_as(FormatName::Markdown, &claims_page(&claims, &evaluated))?,
        format => print_as(format, &claims_table(&evaluated).render(format.into()))?,
    }
    if let Some(out) = &args.out {
        let overview = Overview {
            claims: &claims,
            evaluated: &evaluated,
            experiments: each_once(&claims, &experiments),
            spectra: spectra(&args.results, &mut unusable)?,
        };
        let files = write_claims(overview, out).map_err(|e| not_written(out, &e))?;
        eprint_line(&format!(
            "Written to {}: {}",
            clean(&out.display().to_string()),
            files.join(", ")
        ));
    }
    match unusable.is_empty() {
        true => Ok(()),
        false => Err(Fault::of_lines(unusable.join("\n")).into()),
    }
}

/// Refuses folders that cannot be those of the results and of the pages.
fn check_folders(args: &ClaimsArgs) -> Result<()> {
    if !args.results.is_dir() {
        return Err(Fault::new("there is no such folder of results")
            .within("--results")
            .found(clean(&args.results.display().to_string()))
            .expected("the folder that `vlora run` fills, results/ unless its --out names another")
            .into());
    }
    match &args.out {
        Some(out) if ExperimentFolder::new(out).is_experiment() => {
            Err(Fault::new("the folder has an experiment's own report")
                .within("--out")
                .found(clean(&out.display().to_string()))
                .expected("the folder of results, or another one")
                .into())
        }
        _ => Ok(()),
    }
}

/// The specs that a file of claims names, as it names them, in its order.
fn specs(claims: &Claims) -> impl Iterator<Item = &str> {
    let checks = claims.claims.iter().flat_map(|claim| &claim.checks);
    checks.map(|check| &check.spec).chain(&claims.also_shown).map(String::as_str)
}

/// The experiments of these specs.
fn experiments<'a>(
    claims: &'a Claims,
    args: &ClaimsArgs,
) -> Result<BTreeMap<&'a str, ClaimExperiment>> {
    let mut experiments = BTreeMap::new();
    for spec in specs(claims) {
        if !experiments.contains_key(spec) {
            let read = experiment(spec, args);
            let named = || format!("`{}` names it as {spec}", args.file.display());
            let read = read.map_err(|e| e.map_fault(|fault| fault.context(named())))?;
            experiments.insert(spec, read);
        }
    }
    Ok(experiments)
}

/// The experiments in the order in which they are named, of one name the first.
fn each_once<'a>(
    claims: &Claims,
    experiments: &'a BTreeMap<&str, ClaimExperiment>,
) -> Vec<&'a ClaimExperiment> {
    let mut shown: Vec<&ClaimExperiment> = Vec::new();
    for experiment in specs(claims).map(|spec| &experiments[spec]) {
        let name = &experiment.experiment.name;
        if shown.iter().all(|other| other.experiment.name != *name) {
            shown.push(experiment);
        }
    }
    shown
}

/// What is left out of an experiment's results, since it is damaged or cannot be read.
fn left_out(experiment: &ClaimExperiment) -> Option<String> {
    match &experiment.results {
        Results::Read(summary) => damage(summary),
        Results::Unusable(reason) => Some(format!("{}: {}", experiment.spec, plain(reason))),
        Results::None => None,
    }
}

/// The experiment of a spec, with its results if there are any.
fn experiment(spec: &str, args: &ClaimsArgs) -> Result<ClaimExperiment> {
    let beside = args.file.parent().unwrap_or(Path::new(""));
    let path = without_parents(&beside.join(spec));
    let experiment = spec::load(&path, &[], &models::parameters)?;
    let folder = ExperimentFolder::in_tree(&args.results, &experiment.name);
    Ok(ClaimExperiment {
        metrics: evidence(&experiment.variants[0].spec).metrics(),
        parameters: experiment.variants.iter().map(|v| models::parameters(&v.spec)).collect(),
        spec: path.display().to_string(),
        results: results(&folder),
        experiment,
    })
}

/// Results that cannot be read make one experiment's checks undecided, not the others'.
fn results(folder: &ExperimentFolder) -> Results {
    if !folder.file("experiment.json").exists() {
        return Results::None;
    }
    let summary = folder.read_record().and_then(|record| {
        let has_ended = folder.has_ended_run(&record);
        has_ended.then(|| Summary::of(record, folder, evidence)).transpose()
    });
    match summary {
        Ok(Some(summary)) => Results::Read(Box::new(summary)),
        Ok(None) => Results::None,
        Err(error) => Results::Unusable(match error.to_string().lines().next() {
            Some(line) => format!("its results cannot be used: {line}"),
            None => "its results cannot be used".into(),
        }),
    }
}

/// The folder in which `vlora spectrum` writes, in the folder of results.
const SPECTRA: &str = "spectrum";

/// The differences between layers that are stored beside the results, with their folders. Those that cannot
/// be used are left out, and their errors added to `unusable`.
fn spectra(results: &Path, unusable: &mut Vec<String>) -> Result<Vec<(String, SpectrumRecord)>> {
    let all = results.join(SPECTRA);
    let mut records = Vec::new();
    if !all.exists() {
        return Ok(records);
    }
    let unreadable = |e| Error::io("reading the folder", &all, e);
    let entries = std::fs::read_dir(&all).map_err(unreadable)?;
    let entries: Vec<_> = entries.collect::<std::io::Result<_>>().map_err(unreadable)?;
    let mut folders: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    folders.retain(|folder| SpectrumRecord::is_in(folder));
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        match SpectrumRecord::read(&folder) {
            Ok(record) => records.push((format!("{SPECTRA}/{name}"), record)),
            Err(error) => unusable.push(error.to_string()),
        }
    }
    Ok(records)
}

/// The path with `folder/..` left out.
fn without_parents(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match (part, out.components().next_back()) {
            (Component::ParentDir, Some(Component::Normal(_))) => {
                out.pop();
            }
            (Component::CurDir, _) => {}
            _ => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_folders_are_left_out() {
        for (path, short) in [
            ("experiments/paper/../benchmarks/a.yaml", "experiments/benchmarks/a.yaml"),
            ("../a.yaml", "../a.yaml"),
            ("/x/./y/../../z", "/z"),
            ("a/../../b", "../b"),
        ] {
            assert_eq!(without_parents(Path::new(path)), Path::new(short), "{path}");
        }
    }
}
