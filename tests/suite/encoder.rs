//! The text encoder against transformers: `scripts/reference/make_encoder_fixtures.py` made the
//! fixtures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use vlora::checkpoints::{
    CONFIG, Checkpoint, CheckpointFormat, Exported, Hints, LoadedCheckpoint, MODEL, read_checkpoint,
};
use vlora::models::encoder::{Encoder, Tokens};
use vlora::nn::{Constants, Frozen, Mode, ParameterStore, StepKey, ops};
use vlora::spec::{EncoderSpec, TextPool, TrainingSpec, VloraSpec};
use vlora::train::{AdamW, Schedule};

use crate::common::compare::{largest, relative};
use crate::common::minilm;
use crate::common::program;
use crate::common::pytorch::Fixture;

fn fixture(file: &str) -> Fixture {
    Fixture::named(&format!("encoder/{file}"))
}

fn texts(fixture: &Fixture) -> Tokens {
    texts_of(fixture, "")
}

/// The texts whose tensors' names end like this.
fn texts_of(fixture: &Fixture, end: &str) -> Tokens {
    let (ids, types) = (format!("ids{end}"), format!("types{end}"));
    let lengths = fixture.numbers(&format!("lengths{end}")).to_vec1::<u32>().unwrap();
    Tokens {
        ids: fixture.numbers(&ids),
        types: fixture.tensors.contains_key(&types).then(|| fixture.numbers(&types)),
        lengths: lengths.into_iter().map(|l| l as usize).collect(),
    }
}

fn losses(fixture: &Fixture) -> Vec<f64> {
    fixture.tensors["losses"].to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

const START: StepKey = StepKey { seed: 0, step: 0, part: 0 };

/// Logits and loss within 1e-5, every gradient within 1e-4. `--nocapture` shows the differences.
fn check(file: &str) {
    let fixture = fixture(file);
    let spec: EncoderSpec = serde_json::from_str(&fixture.metadata["model"]).unwrap();
    let vlora = fixture.metadata.get("vlora");
    let vlora: Option<VloraSpec> = vlora.map(|text| serde_json::from_str(text).unwrap());
    let mut store = ParameterStore::new(0, Device::Cpu);
    let model = Encoder::new(&spec, vlora.as_ref(), None, &mut store).unwrap();
    // `load` refuses a missing, extra or misshapen name: the names are transformers'.
    store.load(&fixture.group("weight.")).unwrap();

    let texts = texts(&fixture);
    let logits = model.forward(&texts, Mode::Training(START)).unwrap();
    let in_logits = relative(logits.tensor(), &fixture.tensors["logits"]);
    assert!(in_logits < 1e-5, "{file}: logits differ by {in_logits:e}");
    // Without a graph.
    let frozen = Encoder::new(&spec, vlora.as_ref(), None, &mut Frozen(&store)).unwrap();
    let frozen = frozen.forward(&texts, Mode::Evaluation).unwrap();
    assert!(relative(frozen.tensor(), &fixture.tensors["logits"]) < 1e-5, "{file}");

    let loss = ops::mean(&ops::cross_entropy(&logits, &fixture.numbers("labels"), 0.0).unwrap());
    let loss = loss.unwrap();
    assert!(relative(loss.tensor(), &fixture.tensors["loss"]) < 1e-5, "{file}: the loss");
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
        assert!(error < allowed, "{file}: the gradient of {} differs by {error:e}", p.name);
    }
    assert_eq!(store.parameters().len(), wanted.len());
    println!("{file}: logits {in_logits:.0e}, gradients {in_gradients:.0e}");
}

#[test]
fn logits_and_gradients_equal_transformers() {
    check("tiny-pooler.safetensors");
    check("tiny-class-token.safetensors");
    check("tiny-mean.safetensors");
}

/// Increments on queries, on attention's output and on the MLP's second matrix.
#[test]
fn increments_equal_pytorch() {
    check("tiny-vlora.safetensors");
}

/// A fixture's model being trained from the fixture's weights.
struct Training {
    spec: TrainingSpec,
    store: ParameterStore,
    model: Encoder,
    adamw: AdamW,
    step: u64,
}

impl Training {
    fn of(fixture: &Fixture) -> Training {
        let spec: TrainingSpec = serde_json::from_str(&fixture.metadata["training"]).unwrap();
        let model: EncoderSpec = serde_json::from_str(&fixture.metadata["model"]).unwrap();
        let vlora = fixture.metadata.get("vlora");
        let vlora: Option<VloraSpec> = vlora.map(|text| serde_json::from_str(text).unwrap());
        let mut store = ParameterStore::new(0, Device::Cpu);
        let model = Encoder::new(&model, vlora.as_ref(), None, &mut store).unwrap();
        store.load(&fixture.group("weight.")).unwrap();
        let adamw = AdamW::new(&spec, &store).unwrap();
        Training { spec, store, model, adamw, step: 0 }
    }

    /// One step; the loss before it.
    fn step(&mut self, texts: &Tokens, labels: &Tensor, rate: f64) -> f64 {
        self.step += 1;
        let key = StepKey { seed: 0, step: self.step, part: 0 };
        let logits = self.model.forward(texts, Mode::Training(key)).unwrap();
        let loss = ops::mean(&ops::cross_entropy(&logits, labels, 0.0).unwrap()).unwrap();
        let value = loss.tensor().to_scalar::<f32>().unwrap();
        let mut found = loss.backward(1.0).unwrap();
        let mut gradients = BTreeMap::new();
        for p in self.store.trained() {
            gradients.insert(p.name.clone(), found.remove(&p.value).unwrap());
        }
        self.adamw.update(&self.store, &gradients, rate, self.spec.clip_norm).unwrap();
        f64::from(value)
    }
}

/// The loss before each step and every weight after the last one, within 1e-3.
#[test]
fn ten_steps_of_adamw_equal_pytorch() {
    for file in [
        "tiny-pooler.safetensors",
        "tiny-class-token.safetensors",
        "tiny-mean.safetensors",
        "tiny-vlora.safetensors",
    ] {
        let fixture = fixture(file);
        let mut training = Training::of(&fixture);
        let decayed: Vec<String> = serde_json::from_str(&fixture.metadata["decayed"]).unwrap();
        for p in training.store.parameters() {
            assert_eq!(p.role.decays(), decayed.contains(&p.name), "{file}: {}", p.name);
        }
        let (texts, labels) = (texts(&fixture), fixture.numbers("labels"));
        let (rate, losses) = (training.spec.learning_rate, losses(&fixture));
        assert_eq!(losses.len(), 10);
        let mut in_losses = 0f64;
        for (step, want) in losses.iter().enumerate() {
            let error = (training.step(&texts, &labels, rate) - want).abs();
            in_losses = in_losses.max(error);
            assert!(error < 1e-3, "{file}: the loss before step {step} differs by {error:e}");
        }
        let wanted = fixture.group("after.");
        assert_eq!(wanted.len(), training.store.parameters().len());
        let mut in_weights = 0f64;
        for p in training.store.parameters() {
            let error = relative(p.var.as_tensor(), &wanted[&p.name]);
            in_weights = in_weights.max(error);
            assert!(error < 1e-3, "{file}: after ten steps {} differs by {error:e}", p.name);
        }
        println!("{file}: losses {in_losses:.0e}, weights {in_weights:.0e}");
    }
}

/// The real weights on SST-2's sentences, dropout off: every loss within 1e-3.
#[test]
#[ignore = "needs the file that scripts/reference/make_text_parity.py writes, named by VLORA_TEXT_PARITY"]
fn two_hundred_steps_of_minilm_equal_transformers() {
    let path = std::env::var_os("VLORA_TEXT_PARITY").expect("VLORA_TEXT_PARITY is not set");
    let fixture = Fixture::read(Path::new(&path));
    let mut training = Training::of(&fixture);
    let losses = losses(&fixture);
    let rates = fixture.tensors["rates"].to_vec1::<f64>().unwrap();
    assert_eq!((losses.len(), rates.len()), (200, 200));
    let schedule = Schedule::new(&training.spec, losses.len());
    let mut differences = Vec::new();
    for (step, (want, at)) in losses.iter().zip(&rates).enumerate() {
        let rate = schedule.rate(step, 1.0);
        assert!((rate - at).abs() < 1e-12, "step {step}: rate {rate:e}, {at:e} in PyTorch");
        let end = format!(".{step}");
        let labels = fixture.numbers(&format!("labels{end}"));
        let loss = training.step(&texts_of(&fixture, &end), &labels, rate);
        println!("step {step}: loss {loss:.6}, {want:.6} in PyTorch");
        differences.push((loss - want).abs());
    }
    let most = differences.iter().copied().fold(0.0, f64::max);
    let after = fixture.group("after.");
    assert_eq!(after.len(), 2);
    for (name, want) in &after {
        let error = relative(training.store.get(name).unwrap().var.as_tensor(), want);
        println!("{name} after the last step differs by {error:.0e}");
    }
    println!("losses differ by at most {most:.1e}");
    let step = differences.iter().position(|d| d.is_nan() || *d >= 1e-3);
    assert_eq!(step, None, "the first step whose loss differs by 1e-3; at most {most:e}");
}

/// Ids beyond a text's length are padding: they change nothing, nor does their number.
#[test]
fn padding_has_no_influence() {
    for file in ["tiny-pooler.safetensors", "tiny-class-token.safetensors", "tiny-mean.safetensors"]
    {
        let fixture = fixture(file);
        let spec: EncoderSpec = serde_json::from_str(&fixture.metadata["model"]).unwrap();
        let weights = fixture.group("weight.");
        let model = Encoder::new(&spec, None, None, &mut Constants(&weights)).unwrap();
        let forward = |texts: &Tokens| {
            let logits = model.forward(texts, Mode::Evaluation).unwrap();
            logits.tensor().clone()
        };
        let texts = texts(&fixture);
        let (batch, tokens) = texts.ids.dims2().unwrap();
        let pad = Tensor::full(7u32, (batch, 3), &Device::Cpu).unwrap();
        let longer = Tokens {
            ids: Tensor::cat(&[&texts.ids, &pad], 1).unwrap(),
            types: texts
                .types
                .as_ref()
                .map(|types| Tensor::cat(&[types, &pad.zeros_like().unwrap()], 1).unwrap()),
            lengths: texts.lengths.clone(),
        };
        let all = forward(&texts);
        assert!(relative(&forward(&longer), &all) < 1e-6, "{file}");
        for (i, length) in texts.lengths.iter().enumerate() {
            let cut = |t: &Tensor| t.narrow(0, i, 1).unwrap().narrow(1, 0, *length).unwrap();
            let alone = Tokens {
                ids: cut(&texts.ids).contiguous().unwrap(),
                types: texts.types.as_ref().map(|types| cut(types).contiguous().unwrap()),
                lengths: vec![*length],
            };
            let want = all.narrow(0, i, 1).unwrap();
            assert!(relative(&forward(&alone), &want) < 1e-5, "{file}: text {i} of {tokens}");
        }
    }
}

/// Dropout acts in training alone, and the same places of the same step are dropped again.
#[test]
fn dropout_acts_in_training_alone() {
    let fixture = fixture("tiny-pooler.safetensors");
    let plain: EncoderSpec = serde_json::from_str(&fixture.metadata["model"]).unwrap();
    let weights = fixture.group("weight.");
    let texts = texts(&fixture);
    let forward = |spec: &EncoderSpec, mode: Mode| {
        let model = Encoder::new(spec, None, None, &mut Constants(&weights)).unwrap();
        model.forward(&texts, mode).unwrap().tensor().clone()
    };
    let step = |step| Mode::Training(StepKey { seed: 3, step, part: 0 });
    let want = &fixture.tensors["logits"];
    for spec in [
        EncoderSpec { dropout: 0.3, ..plain.clone() },
        EncoderSpec { attention_dropout: 0.3, ..plain.clone() },
    ] {
        assert!(relative(&forward(&spec, Mode::Evaluation), want) < 1e-5);
        let one = forward(&spec, step(1));
        assert!(relative(&one, want) > 1e-3);
        assert_eq!(relative(&forward(&spec, step(1)), &one), 0.0);
        assert!(relative(&forward(&spec, step(2)), &one) > 1e-3);
    }
}

/// MiniLM of the files in this folder, with a classifier of zeros.
fn minilm_of(folder: &Path) -> Encoder {
    let bytes = std::fs::read(folder.join(MODEL)).unwrap();
    let mut weights: BTreeMap<String, Tensor> =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap().into_iter().collect();
    weights.retain(|name, _| name != "embeddings.position_ids");
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    weights.insert("classifier.weight".into(), zeros(&[2, 384]).unwrap());
    weights.insert("classifier.bias".into(), zeros(&[2]).unwrap());
    let spec = r#"{"architecture": "encoder", "vocabulary": 30522, "classes": 2, "dim": 384,
        "depth": 6, "heads": 12}"#;
    let spec: EncoderSpec = serde_json::from_str(spec).unwrap();
    Encoder::new(&spec, None, None, &mut Constants(&weights)).unwrap()
}

/// The real weights: every layer's hidden states within 1e-5 of transformers'.
#[test]
#[ignore = "needs all-MiniLM-L6-v2 in HF_HUB_CACHE"]
fn minilm_equals_transformers() {
    let fixture = fixture("minilm.safetensors");
    let folder = minilm::folder();
    let model = minilm_of(&folder);
    let states = model.hidden_states(&texts(&fixture)).unwrap();
    let (at, hidden) = (fixture.numbers("at"), &fixture.tensors["hidden"]);
    assert_eq!(states.len(), hidden.dim(0).unwrap());
    let at = at.to_vec2::<u32>().unwrap();
    for (layer, got) in states.iter().enumerate() {
        let want = hidden.get(layer).unwrap();
        for (text, places) in at.iter().enumerate() {
            for (i, place) in places.iter().enumerate() {
                let got = got.get(text).unwrap().get(*place as usize).unwrap();
                let error = relative(&got, &want.get(text).unwrap().get(i).unwrap());
                assert!(error < 1e-5, "layer {layer}, text {text}, token {place}: {error:e}");
            }
        }
    }
}

/// The last hidden states of candle-transformers' BERT of a folder.
fn last_states_of_candle(folder: &Path, texts: &Tokens) -> Tensor {
    let config = std::fs::read(folder.join(CONFIG)).unwrap();
    let config: Config = serde_json::from_slice(&config).unwrap();
    let bytes = std::fs::read(folder.join(MODEL)).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).unwrap();
    let model = BertModel::load(weights, &config).unwrap();
    let (batch, tokens) = texts.ids.dims2().unwrap();
    let mut mask = Vec::new();
    for length in &texts.lengths {
        mask.extend((0..tokens).map(|token| u32::from(token < *length)));
    }
    let mask = Tensor::from_vec(mask, (batch, tokens), &Device::Cpu).unwrap();
    let types = texts.types.clone().unwrap_or_else(|| texts.ids.zeros_like().unwrap());
    model.forward(&texts.ids, &types, Some(&mask)).unwrap()
}

/// Every token's last hidden state within 1e-5 of candle-transformers'.
fn compare_with_candle(folder: &Path, model: &Encoder, texts: &Tokens) {
    let want = last_states_of_candle(folder, texts);
    let states = model.hidden_states(texts).unwrap();
    let got = states.last().unwrap();
    for (i, length) in texts.lengths.iter().enumerate() {
        let of = |t: &Tensor| t.get(i).unwrap().narrow(0, 0, *length).unwrap();
        let error = relative(&of(got), &of(&want));
        assert!(error < 1e-5, "text {i}: {error:e}");
    }
}

#[test]
#[ignore = "needs all-MiniLM-L6-v2 in HF_HUB_CACHE"]
fn minilm_equals_candle_transformers() {
    let texts = texts(&fixture("minilm.safetensors"));
    let folder = minilm::folder();
    compare_with_candle(&folder, &minilm_of(&folder), &texts);
}

#[test]
fn a_tiny_bert_equals_candle_transformers() {
    let texts = texts(&fixture("expected.safetensors"));
    let checkpoint = imported("bert", &Hints::default()).unwrap().checkpoint;
    compare_with_candle(&folder_of("bert"), &built(&checkpoint), &texts);
}

fn folder_of(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder").join(model)
}

fn imported(model: &str, hints: &Hints) -> vlora::error::Result<LoadedCheckpoint> {
    read_checkpoint(&folder_of(model), hints)
}

fn built(checkpoint: &Checkpoint) -> Encoder {
    let (model, vlora) = (checkpoint.model.as_encoder().unwrap(), checkpoint.vlora.as_ref());
    Encoder::new(model, vlora, None, &mut Constants(&checkpoint.tensors)).unwrap()
}

/// BERT with a classifier computes transformers' logits, and so does what is written of it.
#[test]
fn a_bert_folder_is_read_and_written() {
    let expected = fixture("expected.safetensors");
    let loaded = imported("bert", &Hints::default()).unwrap();
    assert_eq!(loaded.format, CheckpointFormat::Bert);
    let checkpoint = loaded.checkpoint;
    assert_eq!(checkpoint.metadata.class_names, ["negative", "neutral", "positive"]);
    let check = |checkpoint: &Checkpoint| {
        let logits = built(checkpoint).forward(&texts(&expected), Mode::Evaluation).unwrap();
        let error = relative(logits.tensor(), &expected.tensors["logits"]);
        assert!(error < 1e-5, "{error:e}");
    };
    check(&checkpoint);
    let dir = tempfile::tempdir().unwrap();
    let Exported::Folder(files) = checkpoint.export(CheckpointFormat::Bert).unwrap() else {
        panic!("a file")
    };
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let again = read_checkpoint(dir.path(), &Hints::default()).unwrap().checkpoint;
    assert_eq!((&again.model, &again.metadata), (&checkpoint.model, &checkpoint.metadata));
    check(&again);
    // Compact, and as compounds whose increments keep everything.
    let file = dir.path().join("compact.safetensors");
    std::fs::write(&file, checkpoint.to_bytes().unwrap()).unwrap();
    check(&read_checkpoint(&file, &Hints::default()).unwrap().checkpoint);
    let vlora: VloraSpec = serde_json::from_str(
        r#"{"compound_size": 2, "rank": 16, "targets": ["attention.self.query", "output.dense",
            "intermediate.dense", "attention.output.dense.bias", "output.LayerNorm.weight"]}"#,
    )
    .unwrap();
    let (compounds, kept) = checkpoint.compressed(&vlora, None).unwrap();
    assert_eq!(kept.len(), 2 * 5);
    check(&compounds);
    check(&compounds.merged().unwrap());
}

/// Google's BERT calls the parameters of norms gamma and beta.
#[test]
fn old_names_of_norms_are_read() {
    let source = folder_of("bert");
    let new = imported("bert", &Hints::default()).unwrap().checkpoint;
    let tensors = candle_core::safetensors::load(source.join(MODEL), &Device::Cpu).unwrap();
    let old = |name: &str| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let renamed: std::collections::HashMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (old(&name), tensor)).collect();
    assert!(renamed.contains_key("bert.embeddings.LayerNorm.gamma"));
    let dir = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&renamed, dir.path().join(MODEL)).unwrap();
    std::fs::copy(source.join(CONFIG), dir.path().join(CONFIG)).unwrap();
    let read = read_checkpoint(dir.path(), &Hints::default()).unwrap().checkpoint;
    assert_eq!(read.model, new.model);
    for (name, tensor) in &new.tensors {
        assert_eq!(relative(&read.tensors[name], tensor), 0.0, "{name}");
    }
}

/// DistilBERT's backbone under a new head, whatever was behind it in pretraining.
#[test]
fn a_distilbert_folder_is_read_for_a_new_head() {
    let expected = fixture("expected.safetensors");
    for pool in [TextPool::ClassToken, TextPool::Mean] {
        let hints = Hints { new_head: Some(4), pool: Some(pool), ..Hints::default() };
        let checkpoint = imported("distilbert", &hints).unwrap().checkpoint;
        let model = checkpoint.model.as_encoder().unwrap();
        assert_eq!((model.token_types, model.classes, model.pool), (0, 4, pool));
        let texts = Tokens { types: None, ..texts(&expected) };
        let states = built(&checkpoint).hidden_states(&texts).unwrap();
        let last = states.last().unwrap();
        for (i, length) in texts.lengths.iter().enumerate() {
            let of = |t: &Tensor| t.get(i).unwrap().narrow(0, 0, *length).unwrap();
            let error = relative(&of(last), &of(&expected.tensors["hidden"]));
            assert!(error < 1e-5, "text {i}: {error:e}");
        }
    }
    // Of BERT the pooler goes where it is not wanted, and the classifier is replaced.
    let hints = Hints { new_head: Some(2), pool: Some(TextPool::Mean), ..Hints::default() };
    let bert = imported("bert", &hints).unwrap().checkpoint;
    assert!(!bert.tensors.keys().any(|name| name.starts_with("pooler.")));
    assert_eq!(bert.tensors["classifier.weight"].dims(), [2, 16]);
}

/// A base without a classifier is imported and compressed with a new one, and refused without.
#[test]
fn commands_take_a_base_without_a_classifier_if_they_are_given_a_head() {
    let dir = tempfile::tempdir().unwrap();
    let base = folder_of("distilbert").display().to_string();
    let tried = |arguments: &[&str]| program::vlora(dir.path(), arguments);
    let refused = tried(&["import", &base, "--out", "no"]);
    assert!(refused.code == 2 && refused.err.contains("--new-head"), "{}", refused.err);
    let imported = tried(&["import", &base, "--new-head", "3", "--out", "ours.safetensors"]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    let written = dir.path().join("ours.safetensors");
    let ours = read_checkpoint(&written, &Hints::default()).unwrap().checkpoint;
    assert_eq!(ours.model.classes(), 3);
    let head = ours.tensors["classifier.weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(head.iter().all(|weight| *weight == 0.0));
    let compress = ["--compound-size", "2", "--rank", "2", "--out", "compressed"];
    let compressed = tried(&[&["compress", &base, "--new-head", "3"][..], &compress].concat());
    assert_eq!(compressed.code, 0, "{}", compressed.err);
    assert!(compressed.out.contains("output.dense"), "{}", compressed.out);
    // A file of this program has a head already.
    let twice = tried(&["import", "ours.safetensors", "--new-head", "3", "--out", "twice"]);
    assert!(twice.code == 2 && twice.err.contains("leave --new-head out"), "{}", twice.err);
}

#[test]
fn what_does_not_fit_a_text_encoder_is_named() {
    let error = |folder: &str, hints: &Hints| imported(folder, hints).unwrap_err().to_string();
    let kept = error("distilbert", &Hints::default());
    assert!(kept.contains("no classifier") && kept.contains("start.head: new"), "{kept}");
    let hints = Hints { new_head: Some(2), pool: Some(TextPool::Pooler), ..Hints::default() };
    let pooler = error("distilbert", &hints);
    assert!(pooler.contains("no pooler") && pooler.contains("class-token"), "{pooler}");

    let source = folder_of("bert");
    let config = std::fs::read_to_string(source.join(CONFIG)).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    for (field, value, want) in [
        ("hidden_act", serde_json::json!("mish"), "hidden_act: the activation is not known"),
        ("position_embedding_type", serde_json::json!("relative_key"), "`absolute`"),
        ("is_decoder", serde_json::json!(true), "is_decoder"),
        ("vocab_size", serde_json::json!(54), "vocab_size contradicts the weights"),
        ("num_hidden_layers", serde_json::json!(3), "num_hidden_layers contradicts the weights"),
        ("embedding_scale", serde_json::json!(2), "embedding_scale: the model is not supported"),
        ("hidden_dropout_prob", serde_json::json!(1), "from 0 to below 1"),
        ("model_type", serde_json::json!("roberta"), "cannot be trained or imported yet"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut changed = config.clone();
        changed[field] = value;
        std::fs::write(dir.path().join(CONFIG), changed.to_string()).unwrap();
        std::fs::copy(source.join(MODEL), dir.path().join(MODEL)).unwrap();
        let told = read_checkpoint(dir.path(), &Hints::default()).map(drop).unwrap_err();
        assert!(told.to_string().contains(want), "{field}: {told}");
    }
}
