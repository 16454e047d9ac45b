//! The decoder against transformers and PyTorch: `scripts/reference/make_decoder_fixtures.py` made the
//! fixtures.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use vlora::models::decoder::{Cache, Decoder};
use vlora::nn::{Constants, Frozen, Mode, ParameterStore, StepKey, Variable, ops};
use vlora::spec::{DecoderSpec, MlpActivation, TrainingSpec, VloraSpec};
use vlora::train::AdamW;

use crate::common::compare::{largest, relative};
use crate::common::pytorch::Fixture;

const ALL: [&str; 7] = [
    "gpt2",
    "untied",
    "nanogpt",
    "vlora-base",
    "vlora-base-detach",
    "vlora-previous",
    "vlora-previous-detach",
];

fn fixture(name: &str) -> Fixture {
    Fixture::named(&format!("decoder/{name}.safetensors"))
}

fn spec(fixture: &Fixture) -> DecoderSpec {
    serde_json::from_str(&fixture.metadata["model"]).unwrap()
}

fn vlora(fixture: &Fixture) -> Option<VloraSpec> {
    fixture.metadata.get("vlora").map(|text| serde_json::from_str(text).unwrap())
}

/// A fixture's model with the fixture's weights.
fn model(fixture: &Fixture) -> Decoder {
    let weights = fixture.group("weight.");
    let (spec, vlora) = (spec(fixture), vlora(fixture));
    Decoder::new(&spec, vlora.as_ref(), None, &mut Constants(&weights)).unwrap()
}

/// The same to be trained. `load` refuses a missing, extra or misshapen name: the names are those of
/// transformers.
fn trained(fixture: &Fixture) -> (ParameterStore, Decoder) {
    let (spec, vlora) = (spec(fixture), vlora(fixture));
    let mut store = ParameterStore::new(0, Device::Cpu);
    let model = Decoder::new(&spec, vlora.as_ref(), None, &mut store).unwrap();
    store.load(&fixture.group("weight.")).unwrap();
    (store, model)
}

fn loss(fixture: &Fixture, logits: &Variable) -> Variable {
    let labels = fixture.numbers("labels").flatten_all().unwrap();
    ops::mean(&ops::cross_entropy(logits, &labels, 0.0).unwrap()).unwrap()
}

fn key(step: u64) -> Mode {
    Mode::Training(StepKey { seed: 3, step, part: 0 })
}

/// Logits of a batch, \[batch, tokens, vocabulary\], in the order of [`Decoder::forward`].
fn wanted_logits(fixture: &Fixture) -> Tensor {
    fixture.tensors["logits"].flatten(0, 1).unwrap()
}

/// Logits and loss within 1e-5, every gradient within 1e-4. That of a tied table is the sum over its two
/// uses. `--nocapture` shows the differences.
#[test]
fn logits_and_gradients_equal_pytorch() {
    for name in ALL {
        let fixture = fixture(name);
        let (store, model) = trained(&fixture);
        let ids = fixture.numbers("ids");
        let logits = model.forward(&ids, key(0)).unwrap();
        let in_logits = relative(logits.tensor(), &wanted_logits(&fixture));
        assert!(in_logits < 1e-5, "{name}: logits differ by {in_logits:e}");
        // Without a graph.
        let (spec, vlora) = (spec(&fixture), vlora(&fixture));
        let frozen = Decoder::new(&spec, vlora.as_ref(), None, &mut Frozen(&store)).unwrap();
        let frozen = frozen.forward(&ids, Mode::Evaluation).unwrap();
        assert!(relative(frozen.tensor(), &wanted_logits(&fixture)) < 1e-5, "{name}");

        let loss = loss(&fixture, &logits);
        assert!(relative(loss.tensor(), &fixture.tensors["loss"]) < 1e-5, "{name}: the loss");
        let gradients = loss.backward(1.0).unwrap();
        let wanted = fixture.group("grad.");
        // How far PyTorch's float32 gradients are from the exact ones: where terms cancel, as in those of
        // the keys' biases, which are zero, that is more than the tolerance.
        let rounding: BTreeMap<String, f64> =
            serde_json::from_str(&fixture.metadata["rounding"]).unwrap();
        let mut in_gradients = 0f64;
        for p in store.parameters() {
            let (got, want) = (gradients.get(&p.value).unwrap(), &wanted[&p.name]);
            let error = largest(&(got - want).unwrap());
            let allowed = (1e-4 * largest(want)).max(4.0 * rounding[&p.name]);
            in_gradients = in_gradients.max(1e-4 * error / allowed);
            assert!(error < allowed, "{name}: the gradient of {} differs by {error:e}", p.name);
        }
        assert_eq!(store.parameters().len(), wanted.len());
        println!("{name}: logits {in_logits:.0e}, gradients {in_gradients:.0e}");
    }
}

/// The loss before each step and every weight after the last one, within 1e-3.
#[test]
fn ten_steps_of_adamw_equal_pytorch() {
    for name in ALL {
        let fixture = fixture(name);
        let (store, model) = trained(&fixture);
        let training: TrainingSpec = serde_json::from_str(&fixture.metadata["training"]).unwrap();
        let mut adamw = AdamW::new(&training, &store).unwrap();
        let decayed: Vec<String> = serde_json::from_str(&fixture.metadata["decayed"]).unwrap();
        for p in store.parameters() {
            assert_eq!(p.role.decays(), decayed.contains(&p.name), "{name}: {}", p.name);
        }
        let losses = fixture.tensors["losses"].to_dtype(DType::F64).unwrap();
        let losses: Vec<f64> = losses.to_vec1().unwrap();
        assert_eq!(losses.len(), 10);
        for (step, want) in losses.iter().enumerate() {
            let logits = model.forward(&fixture.numbers("ids"), key(step as u64)).unwrap();
            let loss = loss(&fixture, &logits);
            let error = (f64::from(loss.tensor().to_scalar::<f32>().unwrap()) - want).abs();
            assert!(error < 1e-3, "{name}: the loss before step {step} differs by {error:e}");
            let mut found = loss.backward(1.0).unwrap();
            let of = |p: &vlora::nn::Parameter| (p.name.clone(), found.remove(&p.value).unwrap());
            let gradients: BTreeMap<_, _> = store.trained().map(of).collect();
            adamw.update(&store, &gradients, training.learning_rate, training.clip_norm).unwrap();
        }
        let wanted = fixture.group("after.");
        assert_eq!(wanted.len(), store.parameters().len());
        let mut in_weights = 0f64;
        for p in store.parameters() {
            let error = relative(p.var.as_tensor(), &wanted[&p.name]);
            in_weights = in_weights.max(error);
            assert!(error < 1e-3, "{name}: after ten steps {} differs by {error:e}", p.name);
        }
        println!("{name}: weights {in_weights:.0e}");
    }
}

/// Sequences in parts of any sizes give the logits of whole sequences.
#[test]
fn cached_and_uncached_logits_agree() {
    for name in ALL {
        let fixture = fixture(name);
        let (model, ids) = (model(&fixture), fixture.numbers("ids"));
        let (batch, tokens) = ids.dims2().unwrap();
        let all = fixture.tensors["logits"].clone();
        for parts in [vec![1; tokens], vec![tokens], vec![4, 1, 1, tokens - 6], vec![2, 3, 1]] {
            let mut cache = Cache::default();
            for new in parts {
                let part = ids.narrow(1, cache.tokens(), new).unwrap().contiguous().unwrap();
                let logits = model.next(&part, &mut cache).unwrap();
                assert_eq!(logits.dims2().unwrap().0, batch);
                let want = all.narrow(1, cache.tokens() - 1, 1).unwrap().squeeze(1).unwrap();
                let error = relative(&logits, &want);
                assert!(error < 1e-5, "{name}, token {}: {error:e}", cache.tokens());
            }
        }
        // The context ends with the positions, and a sequence that does not fit is refused as a whole.
        let mut cache = Cache::default();
        model.next(&ids, &mut cache).unwrap();
        let more = ids.narrow(1, 0, 4).unwrap().contiguous().unwrap();
        let error = model.next(&more, &mut cache).unwrap_err().to_string();
        assert!(error.contains("9 tokens and 4 new ones"), "{error}");
        assert_eq!(cache.tokens(), 9);
    }
}

/// A token changes the logits from its place on, and none before it.
#[test]
fn later_tokens_have_no_influence() {
    for name in ["gpt2", "nanogpt", "vlora-previous"] {
        let fixture = fixture(name);
        let (model, ids) = (model(&fixture), fixture.numbers("ids"));
        let (batch, tokens) = ids.dims2().unwrap();
        let logits = |ids: &Tensor| {
            let logits = model.forward(ids, Mode::Evaluation).unwrap();
            logits.tensor().reshape((batch, tokens, ())).unwrap()
        };
        let before = logits(&ids);
        for place in 0..tokens {
            let mut changed = ids.to_vec2::<u32>().unwrap();
            changed.iter_mut().for_each(|text| text[place] = (text[place] + 1) % 11);
            let after = logits(&Tensor::new(changed, &Device::Cpu).unwrap());
            for at in 0..tokens {
                let of = |all: &Tensor| all.narrow(1, at, 1).unwrap();
                let apart = largest(&(of(&after) - of(&before)).unwrap());
                assert_eq!(apart > 0.0, at >= place, "{name}: {place} changes {at} by {apart:e}");
            }
        }
    }
}

/// The readout after the last layer is the model's answer.
#[test]
fn readouts_end_in_the_logits() {
    let fixture = fixture("gpt2");
    let (model, ids) = (model(&fixture), fixture.numbers("ids"));
    let readouts = model.readouts(&ids).unwrap();
    assert_eq!(readouts.len(), 1 + 2);
    let want = wanted_logits(&fixture);
    assert!(relative(readouts[2].tensor(), &want) < 1e-5);
    assert!(readouts[..2].iter().all(|r| relative(r.tensor(), &want) > 1e-2));
}

/// Each rate of dropout acts in training alone, and the same places of the same step are dropped again.
#[test]
fn dropout_acts_in_training_alone() {
    let fixture = fixture("gpt2");
    let (plain, weights) = (spec(&fixture), fixture.group("weight."));
    let forward = |spec: &DecoderSpec, mode: Mode| {
        let model = Decoder::new(spec, None, None, &mut Constants(&weights)).unwrap();
        model.forward(&fixture.numbers("ids"), mode).unwrap().tensor().clone()
    };
    let want = wanted_logits(&fixture);
    for spec in [
        DecoderSpec { dropout: 0.3, ..plain.clone() },
        DecoderSpec { attention_dropout: 0.3, ..plain.clone() },
    ] {
        assert!(relative(&forward(&spec, Mode::Evaluation), &want) < 1e-5);
        let one = forward(&spec, key(1));
        assert!(relative(&one, &want) > 1e-3);
        assert_eq!(relative(&forward(&spec, key(1)), &one), 0.0);
        assert!(relative(&forward(&spec, key(2)), &one) > 1e-3);
    }
    // The activation is what the spec says.
    let other = DecoderSpec { activation: MlpActivation::Gelu, ..plain };
    assert!(relative(&forward(&other, Mode::Evaluation), &want) > 1e-6);
}

/// Weights start as GPT-2's: deviation 0.02, and less by √(2 · depth) where a result is added to the
/// residual stream.
#[test]
fn weights_start_as_those_of_gpt2() {
    let text = r#"{"architecture": "decoder", "vocabulary": 100, "dim": 64, "depth": 8, "heads": 2}"#;
    let spec: DecoderSpec = serde_json::from_str(text).unwrap();
    let mut store = ParameterStore::new(0, Device::Cpu);
    Decoder::new(&spec, None, None, &mut store).unwrap();
    for p in store.parameters() {
        let want = match p.name.as_str() {
            name if name.contains("ln_") && name.ends_with("weight") => {
                let values = p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(values.iter().all(|v| *v == 1.0), "{name}");
                continue;
            }
            name if name.ends_with("bias") => 0.0,
            name if name.ends_with("c_proj.weight") => 0.02 / 4.0,
            _ => 0.02,
        };
        let square = p.var.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        let found = f64::from(square).sqrt();
        assert!((found - want).abs() <= 0.05 * want, "{}: {found} for {want}", p.name);
    }
    assert!(store.get("lm_head.weight").is_none(), "the head is the word embedding");
}
