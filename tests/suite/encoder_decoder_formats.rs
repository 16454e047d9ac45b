//! The formats in which other programs hold an encoder-decoder: PyTorch's state dict and the authors'.
//! `scripts/reference/make_encoder_decoder_fixtures.py` made the fixtures.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use vlora::checkpoints::{
    CONFIG, Checkpoint, CheckpointFormat, Exported, Hints, LoadedCheckpoint, MODEL, Metadata,
    read_checkpoint,
};
use vlora::models::encoder_decoder::{EncoderDecoder, Tokens};
use vlora::nn::{Constants, Mode};
use vlora::spec::{
    EncoderDecoderSpec, FinalNorm, LoraSpec, MlpActivation, ModelSpec, Rank, Reference, TargetSpec,
    VloraSpec,
};

use crate::common::compare::relative;
use crate::common::pytorch::Fixture;

const DENSE: [&str; 4] = ["post", "pre", "uneven", "decoder-norm"];

type Tensors = BTreeMap<String, Tensor>;

fn fixture(name: &str) -> Fixture {
    Fixture::named(&format!("encoder_decoder/{name}.safetensors"))
}

fn spec(fixture: &Fixture) -> EncoderDecoderSpec {
    serde_json::from_str(&fixture.metadata["model"]).unwrap()
}

/// What a description has to say of a model at least.
fn description(spec: &EncoderDecoderSpec) -> Value {
    let spec = serde_json::to_value(spec).unwrap();
    json!({
        "model_type": "torch.nn.Transformer",
        "nhead": spec["heads"],
        "norm_first": spec["norm"] == "pre",
        "activation": spec["activation"],
        "position_embedding": spec["position_embedding"],
        "positions": spec["positions"],
        "scale_embedding": spec["scale_embedding"],
        "dropout": spec["dropout"],
    })
}

/// A state with its description, to be changed.
#[derive(Clone)]
struct State {
    tensors: Tensors,
    config: Option<Value>,
}

impl State {
    /// The state that PyTorch wrote of a model.
    fn of(name: &str) -> State {
        let tensors = fixture(&format!("state-{name}")).tensors;
        State { tensors, config: Some(description(&spec(&fixture(name)))) }
    }

    fn named(self, rename: impl Fn(String) -> String) -> State {
        let tensors = self.tensors.into_iter().map(|(name, tensor)| (rename(name), tensor));
        State { tensors: tensors.collect(), ..self }
    }

    fn with(mut self, name: &str, tensor: Tensor) -> State {
        self.tensors.insert(name.into(), tensor);
        self
    }

    fn without(mut self, name: &str) -> State {
        self.tensors.remove(name).unwrap();
        self
    }

    fn described(mut self, field: &str, value: impl Into<Value>) -> State {
        self.config.as_mut().unwrap()[field] = value.into();
        self
    }

    fn read(&self, hints: &Hints) -> vlora::error::Result<LoadedCheckpoint> {
        let dir = tempfile::tempdir().unwrap();
        let tensors = self.tensors.clone().into_iter().collect();
        candle_core::safetensors::save(&tensors, dir.path().join(MODEL)).unwrap();
        if let Some(config) = &self.config {
            std::fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
        }
        read_checkpoint(dir.path(), hints)
    }

    fn checkpoint(&self) -> Checkpoint {
        self.read(&Hints::default()).unwrap().checkpoint
    }

    /// The error, which must hold all these parts.
    fn refused(&self, parts: &[&str]) {
        let error = self.read(&Hints::default()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        for part in parts {
            assert!(error.to_string().contains(part), "no {part:?} in: {error}");
        }
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

/// Asserts that two states hold the same bits under the same names.
fn assert_same(got: &Tensors, want: &Tensors) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    let bits = |t: &Tensor| -> Vec<u32> {
        t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    for (name, tensor) in got {
        assert_eq!(tensor.dims(), want[name].dims(), "{name}");
        assert!(bits(tensor) == bits(&want[name]), "{name}");
    }
}

fn tokens(fixture: &Fixture, side: &str) -> Tokens {
    let lengths = fixture.numbers(&format!("{side}_lengths")).to_vec1::<u32>().unwrap();
    let lengths = lengths.into_iter().map(|length| length as usize).collect();
    Tokens { ids: fixture.numbers(side), types: None, lengths }
}

fn built(checkpoint: &Checkpoint) -> EncoderDecoder {
    let model = checkpoint.model.as_encoder_decoder().unwrap();
    let mut parameters = Constants(&checkpoint.tensors);
    EncoderDecoder::new(model, checkpoint.vlora.as_ref(), None, &mut parameters).unwrap()
}

/// Asserts that a checkpoint computes the logits that PyTorch computed.
fn check_logits(checkpoint: &Checkpoint, fixture: &Fixture) {
    let (source, target) = (tokens(fixture, "source"), tokens(fixture, "target"));
    let logits = built(checkpoint).forward(&source, &target, Mode::Evaluation).unwrap();
    let apart = relative(logits.tensor(), &fixture.tensors["logits"]);
    assert!(apart < 1e-5, "logits differ by {apart:e}");
}

/// What is written of a checkpoint for PyTorch.
fn exported(checkpoint: &Checkpoint) -> State {
    let Exported::Folder(files) = checkpoint.export(CheckpointFormat::Pytorch).unwrap() else {
        panic!("a file")
    };
    let [(model, weights), (config, description)] = &files[..] else {
        panic!("{} files", files.len())
    };
    assert_eq!((model.as_path(), config.as_path()), (Path::new(MODEL), Path::new(CONFIG)));
    let tensors = candle_core::safetensors::load_buffer(weights, &Device::Cpu).unwrap();
    let config = serde_json::from_slice(description).unwrap();
    State { tensors: tensors.into_iter().collect(), config: Some(config) }
}

/// PyTorch's states give its logits and the weights of the fixture. What is written is what was read.
#[test]
fn pytorchs_states_are_read_and_written() {
    for name in DENSE {
        let (fixture, state) = (fixture(name), State::of(name));
        let loaded = state.read(&Hints::default()).unwrap();
        assert_eq!(loaded.format, CheckpointFormat::Pytorch, "{name}");
        let checkpoint = loaded.checkpoint;
        assert_eq!(checkpoint.model, spec(&fixture).into(), "{name}");
        assert_same(&checkpoint.tensors, &fixture.group("weight."));
        check_logits(&checkpoint, &fixture);

        let written = exported(&checkpoint);
        assert_same(&written.tensors, &state.tensors);
        let again = written.checkpoint();
        assert_eq!(again.model, checkpoint.model, "{name}");
        assert_same(&again.tensors, &checkpoint.tensors);
        // As a subclass of the Transformer names them.
        let bare = state.clone().named(|name| name.replace("transformer.", ""));
        assert_same(&bare.checkpoint().tensors, &checkpoint.tensors);
        // Without a description the run that starts from it says how it computes.
        let bare = State { config: None, ..state };
        let hints = Hints { model: Some(checkpoint.model.clone()), ..Hints::default() };
        let of_run = bare.read(&hints).unwrap().checkpoint;
        assert_eq!(of_run.model, checkpoint.model, "{name}");
        assert_same(&of_run.tensors, &checkpoint.tensors);
    }
}

/// Increments are merged into the weights that PyTorch gets.
#[test]
fn compounds_are_written_for_pytorch_as_dense_layers() {
    for name in ["vlora-base", "vlora-base-detach", "vlora-previous", "vlora-all"] {
        let fixture = fixture(name);
        let vlora: VloraSpec = serde_json::from_str(&fixture.metadata["vlora"]).unwrap();
        let checkpoint = Checkpoint {
            model: spec(&fixture).into(),
            vlora: Some(vlora),
            lora: None,
            metadata: Metadata::default(),
            tensors: fixture.group("weight."),
        };
        let again = exported(&checkpoint).checkpoint();
        assert_eq!((&again.model, &again.vlora), (&checkpoint.model, &None), "{name}");
        check_logits(&again, &fixture);
    }
}

/// A tied output layer may stand under either name or under both, and the description may leave it open.
#[test]
fn tied_and_untied_output_layers_are_told_apart() {
    let (output, table) = ("output.weight", "target_embedding.weight");
    let want = State::of("uneven").checkpoint();
    let tied = |state: &State| state.checkpoint().model.as_encoder_decoder().unwrap().tied;
    for state in [
        State::of("uneven").described("tied", true),
        State::of("uneven").without(output),
        State::of("uneven").without(table).described("tied", true),
    ] {
        assert!(tied(&state));
        assert_same(&state.checkpoint().tensors, &want.tensors);
    }
    let apart = State::of("uneven").described("tied", false);
    assert!(!tied(&apart));
    assert_same(&exported(&apart.checkpoint()).tensors, &apart.tensors);
    apart.without(output).refused(&["a tensor is missing", output]);
    State::of("uneven").without(table).refused(&["a tensor is missing", table]);
    let other = State::of("uneven").with(output, zeros(&[11, 12])).described("tied", true);
    other.refused(&[
        "the output layer is not the target's embedding",
        output,
        "described as tied",
        "`tied: false`",
    ]);
    State::of("post").described("tied", true).refused(&[output, "other values"]);
}

#[test]
fn what_does_not_fit_pytorchs_transformer_is_named() {
    let post = || State::of("post");
    let linear = "transformer.decoder.layers.1.linear1.weight";
    let own = "transformer.encoder.layers.0.self_attn.in_proj_weight";
    let cross = "transformer.decoder.layers.1.multihead_attn.in_proj_weight";
    let bias = "transformer.decoder.layers.0.multihead_attn.in_proj_bias";
    for name in [linear, own, cross, bias, "source_positions.weight", "source_embedding.weight"] {
        post().without(name).refused(&["a tensor is missing", name]);
    }
    post().with(linear, zeros(&[20, 12])).refused(&[linear, "[20, 12]", "[24, 12]"]);
    post().with(own, zeros(&[12, 12])).refused(&[own, "[12, 12]", "[36, 12]"]);
    post().with(cross, zeros(&[36, 8])).refused(&[cross, "[36, 8]", "[36, 12]: queries, keys"]);
    post().with(cross, zeros(&[35, 12])).refused(&[cross, "[35, 12]", "[36, 12]"]);
    post().with(cross, zeros(&[])).refused(&[cross, "[]", "[36, 12]"]);
    post().with(bias, zeros(&[12])).refused(&[bias, "[12]", "[36]"]);
    for name in [
        "positional_encoding.pe",
        "embedding.weight",
        "transformer.encoder.norm.weight",
        "transformer.encoder.layers.0.norm3.weight",
        "transformer.encoder.layers.0.self_attn.bias_k",
    ] {
        let error = post().with(name, zeros(&[12, 12])).read(&Hints::default()).unwrap_err();
        // A norm asks for its other tensors, one embedding for both languages for its rows.
        assert!(error.to_string().contains("tensor"), "{name}: {error}");
    }
    post()
        .with("positional_encoding.pe", zeros(&[9, 12]))
        .refused(&["positional_encoding.pe", "belong"]);
    let ours = "transformer.encoder.layers.0.self_attn.in_proj.weight";
    post().with(ours, zeros(&[36, 12])).refused(&["does not belong", ours, own]);
    let bare = "encoder.layers.0.self_attn.in_proj_weight";
    post().with(bare, zeros(&[36, 12])).refused(&["two tensors have the same meaning", own]);
    post().named(|name| format!("_orig_mod.{name}")).refused(&["torch.compile"]);
    // The Transformer alone.
    let mut alone = post();
    alone.tensors.retain(|name, _| name.starts_with("transformer."));
    alone.refused(&[
        "the state has no embeddings",
        "source_embedding.weight",
        "a Transformer alone",
    ]);
    let sinusoidal = post().described("position_embedding", "sinusoidal");
    sinusoidal.refused(&["does not belong", "source_positions.weight"]);
    State::of("pre")
        .described("position_embedding", "learned")
        .refused(&["source_positions.weight"]);

    let undescribed = State { config: None, ..post() };
    undescribed.refused(&["does not say how the model computes", "torch.nn.Transformer", CONFIG]);
    for (field, value, part) in [
        ("nhead", json!(5), "a divisor of 12"),
        ("nhead", Value::Null, "missing"),
        ("scale_embedding", Value::Null, "true or false"),
        ("position_embedding", Value::Null, "sinusoidal, sinusoidal-halves, learned"),
        ("position_embedding", json!("rotary"), "sinusoidal, sinusoidal-halves, learned"),
        ("activation", json!("mish"), "relu, gelu, gelu-tanh, silu"),
        ("positions", json!(16), "the table of positions"),
        ("d_model", json!(16), "contradicts the weights"),
        ("dim_feedforward", json!(12), "linear1"),
        ("num_encoder_layers", json!(3), "the layers' names"),
        ("num_decoder_layers", json!(1), "the layers' names"),
        ("source_vocabulary", json!(11), "the source's embedding"),
        ("target_vocabulary", json!(13), "the target's embedding"),
        ("bias", json!(false), "expected: true"),
        ("dropout", json!(1.5), "from 0 to below 1"),
        ("layer_norm_eps", json!(0), "a number above 0"),
        ("rotary", json!(true), "a field that this program knows"),
        ("model_type", json!("bart"), "torch.nn.Transformer"),
    ] {
        post().described(field, value).refused(&[field, part]);
    }
    State::of("pre").described("positions", Value::Null).refused(&["positions", "missing"]);
    let hints = Hints { new_head: Some(3), ..Hints::default() };
    let error = post().read(&hints).unwrap_err().to_string();
    assert!(error.contains("has no classifier"), "{error}");
    // Another description, and another model.
    let gpt2 =
        json!({"model_type": "gpt2", "vocab_size": 9, "n_embd": 12, "n_layer": 2, "n_head": 3});
    let other = State { config: Some(gpt2), ..post() };
    other.refused(&["of another architecture than the weights", "torch.nn.Transformer"]);
    let gpt2 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoder/gpt2");
    let gpt2 = read_checkpoint(&gpt2, &Hints::default()).unwrap().checkpoint;
    let error = gpt2.export(CheckpointFormat::Pytorch).unwrap_err().to_string();
    assert!(error.contains("a model that is no encoder-decoder"), "{error}");
}

/// The authors' Transformer. Their model has no embeddings: each vector of the fixture's input is a word
/// here, positions are zero, and the output layer is the identity.
fn authors() -> (State, Fixture, Hints) {
    let fixture = fixture("authors");
    let arguments: Value = serde_json::from_str(&fixture.metadata["arguments"]).unwrap();
    let dim = arguments["d_model"].as_u64().unwrap() as usize;
    let words = |name: &str| {
        let t = &fixture.tensors[name];
        t.reshape((t.dim(0).unwrap() * t.dim(1).unwrap(), dim)).unwrap()
    };
    let (source, target) = (words("source"), words("target"));
    // Fewer words than outputs.
    let more = dim - target.dim(0).unwrap();
    let target = Tensor::cat(&[&target, &zeros(&[more, dim])], 0).unwrap();
    let mut tensors: Tensors = fixture
        .group("state.")
        .into_iter()
        .map(|(name, tensor)| (format!("transformer.{name}"), tensor))
        .collect();
    for (name, tensor) in [
        ("source_embedding.weight", source),
        ("target_embedding.weight", target),
        ("source_positions.weight", zeros(&[9, dim])),
        ("target_positions.weight", zeros(&[9, dim])),
        ("output.weight", Tensor::eye(dim, DType::F32, &Device::Cpu).unwrap()),
    ] {
        tensors.insert(name.into(), tensor);
    }
    let config = json!({
        "model_type": "torch.nn.Transformer",
        "nhead": arguments["nhead"],
        "norm_first": arguments["normalize_before"],
        "activation": arguments["activation"],
        "position_embedding": "learned",
        "scale_embedding": false,
        "dropout": arguments["dropout"],
    });
    let alpha = arguments["encoder_vlora_alpha"].as_f64();
    (State { tensors, config: Some(config) }, fixture, Hints { alpha, ..Hints::default() })
}

fn check_output(checkpoint: &Checkpoint, fixture: &Fixture) {
    let ids = |name: &str| {
        let (batch, tokens, _) = fixture.tensors[name].dims3().unwrap();
        let ids = Tensor::arange(0, (batch * tokens) as u32, &Device::Cpu).unwrap();
        let ids = ids.reshape((batch, tokens)).unwrap();
        Tokens { ids, types: None, lengths: vec![tokens; batch] }
    };
    let (source, target) = (ids("source"), ids("target"));
    let found = built(checkpoint).forward(&source, &target, Mode::Evaluation).unwrap();
    let want = &fixture.tensors["causal_output"];
    let rows = want.dim(0).unwrap() * want.dim(1).unwrap();
    let want = want.reshape((rows, want.dim(2).unwrap())).unwrap();
    let apart = relative(found.tensor(), &want);
    assert!(apart < 1e-5, "differs by {apart:e}");
}

fn authors_state(checkpoint: &Checkpoint) -> Tensors {
    let Exported::File(bytes) = checkpoint.export(CheckpointFormat::Authors).unwrap() else {
        panic!("a folder")
    };
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap().into_iter().collect()
}

/// The authors' Transformer, its one-argument bug put right, gives the same output, and its state is written
/// as it was read, copies of base weights included.
#[test]
fn the_authors_states_are_read_and_written() {
    let (state, fixture, hints) = authors();
    let loaded = state.read(&hints).unwrap();
    assert_eq!(loaded.format, CheckpointFormat::Authors);
    let checkpoint = loaded.checkpoint;
    check_output(&checkpoint, &fixture);
    let vlora = checkpoint.vlora.as_ref().unwrap();
    let targets: Vec<&str> = vlora.targets.iter().map(|own| own.target.name()).collect();
    assert_eq!(targets, ["self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"]);
    assert_eq!((vlora.compound_size, vlora.rank, vlora.alpha), (Some(2), Rank::Of(2), 3.0));

    let written = authors_state(&checkpoint);
    assert_same(&written, &state.tensors);
    let note = checkpoint.not_held_by(CheckpointFormat::Authors);
    let names = r#"["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"]"#;
    for part in [
        "for TransformerVLoRA(d_model=12, nhead=3, num_encoder_compounds=2, encoder_compound_size=2",
        &format!("decoder_vlora_params={names}"),
        "decoder_vlora_rank=[2, 2, 2, 2], decoder_vlora_alpha=[3, 3, 3, 3]",
        r#"dim_feedforward=24, dropout=0, activation="relu", normalize_before=False)"#,
        "config.json",
    ] {
        assert!(note.contains(part), "no {part:?} in: {note}");
    }
    // Without the Transformer's prefix, without copies, and described by a run.
    let mut bare = state.clone().named(|name| name.replace("transformer.", ""));
    bare.tensors.retain(|name, _| !name.ends_with(".original"));
    bare.config = None;
    let hints = Hints { model: Some(checkpoint.model.clone()), ..hints };
    let again = bare.read(&hints).unwrap().checkpoint;
    assert_eq!((&again.model, &again.vlora), (&checkpoint.model, &checkpoint.vlora));
    assert_same(&again.tensors, &checkpoint.tensors);
    // As PyTorch's dense layers, whose description serves the authors' state, too.
    let dense = exported(&checkpoint);
    check_output(&dense.checkpoint(), &fixture);
    let described = State { tensors: written, config: dense.config.clone() };
    let again = described.read(&Hints { alpha: Some(3.0), ..Hints::default() }).unwrap().checkpoint;
    assert_eq!((&again.model, &again.vlora), (&checkpoint.model, &checkpoint.vlora));
    // Targets of the decoder alone, and vectors.
    let more =
        ["self_attn.in_proj", "multihead_attn.out_proj", "linear1.bias", "self_attn.in_proj.bias"];
    let vlora = json!({"compound_size": 2, "rank": 3, "alpha": 3, "targets": more});
    let vlora: VloraSpec = serde_json::from_value(vlora).unwrap();
    let (compounds, _) = dense.checkpoint().compressed(&vlora, None).unwrap();
    let state = State { tensors: authors_state(&compounds), ..described };
    let again = state.read(&Hints { alpha: Some(3.0), ..Hints::default() }).unwrap().checkpoint;
    assert_same(&again.tensors, &compounds.tensors);
    assert_same(&authors_state(&again), &state.tensors);
}

#[test]
fn what_does_not_fit_the_authors_transformer_is_named() {
    let (state, ..) = authors();
    let block = |rest: &str| format!("transformer.decoder.layers.1.blocks.1.{rest}");
    let (a, b) = (
        block("linear1.parametrizations.weight.0.A"),
        block("linear1.parametrizations.weight.0.B"),
    );
    let original = block("linear1.parametrizations.weight.original");
    state.clone().without(&a).refused(&["a tensor is missing", &a]);
    state.clone().with(&b, zeros(&[2, 12])).refused(&[&b, "[2, 12]", "[2, 24]"]);
    state.clone().with(&original, zeros(&[24, 12])).refused(&[
        "the copy of a base weight",
        &original,
        "transformer.decoder.layers.1.blocks.0.linear1.weight",
    ]);
    let stray = block("linear3.weight");
    state.clone().with(&stray, zeros(&[2])).refused(&["does not belong", &stray]);
    let flat = "transformer.encoder.layers.0.linear1.weight";
    state.clone().with(flat, zeros(&[24, 12])).refused(&["same meaning", "linear1.weight"]);
    let cross = block("multihead_attn.parametrizations.in_proj_weight.0.A");
    state.clone().with(&cross, zeros(&[2, 12])).refused(&[&cross, "cross-attention"]);
    let mut alone = state.clone();
    alone.tensors.retain(|name, _| name.starts_with("transformer."));
    alone.refused(&["the state has no embeddings", "source_embedding.weight"]);
    State { config: None, ..state.clone() }.refused(&["does not say how the model computes"]);
    let of_side = |side: &str| {
        let mut state = state.clone();
        state.tensors.retain(|name, _| !name.starts_with(&format!("transformer.{side}.layers.")));
        state
    };
    of_side("decoder").refused(&["decoder.layers.0.blocks.0"]);
    of_side("encoder").refused(&["encoder.layers.0.blocks.0"]);
    // A block more, and a compound that lacks one.
    let third = "transformer.decoder.layers.1.blocks.2.linear1.weight";
    state.clone().with(third, zeros(&[24, 12])).refused(&[
        "encoder and decoder have different increments",
        "of 2 layers in the encoder, of 3 in the decoder",
    ]);
    let mut short = state.clone();
    short.tensors.retain(|name, _| !name.starts_with("transformer.decoder.layers.1.blocks.1."));
    short.refused(&["a tensor is missing", "transformer.decoder.layers.1.blocks.1."]);
    // One side with other ranks or targets.
    let encoder = |rest: &str| {
        format!("transformer.encoder.layers.0.blocks.1.linear1.parametrizations.weight.{rest}")
    };
    let ranked = state.clone().with(&encoder("0.A"), zeros(&[4, 12]));
    ranked.refused(&[
        "different increments",
        "linear1: rank 4 in the encoder, rank 2 in the decoder",
    ]);
    state.clone().without(&encoder("0.A")).refused(&["linear1: no increment in the encoder"]);
    let mut dense = state;
    dense.tensors.retain(|name, _| !name.contains(".parametrizations."));
    dense.refused(&["the model has no increments", "compounds of 2 blocks, all dense"]);
}

#[test]
fn the_authors_format_refuses_an_encoder_decoder_that_it_cannot_hold() {
    let (state, _, hints) = authors();
    let ours = state.read(&hints).unwrap().checkpoint;
    let refused = |edit: &dyn Fn(&mut Checkpoint), part: &str| {
        let mut checkpoint = ours.clone();
        edit(&mut checkpoint);
        let error = checkpoint.export(CheckpointFormat::Authors).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    };
    fn model(checkpoint: &mut Checkpoint) -> &mut EncoderDecoderSpec {
        match &mut checkpoint.model {
            ModelSpec::EncoderDecoder(model) => model,
            other => panic!("{other:?}"),
        }
    }
    let lora: LoraSpec =
        serde_json::from_value(json!({"rank": 2, "targets": ["linear1"]})).unwrap();
    refused(&|c| c.vlora = None, "a dense model");
    refused(&|c| c.lora = Some(lora.clone()), "--lora drop");
    refused(&|c| c.vlora.as_mut().unwrap().detach = false, "detach: false");
    refused(&|c| c.vlora.as_mut().unwrap().reference = Reference::Previous, "previous");
    refused(&|c| c.vlora.as_mut().unwrap().rank = Rank::Full, "rank: full");
    refused(&|c| c.vlora.as_mut().unwrap().rank = Rank::Of(0), "rank: 0");
    refused(&|c| c.vlora.as_mut().unwrap().keep_last = 2, "otherwise than in compounds");
    refused(&|c| model(c).decoder_depth = Some(3), "otherwise than in compounds");
    refused(&|c| model(c).final_norm = FinalNorm::Both, "`final_norm: decoder` with `norm: post`");
    refused(&|c| model(c).norm_eps = 1e-6, "norm_eps");
    refused(&|c| model(c).activation = MlpActivation::GeluTanh, "gelu-tanh");
    let query = TargetSpec::plain("multihead_attn.query");
    refused(&|c| c.vlora.as_mut().unwrap().targets = vec![query.clone()], "multihead_attn.query");
}
