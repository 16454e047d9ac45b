//! The decoder against transformers and PyTorch: `scripts/reference/make_decoder_fixtures.py` made the
//! fixtures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use vlora::checkpoints::{
    CONFIG, Checkpoint, CheckpointFormat, Exported, Hints, LoadedCheckpoint, MODEL, Metadata,
    read_checkpoint,
};
use vlora::models::decoder::{Cache, Decoder};
use vlora::models::{ParameterInfo, cost, parameters_of};
use vlora::nn::{Constants, Frozen, Mode, ParameterStore, StepKey, Variable, ops};
use vlora::spec::{DecoderSpec, MlpActivation, ModelSpec, RunSpec, VloraSpec};

use crate::common::compare::{largest, relative};
use crate::common::pytorch::Fixture;
use crate::common::training::{gradients_equal, ten_steps_equal};

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
        let in_gradients = gradients_equal(name, &fixture, &store, loss, 0.0);
        println!("{name}: logits {in_logits:.0e}, gradients {in_gradients:.0e}");
    }
}

/// The loss before each step and every weight after the last one, within 1e-3.
#[test]
fn ten_steps_of_adamw_equal_pytorch() {
    for name in ALL {
        let fixture = fixture(name);
        let (store, model) = trained(&fixture);
        let ids = fixture.numbers("ids");
        let loss = |step| loss(&fixture, &model.forward(&ids, key(step)).unwrap());
        let in_weights = ten_steps_equal(name, &fixture, &store, loss);
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

/// The logit lens after the last layer gives the logits.
#[test]
fn the_logit_lens_ends_in_the_logits() {
    let fixture = fixture("gpt2");
    let (model, ids) = (model(&fixture), fixture.numbers("ids"));
    let by_layer = model.logit_lens(&ids, |logits| Ok(logits.clone())).unwrap();
    assert_eq!(by_layer.len(), 1 + 2);
    let want = wanted_logits(&fixture);
    assert!(relative(by_layer[2].tensor(), &want) < 1e-5);
    assert!(by_layer[..2].iter().all(|r| relative(r.tensor(), &want) > 1e-2));
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
    let text =
        r#"{"architecture": "decoder", "vocabulary": 100, "dim": 64, "depth": 8, "heads": 2}"#;
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

/// GPT-2 small, as transformers counts it, and nanoGPT's two models of Shakespeare's characters, as their
/// descriptions give them. A tied table counts once.
#[test]
fn parameters_are_counted_as_published() {
    let count = |text: &str| -> u64 {
        let spec: DecoderSpec = serde_json::from_str(text).unwrap();
        let all = parameters_of(&ModelSpec::Decoder(spec), None, None).unwrap();
        all.iter().map(ParameterInfo::values).sum()
    };
    let gpt2 =
        r#"{"architecture": "decoder", "vocabulary": 50257, "dim": 768, "depth": 12, "heads": 12"#;
    assert_eq!(count(&format!("{gpt2}}}")), 124_439_808);
    assert_eq!(count(&format!("{gpt2}, \"tied\": false}}")), 124_439_808 + 50_257 * 768);
    // nanoGPT prints 10.65M and 0.80M, without the positions.
    let baby = r#"{"architecture": "decoder", "vocabulary": 65, "positions": 256, "dim": 384, "depth": 6,
        "heads": 6, "bias": false}"#;
    assert_eq!(count(baby) - 256 * 384, 10_646_784);
    let small = r#"{"architecture": "decoder", "vocabulary": 65, "positions": 64, "dim": 128, "depth": 4,
        "heads": 4, "bias": false}"#;
    assert_eq!(count(small) - 64 * 128, 795_904);
}

/// Multiply–adds of a sequence in closed form: 12 d² a layer and d a word of the vocabulary for each
/// token, and for each pair of a token and one that it sees 2 d a layer. Training takes three times that.
#[test]
fn operations_equal_the_closed_form() {
    let run = |changes: &[(&str, serde_json::Value)]| -> RunSpec {
        let mut run = serde_json::json!({
            "task": "language-modelling",
            "data": {"embedded": "shakespeare"},
            "model": {"architecture": "decoder", "vocabulary": 65, "positions": 64, "dim": 128,
                "depth": 4, "heads": 4},
            "training": {"batch_size": 5},
        });
        for (section, value) in changes {
            run[*section] = value.clone();
        }
        serde_json::from_value(run).unwrap()
    };
    let (vocabulary, tokens, dim, depth) = (65.0, 64.0, 128.0, 4.0);
    let of_tokens = tokens * (depth * 12.0 * dim * dim + vocabulary * dim);
    let forward = 2.0 * (of_tokens + depth * dim * tokens * (tokens + 1.0));
    let dense = cost(&run(&[]));
    assert!((dense.forward_flops / forward - 1.0).abs() < 1e-12, "{dense:?}");
    assert!((dense.training_flops / (3.0 * forward) - 1.0).abs() < 1e-12, "{dense:?}");
    // The output layer belongs to the embedding. Only the last norm is left of the head.
    assert_eq!((dense.head, dense.embedding), (2 * 128, (65 + 64) * 128));
    let vlora = serde_json::json!({"compound_size": 4, "rank": 8, "alpha": 1.0, "reference": "base",
        "detach": true, "init": "authors",
        "targets": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]});
    let vlora = cost(&run(&[("method", "vlora".into()), ("vlora", vlora)]));
    // One dense layer, and three with pairs of factors.
    let pairs = 3 * 8 * (4 * 128 + 2 * 128 + 2 * 5 * 128);
    assert_eq!(vlora.weights, 12 * 128 * 128 + pairs);
    assert_eq!(vlora.biases_norms, dense.biases_norms);
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoder").join(name)
}

fn built(checkpoint: &Checkpoint) -> Decoder {
    let (model, vlora) = (checkpoint.model.as_decoder().unwrap(), checkpoint.vlora.as_ref());
    Decoder::new(model, vlora, None, &mut Constants(&checkpoint.tensors)).unwrap()
}

/// Asserts that a checkpoint computes the logits of the folder that transformers wrote.
fn check_logits(checkpoint: &Checkpoint) {
    let expected = Fixture::named("decoder/expected.safetensors");
    let logits = built(checkpoint).forward(&expected.numbers("ids"), Mode::Evaluation).unwrap();
    let error = relative(logits.tensor(), &wanted_logits(&expected));
    assert!(error < 1e-5, "{error:e}");
}

/// Writes a checkpoint for transformers and reads it again.
fn exported(checkpoint: &Checkpoint, folder: &Path) -> Checkpoint {
    let Exported::Folder(files) = checkpoint.export(CheckpointFormat::Gpt2).unwrap() else {
        panic!("a file")
    };
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let loaded = read_checkpoint(folder, &Hints::default()).unwrap();
    assert_eq!(loaded.format, CheckpointFormat::Gpt2);
    loaded.checkpoint
}

/// GPT-2 computes transformers' logits, and so does what is written of it.
#[test]
fn a_gpt2_folder_is_read_and_written() {
    let loaded = read_checkpoint(&folder("gpt2"), &Hints::default()).unwrap();
    assert_eq!(loaded.format, CheckpointFormat::Gpt2);
    let checkpoint = loaded.checkpoint;
    check_logits(&checkpoint);
    let dir = tempfile::tempdir().unwrap();
    let again = exported(&checkpoint, dir.path());
    assert_eq!(again.model, checkpoint.model);
    check_logits(&again);
    // Compact, and as compounds whose increments keep everything.
    let file = dir.path().join("compact.safetensors");
    std::fs::write(&file, checkpoint.to_bytes().unwrap()).unwrap();
    check_logits(&read_checkpoint(&file, &Hints::default()).unwrap().checkpoint);
    let vlora: VloraSpec = serde_json::from_str(
        r#"{"compound_size": 2, "rank": 12, "targets": ["attn.c_attn", "attn.c_proj", "mlp.c_fc",
            "mlp.c_proj", "attn.c_attn.bias", "ln_2.weight"]}"#,
    )
    .unwrap();
    let (compounds, kept) = checkpoint.compressed(&vlora, None).unwrap();
    assert_eq!(kept.len(), 6);
    check_logits(&compounds);
    check_logits(&exported(&compounds, dir.path()));
}

/// A model without biases is written with zeros, and one whose output layer is its own keeps it.
#[test]
fn other_decoders_are_written_for_transformers() {
    for name in ["nanogpt", "untied"] {
        let fixture = fixture(name);
        let (spec, tensors) = (spec(&fixture), fixture.group("weight."));
        let metadata = Metadata::default();
        let model = ModelSpec::Decoder(spec.clone());
        let checkpoint = Checkpoint { model, vlora: None, lora: None, metadata, tensors };
        let dir = tempfile::tempdir().unwrap();
        let again = exported(&checkpoint, dir.path());
        assert_eq!(again.model, ModelSpec::Decoder(DecoderSpec { bias: true, ..spec }), "{name}");
        let logits = built(&again).forward(&fixture.numbers("ids"), Mode::Evaluation).unwrap();
        assert!(relative(logits.tensor(), &wanted_logits(&fixture)) < 1e-5, "{name}");
    }
}

/// The folder that transformers wrote, changed.
struct Changed {
    tensors: BTreeMap<String, Tensor>,
    config: serde_json::Value,
}

impl Changed {
    fn new() -> Changed {
        let tensors = candle_core::safetensors::load(folder("gpt2").join(MODEL), &Device::Cpu);
        let config = std::fs::read(folder("gpt2").join(CONFIG)).unwrap();
        let config = serde_json::from_slice(&config).unwrap();
        Changed { tensors: tensors.unwrap().into_iter().collect(), config }
    }

    fn named(self, rename: impl Fn(String) -> String) -> Changed {
        let tensors = self.tensors.into_iter().map(|(name, tensor)| (rename(name), tensor));
        Changed { tensors: tensors.collect(), ..self }
    }

    fn with(mut self, name: &str, tensor: Tensor) -> Changed {
        self.tensors.insert(name.into(), tensor);
        self
    }

    fn without(mut self, name: &str) -> Changed {
        self.tensors.remove(name).unwrap();
        self
    }

    fn configured(mut self, field: &str, value: impl Into<serde_json::Value>) -> Changed {
        self.config[field] = value.into();
        self
    }

    fn read(&self, hints: &Hints) -> vlora::error::Result<LoadedCheckpoint> {
        let dir = tempfile::tempdir().unwrap();
        let tensors = self.tensors.clone().into_iter().collect();
        candle_core::safetensors::save(&tensors, dir.path().join(MODEL)).unwrap();
        std::fs::write(dir.path().join(CONFIG), self.config.to_string()).unwrap();
        read_checkpoint(dir.path(), hints)
    }

    /// The error, which must hold all these parts.
    fn refused(&self, parts: &[&str]) {
        let error = self.read(&Hints::default()).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
    }
}

/// Names without the prefix, stored causal masks, and a stored copy of the word embedding.
#[test]
fn files_of_all_versions_are_read() {
    let bare = Changed::new().named(|name| name.replace("transformer.", ""));
    check_logits(&bare.read(&Hints::default()).unwrap().checkpoint);
    let masked = Changed::new()
        .with(
            "transformer.h.0.attn.bias",
            Tensor::ones((1, 1, 12, 12), DType::U8, &Device::Cpu).unwrap(),
        )
        .with(
            "transformer.h.1.attn.bias",
            Tensor::ones((1, 1, 12, 12), DType::F32, &Device::Cpu).unwrap(),
        )
        .with("transformer.h.0.attn.masked_bias", Tensor::new(-1e4f32, &Device::Cpu).unwrap());
    check_logits(&masked.read(&Hints::default()).unwrap().checkpoint);
    let words = Changed::new().tensors["transformer.wte.weight"].clone();
    let copied = Changed::new().with("lm_head.weight", words.clone());
    let checkpoint = copied.read(&Hints::default()).unwrap().checkpoint;
    assert!(checkpoint.model.as_decoder().unwrap().tied);
    check_logits(&checkpoint);
    let apart = copied.configured("tie_word_embeddings", false);
    let checkpoint = apart.read(&Hints::default()).unwrap().checkpoint;
    assert!(!checkpoint.model.as_decoder().unwrap().tied);
    check_logits(&checkpoint);
    // The fields that transformers leaves out have its defaults.
    let plain = Changed::new()
        .configured("activation_function", serde_json::Value::Null)
        .configured("layer_norm_epsilon", serde_json::Value::Null)
        .configured("tie_word_embeddings", serde_json::Value::Null);
    check_logits(&plain.read(&Hints::default()).unwrap().checkpoint);
}

#[test]
fn what_does_not_fit_a_decoder_is_named() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (fc, head) = ("transformer.h.1.mlp.c_fc.weight", "lm_head.weight");
    Changed::new().without(fc).refused(&["a tensor is missing", fc]);
    Changed::new().with(fc, zeros(&[12, 20])).refused(&[fc, "[12, 20]", "[12, 24] as [in, out]"]);
    Changed::new().with(fc, zeros(&[24, 12])).refused(&[fc, "[24, 12]", "nanoGPT", "transpose"]);
    Changed::new().with(head, zeros(&[11, 12])).refused(&[head, "tie_word_embeddings"]);
    Changed::new().with(head, zeros(&[7, 12])).refused(&[head, "tie_word_embeddings"]);
    let apart = || Changed::new().configured("tie_word_embeddings", false);
    apart().refused(&["a tensor is missing", head]);
    apart().with(head, zeros(&[7, 12])).refused(&[head, "[7, 12]", "[11, 12]"]);
    Changed::new().with("score.weight", zeros(&[2, 12])).refused(&["score.weight", "belong"]);
    let position = "transformer.wpe.weight";
    Changed::new().with(position, zeros(&[12, 8])).refused(&[position, "[12, 8]", "[12, 12]"]);
    Changed::new()
        .named(|name| format!("_orig_mod.{name}"))
        .refused(&["torch.compile", "_orig_mod.transformer"]);
    let inner = Changed::new().configured("n_inner", 20);
    inner.refused(&["mlp.c_fc.weight", "[12, 24]", "[12, 20] as [in, out], by config.json"]);
    for (field, value, part) in [
        ("activation_function", "gelu_old".into(), "not known"),
        ("scale_attn_weights", false.into(), "expected: true"),
        ("scale_attn_by_inverse_layer_idx", true.into(), "expected: false"),
        ("add_cross_attention", true.into(), "expected: false"),
        ("embd_pdrop", 0.2.into(), "as resid_pdrop"),
        ("n_head", 5.into(), "a divisor of n_embd, 12"),
        ("n_layer", 3.into(), "the layers' names"),
        ("vocab_size", 12.into(), "wte.weight"),
        ("n_positions", 1024.into(), "wpe.weight"),
        ("rotary", true.into(), "rotary"),
        ("model_type", "gpt_neo".into(), "gpt2"),
    ] as [(&str, serde_json::Value, &str); 11]
    {
        Changed::new().configured(field, value).refused(&[field, part]);
    }
    let hints = Hints { new_head: Some(3), ..Hints::default() };
    let error = Changed::new().read(&hints).unwrap_err().to_string();
    assert!(error.contains("a language model has no classifier"), "{error}");
    // An encoder is not written as GPT-2.
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder/bert");
    let bert = read_checkpoint(&bert, &Hints::default()).unwrap().checkpoint;
    let error = bert.export(CheckpointFormat::Gpt2).unwrap_err().to_string();
    assert!(error.contains("a model that is no decoder"), "{error}");
}
