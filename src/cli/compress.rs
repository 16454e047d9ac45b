//! `vlora compress`.

use std::path::PathBuf;

use clap::Args;

use super::numbers::whole;
use super::spectrum::ReferenceName;
use super::weights::{CheckpointArgs, refuse_overwriting, target};
use super::{FormatArgs, FormatName, print_as};
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::report::{Align, Cell, Format, Table, count, percent, reduction};
use crate::spec::{Kept, ModelSpec, Rank, TargetSpec, VloraSpec};

#[derive(Debug, Args)]
pub struct CompressArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// Layers a compound; divides the model's depth
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    compound_size: usize,
    /// Rank of the increments; 0 shares each compound's first layer, full keeps everything
    #[arg(long, value_name = "N")]
    rank: Rank,
    /// What an increment adds to
    #[arg(long, value_enum, default_value_t)]
    reference: ReferenceName,
    /// The weights that become increments, with commas between [default: all matrices of the layers]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    targets: Vec<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn compress(args: &CompressArgs) -> Result<()> {
    refuse_overwriting(&[&args.out], args.force)?;
    if args.compound_size < 2 {
        return Err(Fault::new(format!(
            "compounds of {} layers have no increments",
            args.compound_size
        ))
        .within("--compound-size")
        .expected("2 or more")
        .into());
    }
    let loaded = args.checkpoint.read()?;
    let vlora = VloraSpec {
        reference: args.reference.into(),
        targets: targets(&args.targets, &loaded.checkpoint.model)?,
        ..VloraSpec::new(args.compound_size, args.rank)
    };
    let options = [
        ("vlora.compound_size", "--compound-size"),
        ("vlora.rank", "--rank"),
        ("vlora.targets", "--targets"),
    ];
    let in_options = |e: Error| e.map_fault(|fault| fault.with_names(&options));
    let (compressed, kept) = loaded.checkpoint.compressed(&vlora, None).map_err(in_options)?;
    write_atomic(&args.out, &compressed.to_bytes()?)?;
    let table = table(&kept);
    print_as(
        args.format.format,
        &match args.format.format {
            FormatName::Table => {
                let (before, after) = (loaded.checkpoint.parameters(), compressed.parameters());
                let saved = reduction(after, before);
                let (share, how) = if saved < 0.0 { (-saved, "more") } else { (saved, "fewer") };
                format!(
                    "{}\n{}\nwrote {}: {} parameters, {} {how}\n",
                    args.checkpoint.describe(&loaded),
                    table.render(Format::Table),
                    args.out.display(),
                    count(after),
                    percent(share)
                )
            }
            other => table.render(other.into()),
        },
    )
}

/// Targets by name; all matrices if none is named.
fn targets(names: &[String], model: &ModelSpec) -> Result<Vec<TargetSpec>> {
    if names.is_empty() {
        return Ok(model.matrices().into_iter().map(TargetSpec::plain).collect());
    }
    let known = model.weights();
    names.iter().map(|name| target(name, "--targets", &known).map(TargetSpec::plain)).collect()
}

/// One row per increment.
fn table(kept: &[Kept]) -> Table {
    let has_stacks = kept.iter().any(|k| !k.stack.is_empty());
    let mut table = Table::new();
    if has_stacks {
        table = table.column("stack", "stack", Align::Left);
    }
    table = table
        .column("layer", "layer", Align::Right)
        .column("target", "target", Align::Left)
        .column("rank", "rank", Align::Right)
        .column("energy_kept", "energy kept", Align::Right)
        .column("relative_error", "error of the weight", Align::Right);
    for k in kept {
        let mut cells = vec![
            Cell::number(k.layer, k.layer.to_string()),
            Cell::text(k.target.name()),
            match k.rank {
                Rank::Of(rank) => Cell::number(rank, rank.to_string()),
                Rank::Full => Cell::text("full"),
            },
            Cell::number(k.energy_kept, percent(k.energy_kept)),
            Cell::number(k.relative_error, percent(k.relative_error)),
        ];
        if has_stacks {
            cells.insert(0, Cell::text(&k.stack));
        }
        table.row(cells);
    }
    table
}
