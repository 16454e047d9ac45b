//! `vlora fetch`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;

use super::hub::HubArgs;
use super::{FormatArgs, clean, eprint_line, print_as};
use crate::atomic::write_atomic;
use crate::data::{self, Card};
use crate::error::{Error, Fault, Result};
use crate::hub::{Hub, Kind, LockedRepository, Lockfile, Repository, Source};
use crate::models;
use crate::report::{Align, Cell, Table, count};
use crate::runner::base_model_files;
use crate::spec::{self, DataSpec, Experiment};
use crate::tasks::{ModelFiles, definition};

#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Experiments' YAML files
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<PathBuf>,
    /// Ignore the lock and pin the current revisions
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Something that the runs of a spec read.
#[derive(Clone, Debug, PartialEq)]
enum Need {
    Data(Box<DataSpec>),
    Model(Source),
    Files(ModelFiles),
}

pub fn fetch(args: &FetchArgs) -> Result<()> {
    let hub = args.hub.unlocked();
    let mut table = Table::new()
        .column("spec", "spec", Align::Left)
        .column("kind", "kind", Align::Left)
        .column("source", "source", Align::Left)
        .column("commit", "commit", Align::Left)
        .column("files", "files", Align::Right)
        .column("bytes", "size", Align::Right)
        .column("licence", "licence", Align::Left);
    let locks: Vec<PathBuf> = args.specs.iter().map(|spec| Lockfile::path(spec)).collect();
    for (i, (spec, lock)) in args.specs.iter().zip(&locks).enumerate() {
        if spec == lock || locks[..i].contains(lock) && !args.specs[..i].contains(spec) {
            return Err(Fault::new(format!(
                "its lock would be {}, which is another spec's, or itself",
                lock.display()
            ))
            .source(spec.display())
            .help("rename the spec file")
            .into());
        }
    }
    let (mut written, mut failed) = (Vec::new(), Vec::new());
    for path in &args.specs {
        match fetch_one(path, args.update, &hub, &mut table) {
            Ok(wrote) => written.extend(wrote),
            Err(error) => failed.push(error),
        }
    }
    if failed.len() < args.specs.len() {
        print_as(args.format.format, &table.render(args.format.format.into()))?;
    }
    for path in written {
        eprint_line(&format!("wrote {}", path.display()));
    }
    // The last error is returned; the others are printed.
    let last = failed.pop();
    failed.iter().for_each(|error| eprint_line(&format!("error: {error}")));
    last.map_or(Ok(()), Err)
}

/// Downloads what one spec reads. Returns the path of the lock if it was written because it
/// changed.
fn fetch_one(path: &Path, update: bool, hub: &Hub, table: &mut Table) -> Result<Option<PathBuf>> {
    let experiment = spec::load(path, &[], &models::parameters)?;
    let before = if update { None } else { Lockfile::read(path)? };
    let mut pinned: Vec<LockedRepository> = Vec::new();
    for need in needs(&experiment)? {
        let got = get(&need, hub, before.as_ref()).map_err(|e| named(path, e))?;
        table.row(row(path, &got));
        pinned.extend(got.locked);
    }
    if pinned.is_empty() {
        return Ok(None);
    }
    let (lock, pinned) = (Lockfile::path(path), Lockfile::new(pinned));
    if Lockfile::read(path).is_ok_and(|there| there.as_ref() == Some(&pinned)) {
        return Ok(None);
    }
    write_atomic(&lock, pinned.to_text()?.as_bytes())?;
    Ok(Some(lock))
}

/// Everything that the runs of an experiment read, each once.
fn needs(experiment: &Experiment) -> Result<Vec<Need>> {
    let mut needs: Vec<Need> = Vec::new();
    for variant in &experiment.variants {
        let data = Need::Data(Box::new(variant.spec.data.clone()));
        let name = variant.spec.start.as_ref().and_then(|start| start.checkpoint_name());
        let model = name.map(|name| Source::of_hub(&name, Kind::Model)).transpose()?.flatten();
        let files = definition(variant.spec.task).model_files(&variant.spec)?;
        let models = model.map(Need::Model).into_iter().chain(files.into_iter().map(Need::Files));
        for need in std::iter::once(data).chain(models) {
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
    }
    Ok(needs)
}

/// Files that were downloaded and checked.
struct Got {
    kind: Kind,
    source: String,
    files: usize,
    bytes: u64,
    locked: Option<LockedRepository>,
}

fn get(need: &Need, hub: &Hub, before: Option<&Lockfile>) -> Result<Got> {
    let (kind, source) = match need {
        Need::Data(data) => (Kind::Dataset, Source::of(&data.files())?),
        Need::Model(source) | Need::Files(ModelFiles { source, .. }) => {
            (Kind::Model, source.clone())
        }
    };
    let known = before.and_then(|lock| lock.find_source(kind, &source));
    // A pinned commit is kept, even if its branch has moved on.
    let repository = hub.open(&source.at(known), kind)?;
    let files = match need {
        Need::Data(data) => data::needed(&repository, &data.files())?,
        Need::Model(_) => base_model_files(&repository)?,
        Need::Files(files) => files.paths.clone(),
    };
    let mut locked = repository.pin(&source, &files)?;
    if let Some(locked) = &mut locked {
        known.map_or(Ok(()), |known| locked.check_against(known))?;
        // If the Hub reports no licence, take it from the card, else from the old lock.
        if locked.licence.is_none() {
            let card = Card::of(&repository)?.license;
            locked.licence = card.or_else(|| known.and_then(|known| known.licence.clone()));
        }
    }
    let bytes = match &locked {
        Some(locked) => locked.files.iter().map(|file| file.size).sum(),
        None => sizes(&repository, &files)?,
    };
    Ok(Got { kind, source: source.to_string(), files: files.len(), bytes, locked })
}

fn sizes(repository: &Repository, files: &[String]) -> Result<u64> {
    let mut bytes = 0;
    for path in files {
        bytes += repository.read(path)?.bytes.len() as u64;
    }
    Ok(bytes)
}

fn row(spec: &Path, got: &Got) -> Vec<Cell> {
    let text = |text: Option<&str>| text.map_or(Cell::none(), Cell::text);
    let locked = got.locked.as_ref();
    vec![
        Cell::text(spec.display().to_string()),
        Cell::text(got.kind.name()),
        Cell::text(&got.source),
        text(locked.map(|l| &l.commit[..12])),
        Cell::number(got.files, count(got.files as u64)),
        Cell::number(got.bytes, HumanBytes(got.bytes).to_string()),
        match locked {
            Some(l) => Cell::text(clean(l.licence.as_deref().unwrap_or("not stated"))),
            None => Cell::none(),
        },
    ]
}

/// Adds the spec to the error.
fn named(spec: &Path, error: Error) -> Error {
    error.map_fault(|fault| fault.under(spec.display()))
}
