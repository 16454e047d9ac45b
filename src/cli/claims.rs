//! `vlora claims`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::report::damage;
use super::{FormatArgs, FormatName, clean, eprint_line, not_written, print, print_as};
use crate::error::{Fault, Result};
use crate::models;
use crate::report::{
    ClaimExperiment, Overview, Results, Summary, claims_page, claims_table, claims_text, evaluate,
    write_claims,
};
use crate::results::{ExperimentFolder, RunState, SpectrumRecord};
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
    /// Also write the verdicts into a folder, as claims.md with its chart and as report.html with all experiments
    ///
    /// report.html has the tables and charts of every experiment that the file names. Links lead to the experiments in
    /// the folder of results, so that is the place of these pages.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn claims(args: &ClaimsArgs) -> Result<()> {
    let claims = Claims::load(&args.file)?;
    if !args.results.is_dir() {
        return Err(Fault::new("there is no such folder of results")
            .within("--results")
            .found(clean(&args.results.display().to_string()))
            .expected("the folder that `vlora run` fills, results/ unless its --out names another")
            .into());
    }
    let mut experiments: BTreeMap<&str, ClaimExperiment> = BTreeMap::new();
    let checks = claims.claims.iter().flat_map(|claim| &claim.checks);
    let specs: Vec<&str> = checks
        .map(|check| check.spec.as_str())
        .chain(claims.also_shown.iter().map(String::as_str))
        .collect();
    for spec in &specs {
        if !experiments.contains_key(spec) {
            experiments.insert(spec, experiment(spec, args)?);
        }
    }
    let evaluated =
        evaluate(&claims, &|check| &experiments[check.spec.as_str()]).map_err(|fault| {
            Fault::new(fault.summary)
                .source(clean(&args.file.display().to_string()))
                .within(format!("claim {}", fault.claim))
                .found(format!("`{}`", fault.found))
                .did_you_mean(fault.nearest.as_deref())
        })?;
    match args.format.format {
        FormatName::Table => print(&claims_text(&claims, &evaluated))?,
        FormatName::Markdown => print_as(FormatName::Markdown, &claims_page(&claims, &evaluated))?,
        format => print_as(format, &claims_table(&evaluated).render(format.into()))?,
    }
    if let Some(out) = &args.out {
        let mut shown: Vec<&Summary> = Vec::new();
        for summary in specs.iter().filter_map(|spec| experiments[spec].results.summary()) {
            if shown.iter().all(|other| other.record.name != summary.record.name) {
                shown.push(summary);
            }
        }
        let shown = Overview {
            claims: &claims,
            evaluated: &evaluated,
            experiments: shown,
            spectra: spectra(&args.results)?,
        };
        let files = write_claims(shown, out).map_err(|e| not_written(out, &e))?;
        eprint_line(&format!(
            "Written to {}: {}",
            clean(&out.display().to_string()),
            files.join(", ")
        ));
    }
    let summaries = experiments.values().filter_map(|e| e.results.summary());
    let damaged: Vec<String> = summaries.filter_map(damage).collect();
    match damaged.is_empty() {
        true => Ok(()),
        false => Err(Fault::failed(damaged.join("\n")).into()),
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
    let has_ended = |id: &String| !matches!(folder.run(id).state(), RunState::Planned);
    if !folder.file("experiment.json").exists() || !folder.run_ids().iter().any(has_ended) {
        return Results::None;
    }
    match Summary::read(folder, evidence) {
        Ok(summary) => Results::Read(Box::new(summary)),
        Err(error) => Results::Unusable(match error.to_string().lines().next() {
            Some(line) => format!("its results cannot be used: {line}"),
            None => "its results cannot be used".into(),
        }),
    }
}

/// The folder in which `vlora spectrum` writes, in the folder of results.
const SPECTRA: &str = "spectrum";

/// The differences between layers that are stored beside the results, with their folders.
fn spectra(results: &Path) -> Result<Vec<(String, SpectrumRecord)>> {
    let entries = std::fs::read_dir(results.join(SPECTRA)).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|folder| SpectrumRecord::is_in(folder));
    folders.sort();
    let named = folders.into_iter().filter_map(|folder| {
        let name = folder.file_name()?.to_str()?.to_string();
        Some((format!("{SPECTRA}/{name}"), folder))
    });
    named.map(|(name, folder)| Ok((name, SpectrumRecord::read(&folder)?))).collect()
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
