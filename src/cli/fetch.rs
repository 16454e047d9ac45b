//! `vlora fetch`.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;

use super::hub::HubArgs;
use super::{FormatArgs, clean, print, tell};
use crate::atomic::write_atomic;
use crate::data::{self, Card};
use crate::error::{Error, Result};
use crate::hub::{Hub, Kind, LockedRepository, Lockfile, Repository, Source};
use crate::models;
use crate::report::{Align, Cell, Table, count};
use crate::runner::{base_model_files, hub_model};
use crate::spec::{self, DataSpec, Experiment, HubName};

#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Experiments' YAML files
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<PathBuf>,
    /// Pin what the Hub has now, whatever a lock pins
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Something that a spec's runs read.
#[derive(Clone, Debug, PartialEq)]
enum Need {
    Data(Box<DataSpec>),
    Model(Source),
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
    let mut written = Vec::new();
    for path in &args.specs {
        let experiment = spec::load(path, &[], &models::parameters)?;
        let before = match args.update {
            true => None,
            false => Lockfile::read(path)?,
        };
        let mut pinned: Vec<LockedRepository> = Vec::new();
        for need in needs(&experiment)? {
            let got = get(&need, &hub, before.as_ref()).map_err(|e| named(path, e))?;
            table.row(row(path, &got));
            if let Some(locked) = got.locked {
                merge(&mut pinned, locked);
            }
        }
        if !pinned.is_empty() {
            write_atomic(&Lockfile::path(path), Lockfile::new(pinned).to_text()?.as_bytes())?;
            written.push(Lockfile::path(path));
        }
    }
    print(&table.render(args.format.format.into()))?;
    for path in written {
        tell(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// What an experiment's runs read, each once.
fn needs(experiment: &Experiment) -> Result<Vec<Need>> {
    let mut needs: Vec<Need> = Vec::new();
    for variant in &experiment.variants {
        let data = Need::Data(Box::new(variant.spec.data.clone()));
        let name = variant.spec.start.as_ref().and_then(|start| start.checkpoint_name());
        let model = name.map(|name| hub_model(&name)).transpose()?.flatten().map(Need::Model);
        for need in [Some(data), model].into_iter().flatten() {
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
    }
    Ok(needs)
}

/// What was got: files that are there, whole and checked.
struct Got {
    kind: Kind,
    source: String,
    files: usize,
    bytes: u64,
    locked: Option<LockedRepository>,
}

fn get(need: &Need, hub: &Hub, before: Option<&Lockfile>) -> Result<Got> {
    let (kind, source) = match need {
        Need::Data(data) => (Kind::Dataset, Source::of(data)?),
        Need::Model(source) => (Kind::Model, source.clone()),
    };
    let known = match &source {
        Source::Hub(name) => before.and_then(|lock| lock.find(kind, name)),
        Source::Folder(_) | Source::Embedded(_) => None,
    };
    // A pinned commit stays, also where its branch has moved on.
    let at = match (&source, known) {
        (Source::Hub(name), Some(known)) => Source::Hub(HubName {
            repository: name.repository.clone(),
            revision: Some(known.commit.clone()),
        }),
        _ => source.clone(),
    };
    let repository = hub.open(&at, kind)?;
    let files = match need {
        Need::Data(data) => data::needed(&repository, data)?,
        Need::Model(_) => base_model_files(&repository)?,
    };
    let mut locked = repository.pin(&files)?;
    if let (Some(locked), Source::Hub(name)) = (&mut locked, &source) {
        locked.revision = name.revision().to_string();
        if let Some(known) = known {
            keeps(locked, known)?;
        }
        // The Hub's own list says it; else the card does, or the lock that was.
        if locked.licence.is_none() {
            let card = Card::of(&repository)?.license;
            locked.licence = card.or_else(|| known.and_then(|known| known.licence.clone()));
        }
    }
    let bytes = match &locked {
        Some(locked) => locked.files.iter().map(|file| file.size).sum(),
        None => sizes(&repository, &files)?,
    };
    Ok(Got { kind, source: shown(&source), files: files.len(), bytes, locked })
}

/// Refuses files that changed under a commit.
fn keeps(now: &LockedRepository, before: &LockedRepository) -> Result<()> {
    let listed = |path: &String| {
        now.files.iter().any(|file| file.path == *path) || now.others.contains(path)
    };
    if let Some(lost) = before.files.iter().find(|file| !listed(&file.path)) {
        return Err(Error::Input(format!(
            "{}/{}: the lock pins this file, and it is not there\n  help:     a network gets it; \
             --update pins what there is now",
            before.repository, lost.path
        )));
    }
    for file in &now.files {
        let known = before.files.iter().find(|f| f.path == file.path);
        if let Some(known) = known.filter(|known| known.sha256 != file.sha256) {
            return Err(Error::Input(format!(
                "{}/{}: not the file that the lock pins\n  found:    SHA-256 {}\n  expected: {}\n  \
                 help:     --update pins what there is now",
                before.repository, file.path, file.sha256, known.sha256
            )));
        }
    }
    Ok(())
}

fn sizes(repository: &Repository, files: &[String]) -> Result<u64> {
    let mut bytes = 0;
    for path in files {
        bytes += repository.read(path)?.bytes.len() as u64;
    }
    Ok(bytes)
}

/// Two sections of one spec may read different files of one repository.
fn merge(pinned: &mut Vec<LockedRepository>, more: LockedRepository) {
    let same = |r: &&mut LockedRepository| r.kind == more.kind && r.name() == more.name();
    match pinned.iter_mut().find(same) {
        None => pinned.push(more),
        Some(there) => {
            for file in more.files {
                if !there.files.iter().any(|f| f.path == file.path) {
                    there.files.push(file);
                }
            }
            there.files.sort_by(|a, b| a.path.cmp(&b.path));
            let files = &there.files;
            there.others.retain(|path| !files.iter().any(|file| file.path == *path));
        }
    }
}

fn shown(source: &Source) -> String {
    match source {
        Source::Hub(name) => format!("hub:{}@{}", name.repository, name.revision()),
        Source::Folder(path) => path.display().to_string(),
        Source::Embedded(name) => format!("embedded:{name}"),
    }
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

/// The error with the spec whose files were asked for.
fn named(spec: &Path, error: Error) -> Error {
    match error {
        Error::Input(text) => Error::Input(format!("{}: {text}", spec.display())),
        Error::Failed(text) => Error::Failed(format!("{}: {text}", spec.display())),
        other => other,
    }
}
