//! `vlora why`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::runs::name;
use super::{clean, find_run, several};
use crate::error::Result;
use crate::results::{Provenance, RunFolder, SpecRecord, StartRecord};
use crate::spec::{NUMERICS_VERSION, comparable_fields, identifying_fields};
use crate::terminal::print;

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The folder of a run, as results/quickstart/runs/3feadbede2b5, or its id under results/
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

/// The most other variants that are compared.
const MAX_VARIANTS: usize = 8;

pub fn why(args: &WhyArgs) -> Result<()> {
    let (experiment, id) = find_run(&args.run)?;
    let run = experiment.run(&id);
    let SpecRecord { spec, seed, .. } = run.read_json(RunFolder::SPEC)?;
    let fields = identifying_fields(&spec);
    let record = experiment.read_record()?;
    let variant = record.variants.iter().find(|variant| variant.runs.contains(&id));
    let arm = match variant {
        Some(variant) => format!("{} seed {seed}", clean(&variant.label)),
        None => format!("seed {seed}"),
    };
    let mut text = format!(
        "{id}: {arm} of {} ({})\n\nIts id is a hash of\n\n",
        clean(&name(&experiment)),
        run.state().name()
    );
    let mut line = |field: &str, value: &str| text += &format!("  {field}: {}\n", clean(value));
    let provenance = run.read_json::<Provenance>(RunFolder::PROVENANCE).ok();
    let numerics = provenance.as_ref().and_then(|p| p.sessions.last()).map(|s| s.numerics_version);
    let numerics = numerics.unwrap_or(NUMERICS_VERSION);
    line("numerics version", &numerics.to_string());
    line("seed", &seed.to_string());
    match &provenance {
        Some(provenance) => line("data", &format!("SHA-256 {}", provenance.data_sha256)),
        None => line("data", "a SHA-256, which is recorded when the run begins"),
    }
    if let Ok(start) = run.read_json::<StartRecord>(RunFolder::START) {
        // An arm's weights follow from its run.
        let start = match start.from.strip_prefix("run ") {
            Some(run) => format!("the run {run}"),
            None => format!("{}, SHA-256 {}", start.from, start.sha256),
        };
        line("start", &format!("{start}, and how its weights are changed to fit"));
    }
    for (field, value) in &fields {
        line(field, value.trim_matches('"'));
    }
    if numerics != NUMERICS_VERSION {
        text += &format!(
            "\nThis program has numerics version {NUMERICS_VERSION}: it would train the run again, under \
             another id.\n"
        );
    }
    let others = record.variants.iter().filter(|variant| !variant.runs.contains(&id));
    let mut others: Vec<_> = others
        .map(|v| {
            let [ours, theirs] = comparable_fields([&spec, &v.spec]);
            let ours = with_start(ours, variant.and_then(|variant| variant.start.as_ref()));
            (differences(&ours, &with_start(theirs, v.start.as_ref())), v)
        })
        .collect();
    others.sort_by_key(|(differences, _)| differences.len());
    if variant.is_none() {
        text += "\nThe experiment no longer compares it: its spec, its seeds or its data have changed.\n";
        if !record.seeds.contains(&seed) {
            text += &format!("  seed: {seed} is not among its seeds\n");
        }
    }
    if !others.is_empty() {
        text += "\nThe experiment's other arms, nearest first, differ in\n";
    }
    for (differences, variant) in others.iter().take(MAX_VARIANTS) {
        text += &format!("\n  {}\n", clean(&variant.label));
        if differences.is_empty() {
            text += "    nothing of the spec: its data, or what it starts from\n";
        }
        for line in differences {
            text += &format!("    {}\n", clean(line));
        }
    }
    if others.len() > MAX_VARIANTS {
        text += &format!("\n  … {} more\n", several(others.len() - MAX_VARIANTS, "arm"));
    }
    print(&text)
}

/// The fields with the arm whose weights the run starts from, which its id has as a run.
fn with_start(
    mut fields: BTreeMap<String, String>,
    start: Option<&String>,
) -> BTreeMap<String, String> {
    if let Some(label) = start {
        fields.insert("start.arm".into(), label.clone());
    }
    fields
}

/// `field: here, there` for each field that is not the same.
fn differences(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Vec<String> {
    let value = |fields: &BTreeMap<String, String>, field: &str| {
        let text = fields.get(field).map(|value| value.trim_matches('"').to_string());
        text.unwrap_or_else(|| "not used".into())
    };
    let mut all: Vec<&String> = here.keys().chain(there.keys()).collect();
    all.sort();
    all.dedup();
    let is_other = |field: &&String| here.get(*field) != there.get(*field);
    let text = |field: &String| {
        format!("{field}: {} there, {} here", value(there, field), value(here, field))
    };
    all.into_iter().filter(is_other).map(text).collect()
}
