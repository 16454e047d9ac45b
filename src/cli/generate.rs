//! `vlora generate`.

use std::path::PathBuf;

use clap::Args;

use super::numbers::{number, whole};
use super::{DeviceArgs, find_run};
use crate::error::{Fault, Result};
use crate::runner::{GenerationRequest, generate as generated};
use crate::tasks::{Continuation, Sampling};
use crate::terminal::{eprint_line, print};

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The folder of a finished run of a language model, or its id under results/
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The text to continue
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// How many tokens to append
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = whole::<usize>)]
    tokens: usize,
    /// Sampling temperature: below 1 sharpens the distribution, above 1 flattens it
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = number)]
    temperature: f64,
    /// Top-k sampling: choose among the K most probable tokens
    #[arg(long, value_name = "K", value_parser = whole::<usize>)]
    top_k: Option<usize>,
    /// Nucleus sampling: choose among the most probable tokens that together have this probability
    #[arg(long, value_name = "P", value_parser = number)]
    top_p: Option<f64>,
    /// Seed of the sampling
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = whole::<u64>)]
    seed: u64,
    /// Greedy decoding: always choose the most probable token
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "seed"])]
    greedy: bool,
    /// Also print to standard error how long the model took
    #[arg(long)]
    speed: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn generate(args: &GenerateArgs) -> Result<()> {
    let sampling = sampling(args)?;
    let device = args.device.select()?;
    let (experiment, id) = find_run(&args.run)?;
    let request = GenerationRequest { prompt: &args.prompt, tokens: args.tokens, sampling };
    let Continuation { text, time } = generated(&experiment.run(&id), request, &device)?;
    if args.speed {
        let (tokens, seconds) = (args.tokens, time.as_secs_f64());
        let each = tokens as f64 / seconds.max(f64::EPSILON);
        eprint_line(&format!("{tokens} tokens in {seconds:.6} s, {each:.0} tokens/s"));
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    print(&format!("{text}{end}"))
}

fn sampling(args: &GenerateArgs) -> Result<Sampling> {
    let GenerateArgs { temperature, top_k, top_p, seed, .. } = *args;
    if args.greedy {
        return Ok(Sampling::Greedy);
    }
    let wrong = |option: &str, found: String, expected: &str| {
        Err(Fault::new("invalid value").within(option).found(found).expected(expected).into())
    };
    if !(temperature.is_finite() && temperature > 0.0) {
        let expected = "a number above 0; --greedy chooses the most probable token";
        return wrong("--temperature", temperature.to_string(), expected);
    }
    match (top_k, top_p) {
        (Some(0), _) => wrong("--top-k", "0".into(), "at least 1"),
        (_, Some(p)) if !(p > 0.0 && p <= 1.0) => {
            wrong("--top-p", p.to_string(), "a number above 0, at most 1")
        }
        _ => Ok(Sampling::Random { temperature, top_k, top_p, seed }),
    }
}
