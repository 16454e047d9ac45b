//! Continues a text, or translates lines, with the model of a finished run.

use candle_core::Device;

use super::initial_weights::tested_weights;
use super::precision::supports;
use crate::checkpoints::LoadedCheckpoint;
use crate::error::{Fault, Result};
use crate::nn::configure;
use crate::results::{RunFolder, SpecRecord, TRAIN_AGAIN};
use crate::spec::{Precision, RunSpec};
use crate::tasks::{Continuation, Generation, Lines, Sampling, Translated, definition};

/// What is asked of a model.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub prompt: &'a str,
    /// How many tokens are appended.
    pub tokens: usize,
    pub sampling: Sampling,
}

/// The prompt and its continuation by the tested weights of a run.
///
/// Errors if the run is not finished, if its weights or its tokenizer are missing, or if its task has
/// models that do not write text.
pub fn generate(run: &RunFolder, request: Request, device: &Device) -> Result<Continuation> {
    let Tested { spec, loaded, tokenizer } = Tested::of(run, device)?;
    let Request { prompt, tokens, sampling } = request;
    let (tensors, tokenizer) = (&loaded.checkpoint.tensors, tokenizer.as_deref());
    let spec = &spec;
    let generation = Generation { spec, tensors, tokenizer, device, prompt, tokens, sampling };
    definition(spec.task).generate(&generation)
}

/// The translations of lines by the tested weights of a run. `beam` is None for that of the run's spec.
///
/// Errors as [`generate`] does, and if the task has models that do not translate.
pub fn translate(
    run: &RunFolder,
    texts: &[String],
    beam: Option<usize>,
    device: &Device,
) -> Result<Translated> {
    let Tested { spec, loaded, tokenizer } = Tested::of(run, device)?;
    let (tensors, tokenizer) = (&loaded.checkpoint.tensors, tokenizer.as_deref());
    let spec = &spec;
    definition(spec.task).translate(&Lines { spec, tensors, tokenizer, device, texts, beam })
}

/// The model of a finished run.
struct Tested {
    spec: RunSpec,
    loaded: LoadedCheckpoint,
    tokenizer: Option<String>,
}

impl Tested {
    fn of(run: &RunFolder, device: &Device) -> Result<Tested> {
        let SpecRecord { spec, .. } = run.read_json(RunFolder::SPEC)?;
        supports(spec.precision, device).map_err(|e| e.map_fault(|f| f.file(run.path())))?;
        let loaded = tested_weights(run)?;
        configure(device, spec.precision == Precision::Tf32)?;
        let path = run.file(RunFolder::TOKENIZER);
        let tokenizer = match path.exists() {
            true => Some(std::fs::read_to_string(&path).map_err(|e| {
                let fault = Fault::of_file(&path, "the tokenizer cannot be read").found(e);
                fault.expected("the tokenizer.json that the run saved").help(TRAIN_AGAIN)
            })?),
            false => None,
        };
        Ok(Tested { spec, loaded, tokenizer })
    }
}
