//! `vlora claims`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::{FormatArgs, FormatName, clean, print, print_as};
use crate::error::{Fault, Result};
use crate::models;
use crate::report::{JudgedClaim, Subject, Summary, claims_page, claims_table, judge, plain};
use crate::results::ExperimentFolder;
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
    #[command(flatten)]
    format: FormatArgs,
}

pub fn claims(args: &ClaimsArgs) -> Result<()> {
    let claims = Claims::load(&args.file)?;
    let mut subjects: BTreeMap<&str, Subject> = BTreeMap::new();
    for check in claims.claims.iter().flat_map(|claim| &claim.checks) {
        if !subjects.contains_key(check.spec.as_str()) {
            subjects.insert(&check.spec, subject(&check.spec, args)?);
        }
    }
    let judged = judge(&claims, &|check| &subjects[check.spec.as_str()]).map_err(|unknown| {
        Fault::new("the experiment has no such arm")
            .source(clean(&args.file.display().to_string()))
            .within(format!("claim {}", unknown.claim))
            .found(format!("`{}`", unknown.found))
            .expected("the label of an arm, as a table has it")
            .did_you_mean(unknown.nearest.as_deref())
    })?;
    match args.format.format {
        FormatName::Table => print(&text(&claims, &judged)),
        FormatName::Markdown => print_as(FormatName::Markdown, &claims_page(&claims, &judged)),
        format => print_as(format, &claims_table(&judged).render(format.into())),
    }
}

/// The experiment of a spec, with its results if there are any.
fn subject(spec: &str, args: &ClaimsArgs) -> Result<Subject> {
    let beside = args.file.parent().unwrap_or(Path::new(""));
    let path = without_parents(&beside.join(spec));
    let experiment = spec::load(&path, &[], &models::parameters)?;
    let folder = ExperimentFolder::in_tree(&args.results, &experiment.name);
    let summary = match folder.file("experiment.json").exists() {
        true => Some(Summary::read(&folder, evidence)?),
        false => None,
    };
    let stored = std::fs::read_to_string(folder.file("experiment.yaml"));
    Ok(Subject {
        parameters: experiment.variants.iter().map(|v| models::parameters(&v.spec)).collect(),
        spec: path.display().to_string(),
        is_of_other_spec: summary.is_some() && stored.is_ok_and(|text| text != experiment.source),
        summary,
        experiment,
    })
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

/// The claims for a terminal.
fn text(claims: &Claims, judged: &[JudgedClaim]) -> String {
    let mut text = format!("{}\n", claims.about.trim());
    for judged in judged {
        let JudgedClaim { claim, verdict, checks, .. } = judged;
        text += &format!("\n{}: {}\n", claim.name, verdict.name());
        text += &format!("  {} ({})\n", claim.says.trim(), claim.source.trim());
        for check in checks {
            text += &format!("  · {}: {}\n", plain(&check.arithmetic), check.verdict.name());
        }
        if let Some(note) = judged.missing_note() {
            text += &format!("  · {}\n", plain(&note));
        }
        if !claim.open.is_empty() {
            text += &format!("  · open: {}\n", claim.open.trim());
        }
    }
    text
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
