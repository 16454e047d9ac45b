//! `vlora spectrum`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::hub::HubArgs;
use super::numbers::{number, whole};
use super::weights::check_alpha;
use super::{FormatArgs, FormatName, not_written, print_as};
use crate::checkpoints::layers::read_layers;
use crate::checkpoints::{INDEX, MODEL};
use crate::error::{Fault, Result};
use crate::report::{Format, plain, spectrum_notes, spectrum_table, write_spectrum};
use crate::results::{ExperimentFolder, SCHEMA_VERSION, SpectrumRecord};
use crate::spec::{HUB_PREFIX, Reference};
use crate::vlora::{random_spectrum, spectra};

#[derive(Debug, Args)]
pub struct SpectrumArgs {
    /// A safetensors file, a folder with model.safetensors in it, or hub:owner/name
    checkpoint: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// Layers a compound; divides the model's depth. Left out: all layers are one compound
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    compound_size: Option<usize>,
    /// Of a model with several stacks of layers: the one whose layers are compared
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// What a layer is compared with
    #[arg(long, value_enum, default_value_t)]
    reference: ReferenceName,
    /// Alpha of the increments in the authors' files, which do not store it [default: 1, as in
    /// their package]
    #[arg(long, value_name = "X", value_parser = number)]
    alpha: Option<f64>,
    /// What the model is called under the tables, and where it is from
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Where the tables and the chart go [default: a folder of the
    /// checkpoint's name, the stack, the reference and the compound size in results/spectrum]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ReferenceName {
    /// The compound's first layer (the authors' code)
    #[default]
    Base,
    /// The layer before (the paper's text)
    Previous,
}

impl From<ReferenceName> for Reference {
    fn from(name: ReferenceName) -> Reference {
        match name {
            ReferenceName::Base => Reference::Base,
            ReferenceName::Previous => Reference::Previous,
        }
    }
}

/// The seed of the random matrices.
const SEED: u64 = 0;

pub fn spectrum(args: &SpectrumArgs) -> Result<()> {
    let stack = args.stack.as_deref();
    let (layers, file) =
        args.hub.checkpoint(&args.checkpoint, |path| read_layers(path, args.alpha, stack))?;
    check_alpha(&args.checkpoint, layers.alpha, args.alpha)?;
    let compound_size = compound_size(args.compound_size, layers.depth, &args.checkpoint)?;
    let reference = args.reference.into();
    let mut random = BTreeMap::new();
    for (target, matrices) in &layers.matrices {
        if let Some(first) = matrices.first() {
            random.insert(target.name().to_string(), random_spectrum(first.dims2()?, SEED)?);
        }
    }
    let name = match args.checkpoint.to_str().and_then(|name| name.strip_prefix(HUB_PREFIX)) {
        Some(name) => name.replace(['/', '@'], "-"),
        None => checkpoint_name(&file.path),
    };
    let file_name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let record = SpectrumRecord {
        schema: SCHEMA_VERSION,
        title: one_line(args.title.as_ref().unwrap_or(&name)),
        file: file_name.into_owned(),
        sha256: file.sha256,
        layout: layers.layout,
        program: format!("vlora {}", env!("CARGO_PKG_VERSION")),
        depth: layers.depth,
        compound_size,
        reference,
        seed: SEED,
        layers: spectra(&layers.matrices, compound_size, reference)?,
        random,
    };
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => {
            let reading = reference_name(reference);
            let parts = [name.as_str(), layers.stack, reading, &compound_size.to_string()];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            Path::new("results/spectrum").join(parts.join("-"))
        }
    };
    refuse_another_model(&record, &folder)?;
    record.write(&folder)?;
    show(&record, &folder, args.format.format)
}

/// The name in specs.
fn reference_name(reference: Reference) -> &'static str {
    match reference {
        Reference::Base => "base",
        Reference::Previous => "previous",
    }
}

/// The text without characters that are not allowed in a heading.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '<' | '>' | '`') { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// Refuses to overwrite results of other weights, or of the same weights with other settings.
fn refuse_another_model(record: &SpectrumRecord, folder: &Path) -> Result<()> {
    if ExperimentFolder::new(folder).is_experiment() {
        return Err(Fault::new("the folder holds the results of an experiment")
            .source(folder.display())
            .expected("a folder of its own for a spectrum")
            .help("give another folder with --out")
            .into());
    }
    if !SpectrumRecord::is_in(folder) {
        return Ok(());
    }
    let of =
        |r: &SpectrumRecord| (r.sha256.clone(), r.layout.clone(), r.reference, r.compound_size);
    match SpectrumRecord::read(folder) {
        Ok(before) if of(&before) != of(record) => {
            Err(Fault::new("the folder holds another spectrum")
                .source(folder.display())
                .found(format!(
                    "{} (SHA-256 {}…, {}), reference {}, compounds of {}",
                    before.title,
                    before.sha256.get(..12).unwrap_or_default(),
                    before.layout,
                    reference_name(before.reference),
                    before.compound_size
                ))
                .help("give another folder with --out, or remove this one")
                .into())
        }
        _ => Ok(()),
    }
}

/// Writes the tables and the chart of a record to its folder, and prints the summary.
pub fn show(record: &SpectrumRecord, folder: &Path, format: FormatName) -> Result<()> {
    let written = write_spectrum(record, folder);
    let table = spectrum_table(record);
    print_as(
        format,
        &match format {
            FormatName::Table => {
                let mut text = table.render(Format::Table) + "\n";
                for note in spectrum_notes(record) {
                    text += &format!("· {}\n", plain(&note.replace("**", "")));
                }
                if let Ok(files) = &written {
                    text += &format!("\nWritten to {}: {}\n", folder.display(), files.join(", "));
                }
                text
            }
            other => table.render(other.into()),
        },
    )?;
    written.map(drop).map_err(|e| not_written(folder, &e))
}

/// The given size, or the whole depth.
fn compound_size(asked: Option<usize>, depth: usize, path: &Path) -> Result<usize> {
    let size = asked.unwrap_or(depth);
    let wrong = |what: String, expected: String| Err(Fault::new(what).expected(expected).into());
    if depth < 2 {
        return wrong(
            format!("{}: the model has one layer, which differs from none", path.display()),
            "two layers or more".into(),
        );
    }
    if size < 2 || !depth.is_multiple_of(size) {
        let divides = |n: &usize| depth.is_multiple_of(*n);
        let sizes: Vec<String> = (2..=depth).filter(divides).map(|n| n.to_string()).collect();
        return wrong(
            format!("--compound-size: {size} makes no compounds of {depth} layers"),
            format!("one of {}", sizes.join(", ")),
        );
    }
    Ok(size)
}

/// The file's name without its extension. For a standard name such as model.safetensors, the name
/// of its folder.
fn checkpoint_name(file: &Path) -> String {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let stem = absolute.file_stem();
    let named = match file.file_name() {
        Some(name) if name == MODEL || name == INDEX => absolute.parent().and_then(Path::file_name),
        _ => stem,
    };
    named.or(stem).map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}
