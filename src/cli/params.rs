//! `vlora params`.

use clap::Args;

use super::{FormatArgs, FormatName, SpecArgs, matched, print_as};
use crate::error::Result;
use crate::models::cost;
use crate::report::{Align, Cell, Table, count, percent, reduction};

#[derive(Debug, Args)]
pub struct ParamsArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn params(args: &ParamsArgs) -> Result<()> {
    let experiment = args.spec.load()?;
    let frozen = experiment.variants.iter().any(|v| v.spec.lora.is_some());
    let mut table = Table::new()
        .column("arm", "arm", Align::Left)
        .column("parameters", "parameters", Align::Right)
        .column("reduction", "reduction", Align::Right)
        .column_if(frozen, "trained", "trained", Align::Right)
        .column("weights", "weights", Align::Right)
        .column("biases_norms", "biases and norms", Align::Right)
        .column("embedding", "embedding", Align::Right)
        .column("head", "head", Align::Right)
        .column_if(frozen, "lora", "LoRA", Align::Right);
    for variant in &experiment.variants {
        let c = cost(&variant.spec);
        let reduction = experiment
            .baseline_of(variant)
            .map(|base| reduction(c.parameters, cost(&base.spec).parameters));
        let number = |n: u64| Cell::number(n, count(n));
        table.row(vec![
            Cell::text(&variant.label),
            number(c.parameters),
            reduction.map_or(Cell::none(), |r| Cell::number(r, percent(r))),
            number(c.trained),
            number(c.weights),
            number(c.biases_norms),
            number(c.embedding),
            number(c.head),
            number(c.lora),
        ]);
    }
    let mut text = table.render(args.format.format.into());
    if let FormatName::Table = args.format.format {
        text += &matched(&experiment);
    }
    print_as(args.format.format, &text)
}
