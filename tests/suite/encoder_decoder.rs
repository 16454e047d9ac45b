//! The encoder-decoder against PyTorch: `scripts/reference/make_encoder_decoder_fixtures.py` made the
//! fixtures.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use vlora::models::encoder_decoder::{Cache, EncoderDecoder, Tokens};
use vlora::nn::{Constants, Frozen, Mode, ParameterStore, StepKey, Variable, ops};
use vlora::spec::{EncoderDecoderSpec, VloraSpec};

use crate::common::compare::{largest, relative};
use crate::common::pytorch::Fixture;
use crate::common::training::{gradients_equal, ten_steps_equal};

const ALL: [&str; 8] = [
    "post",
    "pre",
    "uneven",
    "decoder-norm",
    "vlora-base",
    "vlora-base-detach",
    "vlora-previous",
    "vlora-all",
];

fn fixture(name: &str) -> Fixture {
    Fixture::named(&format!("encoder_decoder/{name}.safetensors"))
}

fn spec(fixture: &Fixture) -> EncoderDecoderSpec {
    serde_json::from_str(&fixture.metadata["model"]).unwrap()
}

fn vlora(fixture: &Fixture) -> Option<VloraSpec> {
    fixture.metadata.get("vlora").map(|text| serde_json::from_str(text).unwrap())
}

fn model(fixture: &Fixture) -> EncoderDecoder {
    let weights = fixture.group("weight.");
    let (spec, vlora) = (spec(fixture), vlora(fixture));
    EncoderDecoder::new(&spec, vlora.as_ref(), None, &mut Constants(&weights)).unwrap()
}

/// A model to be trained. `load` refuses a missing, extra or misshapen name.
fn trained(fixture: &Fixture) -> (ParameterStore, EncoderDecoder) {
    let (spec, vlora) = (spec(fixture), vlora(fixture));
    let mut store = ParameterStore::new(0, Device::Cpu);
    let model = EncoderDecoder::new(&spec, vlora.as_ref(), None, &mut store).unwrap();
    store.load(&fixture.group("weight.")).unwrap();
    (store, model)
}

fn lengths(fixture: &Fixture, name: &str) -> Vec<usize> {
    let lengths = fixture.numbers(&format!("{name}_lengths")).to_vec1::<u32>().unwrap();
    lengths.into_iter().map(|length| length as usize).collect()
}

fn tokens(fixture: &Fixture, name: &str) -> Tokens {
    Tokens { ids: fixture.numbers(name), types: None, lengths: lengths(fixture, name) }
}

fn forward(fixture: &Fixture, model: &EncoderDecoder, mode: Mode) -> Variable {
    model.forward(&tokens(fixture, "source"), &tokens(fixture, "target"), mode).unwrap()
}

/// The labels of valid positions, one sentence after another.
fn labels(fixture: &Fixture) -> Tensor {
    let all = fixture.numbers("labels").to_vec2::<u32>().unwrap();
    let valid = all.iter().zip(lengths(fixture, "target")).flat_map(|(row, n)| row[..n].to_vec());
    Tensor::new(valid.collect::<Vec<_>>(), &Device::Cpu).unwrap()
}

fn loss(fixture: &Fixture, logits: &Variable, smoothing: f64) -> Variable {
    ops::mean(&ops::cross_entropy(logits, &labels(fixture), smoothing).unwrap()).unwrap()
}

fn key(step: u64) -> Mode {
    Mode::Training(StepKey { seed: 3, step, part: 0 })
}

/// Logits and loss within 1e-5, every gradient within 1e-4. `--nocapture` shows the differences.
#[test]
fn logits_and_gradients_equal_pytorch() {
    for name in ALL {
        let fixture = fixture(name);
        let (store, model) = trained(&fixture);
        let logits = forward(&fixture, &model, key(0));
        let in_logits = relative(logits.tensor(), &fixture.tensors["logits"]);
        assert!(in_logits < 1e-5, "{name}: logits differ by {in_logits:e}");
        // Without a graph.
        let (spec, vlora) = (spec(&fixture), vlora(&fixture));
        let frozen = EncoderDecoder::new(&spec, vlora.as_ref(), None, &mut Frozen(&store)).unwrap();
        let frozen = forward(&fixture, &frozen, Mode::Evaluation);
        assert!(relative(frozen.tensor(), &fixture.tensors["logits"]) < 1e-5, "{name}");

        let smoothed = loss(&fixture, &logits, 0.1);
        assert!(relative(smoothed.tensor(), &fixture.tensors["smoothed_loss"]) < 1e-5, "{name}");
        let loss = loss(&fixture, &logits, 0.0);
        assert!(relative(loss.tensor(), &fixture.tensors["loss"]) < 1e-5, "{name}: the loss");
        // Those of the keys' biases are zero; both sides have what rounding leaves of terms as large as other
        // gradients.
        let greatest = fixture.group("grad.").values().map(largest).fold(0.0, f64::max);
        let least = f64::from(f32::EPSILON) * greatest;
        let in_gradients = gradients_equal(name, &fixture, &store, loss, least);
        println!("{name}: logits {in_logits:.0e}, gradients {in_gradients:.0e}");
    }
}

/// The loss before each step and every weight after the last one, within 1e-3.
#[test]
fn ten_steps_of_adamw_equal_pytorch() {
    for name in ALL {
        let fixture = fixture(name);
        let (store, model) = trained(&fixture);
        let loss = |step| loss(&fixture, &forward(&fixture, &model, key(step)), 0.0);
        let in_weights = ten_steps_equal(name, &fixture, &store, loss);
        println!("{name}: weights {in_weights:.0e}");
    }
}

/// Translations token by token give the logits of whole translations, also where a sentence has several.
/// Sentences may be selected between.
#[test]
fn cached_and_uncached_logits_agree() {
    for name in ALL {
        let fixture = fixture(name);
        let model = model(&fixture);
        let (source, target) = (tokens(&fixture, "source"), tokens(&fixture, "target"));
        for width in [1, 3] {
            cached_logits_agree(name, &fixture, &model, [&source, &target], width);
        }
    }
}

fn cached_logits_agree(
    name: &str,
    fixture: &Fixture,
    model: &EncoderDecoder,
    [source, target]: [&Tokens; 2],
    width: u32,
) {
    let (batch, most) = target.ids.dims2().unwrap();
    let ids = target.ids.to_vec2::<u32>().unwrap();
    let all = fixture.tensors["logits"].to_vec2::<f32>().unwrap();
    // The row of the logits of a sentence's token.
    let row =
        |sentence: usize, token: usize| target.lengths[..sentence].iter().sum::<usize>() + token;
    let (mut memory, mut cache) = (model.memory(source).unwrap(), Cache::default());
    let mut sentences: Vec<usize> = (0..batch).collect();
    for token in 0..most {
        let copies = |sentence: &usize| vec![*sentence; width as usize];
        let rows: Vec<usize> = sentences.iter().flat_map(copies).collect();
        let new: Vec<u32> = rows.iter().map(|sentence| ids[*sentence][token]).collect();
        let new = Tensor::from_vec(new, (rows.len(), 1), &Device::Cpu).unwrap();
        let logits = model.next(&new, &memory, &mut cache).unwrap().to_vec2::<f32>().unwrap();
        for (sentence, logits) in rows.iter().zip(&logits) {
            if token < target.lengths[*sentence] {
                let want = &all[row(*sentence, token)];
                let apart = logits.iter().zip(want).map(|(a, b)| (a - b).abs());
                assert!(apart.fold(0.0, f32::max) < 1e-4, "{name}: {sentence}, {token}");
            }
        }
        // Those that go on, in another order, the last of them twice.
        let open: Vec<u32> = (0..sentences.len() as u32)
            .rev()
            .filter(|row| target.lengths[sentences[*row as usize]] > token + 1)
            .collect();
        let kept: Vec<u32> = open.iter().chain(open.last()).copied().collect();
        if kept.is_empty() {
            break;
        }
        sentences = kept.iter().map(|row| sentences[*row as usize]).collect();
        memory = memory.select(&kept).unwrap();
        // In two steps: all of them backwards, then those that go on.
        let last = rows.len() as u32 - 1;
        let backwards: Vec<u32> = (0..=last).rev().collect();
        cache.select(&backwards, &Device::Cpu).unwrap();
        let own = |row: u32| (0..width).map(move |copy| last - (row * width + copy));
        let kept: Vec<u32> = kept.into_iter().flat_map(own).collect();
        cache.select(&kept, &Device::Cpu).unwrap();
    }
}

/// Numbers of rows that do not fit the sentences are refused.
#[test]
fn translations_fit_their_sentences() {
    let fixture = fixture("post");
    let model = model(&fixture);
    let source = tokens(&fixture, "source");
    let sentences = source.lengths.len();
    let memory = model.memory(&source).unwrap();
    let next = |rows: usize, cache: &mut Cache| {
        let ids = Tensor::ones((rows, 1), DType::U32, &Device::Cpu).unwrap();
        model.next(&ids, &memory, cache)
    };
    let error = next(2 * sentences + 1, &mut Cache::default()).unwrap_err().to_string();
    assert!(error.contains(&format!("translations of {sentences} sentences")), "{error}");
    let mut cache = Cache::default();
    next(2 * sentences, &mut cache).unwrap();
    let error = cache.select(&[0, 2 * sentences as u32], &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains(&format!("there are {} translations", 2 * sentences)), "{error}");
}

/// What is padding, and which other sentences are in the batch, changes no logits.
#[test]
fn sentences_do_not_depend_on_their_batch() {
    let fixture = fixture("post");
    let model = model(&fixture);
    let (source, target) = (tokens(&fixture, "source"), tokens(&fixture, "target"));
    let all = fixture.tensors["logits"].clone();
    let mut first = 0;
    for sentence in 0..source.lengths.len() {
        let alone = |own: &Tokens| Tokens {
            ids: own
                .ids
                .narrow(0, sentence, 1)
                .and_then(|ids| ids.narrow(1, 0, own.lengths[sentence])?.contiguous())
                .unwrap(),
            types: None,
            lengths: vec![own.lengths[sentence]],
        };
        let (own, to) = (alone(&source), alone(&target));
        let logits = model.forward(&own, &to, Mode::Evaluation).unwrap();
        let want = all.narrow(0, first, to.lengths[0]).unwrap();
        first += to.lengths[0];
        assert!(relative(logits.tensor(), &want) < 1e-5, "sentence {sentence}");
    }
}

/// The logit lens after the last layer gives the logits.
#[test]
fn the_logit_lens_ends_in_the_logits() {
    let fixture = fixture("pre");
    let model = model(&fixture);
    let (source, target) = (tokens(&fixture, "source"), tokens(&fixture, "target"));
    let by_layer = model.logit_lens(&source, &target, |logits| Ok(logits.clone())).unwrap();
    assert_eq!(by_layer.len(), 1 + 2);
    let want = &fixture.tensors["logits"];
    assert!(relative(by_layer[2].tensor(), want) < 1e-5);
    assert!(by_layer[..2].iter().all(|r| relative(r.tensor(), want) > 1e-2));
}

/// Each rate of dropout acts in training alone, and the same places of the same step are dropped again.
#[test]
fn dropout_acts_in_training_alone() {
    let fixture = fixture("post");
    let (plain, weights) = (spec(&fixture), fixture.group("weight."));
    let forward = |spec: &EncoderDecoderSpec, mode: Mode| {
        let model = EncoderDecoder::new(spec, None, None, &mut Constants(&weights)).unwrap();
        forward(&fixture, &model, mode).tensor().clone()
    };
    let want = &fixture.tensors["logits"];
    for spec in [
        EncoderDecoderSpec { dropout: 0.3, ..plain.clone() },
        EncoderDecoderSpec { attention_dropout: 0.3, ..plain.clone() },
        EncoderDecoderSpec { activation_dropout: 0.3, ..plain.clone() },
    ] {
        assert!(relative(&forward(&spec, Mode::Evaluation), want) < 1e-5);
        let one = forward(&spec, key(1));
        assert!(relative(&one, want) > 1e-3);
        assert_eq!(relative(&forward(&spec, key(1)), &one), 0.0);
        assert!(relative(&forward(&spec, key(2)), &one) > 1e-3);
    }
}

/// Matrices start Xavier-uniform: those of queries, keys and values as one matrix or as three, the output
/// layer and, on request, the tables, too.
#[test]
fn weights_start_xavier_uniform() {
    let plain = r#"{"architecture": "encoder-decoder", "source_vocabulary": 400,
        "target_vocabulary": 300, "dim": 48, "depth": 1, "heads": 4, "mlp_ratio": 2, "tied": false"#;
    let bounds = |more: &str| -> BTreeMap<String, f64> {
        let spec: EncoderDecoderSpec = serde_json::from_str(&format!("{plain}{more}}}")).unwrap();
        let mut store = ParameterStore::new(0, Device::Cpu);
        EncoderDecoder::new(&spec, None, None, &mut store).unwrap();
        store.parameters().iter().map(|p| (p.name.clone(), largest(p.var.as_tensor()))).collect()
    };
    let xavier = |sides: usize| (6.0 / sides as f64).sqrt();
    let (packed, separate) = (
        bounds(""),
        bounds(r#", "attention_init": "separate", "embedding_init": "xavier-uniform""#),
    );
    for (found, name, bound) in [
        (&packed, "encoder.layers.0.self_attn.in_proj.weight", xavier(4 * 48)),
        (&packed, "decoder.layers.0.multihead_attn.key.weight", xavier(4 * 48)),
        (&separate, "encoder.layers.0.self_attn.in_proj.weight", xavier(2 * 48)),
        (&separate, "decoder.layers.0.multihead_attn.query.weight", xavier(2 * 48)),
        (&packed, "decoder.layers.0.self_attn.out_proj.weight", xavier(2 * 48)),
        (&packed, "encoder.layers.0.linear1.weight", xavier(3 * 48)),
        (&packed, "output.weight", xavier(348)),
        (&separate, "source_embedding.weight", xavier(448)),
    ] {
        // Thousands of values come near the bound.
        assert!(found[name] <= bound && found[name] > 0.99 * bound, "{name}: {}", found[name]);
    }
    assert_eq!(packed["encoder.layers.0.linear1.bias"], 0.0);
    // Normal values go beyond.
    assert!(packed["source_embedding.weight"] > 3.0 / 48f64.sqrt());
}

/// PyTorch's `torch.nn.Transformer()` has 44,140,544 parameters, the authors' `TransformerVLoRA()`
/// 19,104,768 (2 × 3 layers per stack, rank 2, a norm behind the decoder alone).
#[test]
fn counts_match_pytorch_and_the_authors_package() {
    let model = |more: &str| {
        let text = format!(
            r#"{{"architecture": "encoder-decoder", "source_vocabulary": 5, "target_vocabulary": 5,
                "dim": 512, "depth": 6, "heads": 8, "mlp_ratio": 4{more}}}"#
        );
        serde_json::from_str::<EncoderDecoderSpec>(&text).unwrap()
    };
    let count = |spec: EncoderDecoderSpec, vlora: Option<&VloraSpec>| -> u64 {
        let parameters = vlora::models::parameters_of(&spec.into(), vlora, None).unwrap();
        let layers = parameters.iter().filter(|p| !p.name.contains("embedding"));
        layers.map(vlora::models::ParameterInfo::values).sum()
    };
    assert_eq!(count(model(""), None), 44_140_544);
    let targets = r#"["self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"]"#;
    let text = format!(r#"{{"compound_size": 3, "rank": 2, "targets": {targets}}}"#);
    let authors: VloraSpec = serde_json::from_str(&text).unwrap();
    assert_eq!(count(model(r#", "final_norm": "decoder""#), Some(&authors)), 19_104_768);
}
