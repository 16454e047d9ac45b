//! The loss of a batch of sentence pairs, and the translations of their sources.

use candle_core::{DType, Device, Result, Tensor};

use super::batches::{PairBatch, PairBatches};
use super::data::{Data, section};
use super::decoding::{Decoding, translate};
use super::outcome::{METRICS, Outcome, Reference, Replaced, Schemes, WithoutModel, scores};
use crate::data::translation::{PairTokenizers, TranslationData};
use crate::models::encoder_decoder::EncoderDecoder;
use crate::nn::{Mode, StepKey, Variable, ops};
use crate::results::{Metric, Scores};
use crate::spec::RunSpec;
use crate::tasks::blueprint::Blueprint;
use crate::tasks::data_set::{BatchPlan, Split};
use crate::tasks::task::Task;

pub struct Translation<'a> {
    data: &'a TranslationData,
    batches: PairBatches<'a>,
    tokenizers: Option<&'a PairTokenizers>,
    label_smoothing: f64,
    decoding: Decoding,
    /// Validation translates after each epoch that this divides.
    validate_every: usize,
    schemes: Schemes,
}

/// The loss of each predicted token of a batch, and the translations of its sources.
pub struct Predictions {
    /// \[tokens\] float32, on the device.
    losses: Tensor,
    /// None where only the loss is measured.
    translations: Option<Vec<Vec<u32>>>,
}

impl<'a> Translation<'a> {
    pub fn new(data: &'a Data, spec: &RunSpec, seed: u64, device: Device) -> Self {
        let tokenizers = data.0.tokenizers.as_ref();
        let rows = spec.model.classes();
        let known = tokenizers.map_or(rows, |tokenizers| tokenizers.target.rows());
        let sources_begin = tokenizers.is_none_or(|tokenizers| tokenizers.source.begins());
        Translation {
            data: &data.0,
            batches: PairBatches::new(data, spec, seed, device),
            tokenizers,
            label_smoothing: spec.training.label_smoothing,
            decoding: Decoding::of(&section(spec).decoding, known, sources_begin),
            validate_every: section(spec).decoding.validate_every,
            schemes: Schemes::of(spec),
        }
    }

    /// The model of a run.
    pub fn blueprint(spec: &RunSpec) -> Blueprint<'_, EncoderDecoder> {
        Blueprint::of_run(spec, EncoderDecoder::of)
    }
}

/// The cross-entropy of every predicted token of a batch, \[tokens\] float32, on the device.
fn losses(logits: &Variable, batch: &PairBatch) -> Result<Tensor> {
    ops::cross_entropy(logits, &batch.labels, 0.0)?.tensor().to_dtype(DType::F32)
}

impl<'a> Task for Translation<'a> {
    type Data = PairBatches<'a>;
    type Model = EncoderDecoder;
    type Predictions = Predictions;
    type Outcome = Outcome;

    fn data(&self) -> &PairBatches<'a> {
        &self.batches
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn loss(&self, model: &EncoderDecoder, key: StepKey, batch: &PairBatch) -> Result<Variable> {
        let logits = model.forward(&batch.source, &batch.target, Mode::Training(key))?;
        ops::mean(&ops::cross_entropy(&logits, &batch.labels, self.label_smoothing)?)
    }

    /// Validation decodes greedily, whatever the beam of the test is.
    fn predict(&self, model: &EncoderDecoder, batch: &PairBatch) -> Result<Predictions> {
        let decoding = match batch.split {
            Split::Test => self.decoding,
            Split::Train | Split::Validation => self.decoding.greedy(),
        };
        let translations = Some(translate(model, &batch.source, &decoding)?);
        Ok(Predictions { translations, ..self.predict_for_loss(model, batch)? })
    }

    /// All but each `validate_every`-th epoch and the last.
    fn validates_only_loss(&self, epoch: usize, epochs: usize) -> bool {
        !epoch.is_multiple_of(self.validate_every) && epoch != epochs
    }

    fn predict_for_loss(&self, model: &EncoderDecoder, batch: &PairBatch) -> Result<Predictions> {
        let logits = model.forward(&batch.source, &batch.target, Mode::Evaluation)?;
        Ok(Predictions { losses: losses(&logits, batch)?, translations: None })
    }

    /// The losses alone: a translation needs the whole decoder.
    fn predict_logit_lens(
        &self,
        model: &EncoderDecoder,
        batch: &PairBatch,
    ) -> Result<Vec<Predictions>> {
        model.logit_lens(&batch.source, &batch.target, |logits| {
            Ok(Predictions { losses: losses(logits, batch)?, translations: None })
        })
    }

    fn outcomes(
        &self,
        split: Split,
        batches: &[BatchPlan],
        predictions: Vec<Predictions>,
    ) -> Result<Vec<Outcome>> {
        let pairs = self.batches.split(split);
        let (losses, translations): (Vec<Tensor>, Vec<_>) = predictions
            .into_iter()
            .map(|prediction| (prediction.losses, prediction.translations))
            .unzip();
        let losses = Tensor::cat(&losses, 0)?.to_vec1::<f32>()?;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; pairs.len()];
        let mut next = 0;
        for (batch, translations) in batches.iter().zip(translations) {
            let mut translations = translations.map(Vec::into_iter);
            for pair in &batch.examples {
                let (_, tokens) = pairs.lengths(*pair);
                let token_losses = &losses[next..next + tokens];
                next += tokens;
                let reference = Reference {
                    sentence: *pair,
                    source: &pairs.texts.source[*pair],
                    reference: &pairs.texts.target[*pair],
                    // Nothing is compared with the training split.
                    in_words: pairs.in_words.get(*pair).map_or("", String::as_str),
                    tokens,
                    loss: token_losses.iter().map(|loss| f64::from(*loss)).sum(),
                };
                let ids = translations.as_mut().and_then(Iterator::next);
                let hypothesis = ids.map(|ids| self.text(&ids)).transpose()?;
                let without_model = match (split, &hypothesis) {
                    (Split::Test, Some(_)) => self.without_model(&reference)?,
                    _ => WithoutModel::default(),
                };
                outcomes[*pair] = Some(reference.outcome(hypothesis, without_model, &self.schemes));
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn scores(&self, outcomes: &[Outcome]) -> Scores {
        scores(outcomes, &self.schemes)
    }
}

impl Translation<'_> {
    /// The text of a translation. Random data have no words.
    fn text(&self, ids: &[u32]) -> Result<String> {
        match self.tokenizers {
            Some(tokenizers) => tokenizers.target.text(ids).map_err(candle_core::Error::wrap),
            None => Ok(String::new()),
        }
    }

    /// What is translated without a model, for the same sentence. Random data have no words.
    fn without_model(&self, target: &Reference) -> Result<WithoutModel> {
        let Some(tokenizers) = self.tokenizers else { return Ok(WithoutModel::default()) };
        let in_words =
            |text: &str| tokenizers.target.in_words(text).map_err(candle_core::Error::wrap);
        let copy = target.counts(target.source, &in_words(target.source)?, &self.schemes);
        let text = self.data.dictionary().replace(target.source);
        let counts = target.counts(&text, &in_words(&text)?, &self.schemes);
        Ok(WithoutModel { copy: Some(copy), dictionary: Some(Replaced { text, counts }) })
    }
}
