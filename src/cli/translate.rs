//! `vlora translate`.

use std::io::{BufRead, stdin};
use std::path::PathBuf;

use clap::Args;

use super::numbers::whole;
use super::{DeviceArgs, find_run};
use crate::error::{Fault, Result};
use crate::runner::translate as translated;
use crate::tasks::Translated;
use crate::terminal::{eprint_line, print_data};

#[derive(Debug, Args)]
pub struct TranslateArgs {
    /// The folder of a finished run whose model translates, or its id under results/
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// How many hypotheses are kept at each step; 1 is greedy. Default: as the run's spec says
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    beam: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Translates the lines of the standard input.
pub fn translate(args: &TranslateArgs) -> Result<()> {
    if let Some(beam) = args.beam.filter(|beam| !(1..=1000).contains(beam)) {
        return Err(Fault::new("invalid value")
            .within("--beam")
            .found(beam)
            .expected("a whole number from 1 to 1000")
            .into());
    }
    let device = args.device.select()?;
    let (experiment, id) = find_run(&args.run)?;
    let read = |(i, line): (usize, std::io::Result<String>)| {
        line.map_err(|e| {
            Fault::new("the standard input cannot be read")
                .found(format!("line {}: {e}", i + 1))
                .expected("lines of UTF-8 text")
                .into()
        })
    };
    let lines: Vec<String> = stdin().lock().lines().enumerate().map(read).collect::<Result<_>>()?;
    let Translated { texts, truncated } =
        translated(&experiment.run(&id), &lines, args.beam, &device)?;
    if truncated > 0 {
        eprint_line(&format!(
            "note: {truncated} of {} lines were too long and were truncated",
            lines.len()
        ));
    }
    print_data(&texts.iter().map(|line| format!("{line}\n")).collect::<String>())
}
