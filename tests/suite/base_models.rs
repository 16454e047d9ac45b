//! Descriptions of base models as the Hub has them, and what is told of faulty ones.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use vlora::checkpoints::layers::read_layers;
use vlora::checkpoints::{
    BaseModel, BertConfig, BertKind, CONFIG, Hints, MODEL, MarianConfig, StackConfig, T5Config,
    TOKENIZER, VitConfig, read_base, read_checkpoint,
};
use vlora::spec::MlpActivation;

fn parsed(config: &Value) -> vlora::error::Result<BaseModel> {
    BaseModel::parse(Path::new(CONFIG), config.to_string().as_bytes())
}

/// google/vit-base-patch16-224's fields, with fewer classes.
fn vit() -> Value {
    json!({
        "_name_or_path": "google/vit-base-patch16-224-in21k",
        "architectures": ["ViTForImageClassification"],
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": 768,
        "id2label": {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus"},
        "image_size": 224,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "label2id": {"tench, Tinca tinca": 0, "goldfish, Carassius auratus": 1},
        "layer_norm_eps": 1e-12,
        "model_type": "vit",
        "num_attention_heads": 12,
        "num_channels": 3,
        "num_hidden_layers": 12,
        "patch_size": 16,
        "qkv_bias": true,
        "transformers_version": "4.13.0.dev0"
    })
}

/// google-bert/bert-base-uncased's.
fn bert() -> Value {
    json!({
        "architectures": ["BertForMaskedLM"],
        "attention_probs_dropout_prob": 0.1,
        "gradient_checkpointing": false,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 768,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "use_cache": true,
        "vocab_size": 30522
    })
}

/// distilbert/distilbert-base-uncased's.
fn distilbert() -> Value {
    json!({
        "activation": "gelu",
        "architectures": ["DistilBertForMaskedLM"],
        "attention_dropout": 0.1,
        "dim": 768,
        "dropout": 0.1,
        "hidden_dim": 3072,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": 12,
        "n_layers": 6,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": false,
        "tie_weights_": true,
        "vocab_size": 30522
    })
}

/// Helsinki-NLP/opus-mt-de-en's.
fn marian() -> Value {
    json!({
        "_num_labels": 3,
        "activation_dropout": 0.0,
        "activation_function": "swish",
        "add_bias_logits": false,
        "add_final_layer_norm": false,
        "architectures": ["MarianMTModel"],
        "bad_words_ids": [[58100]],
        "bos_token_id": 0,
        "d_model": 512,
        "decoder_attention_heads": 8,
        "decoder_ffn_dim": 2048,
        "decoder_layers": 6,
        "decoder_start_token_id": 58100,
        "extra_pos_embeddings": 58101,
        "force_bos_token_to_be_generated": false,
        "encoder_attention_heads": 8,
        "encoder_ffn_dim": 2048,
        "encoder_layers": 6,
        "eos_token_id": 0,
        "max_length": 512,
        "max_position_embeddings": 512,
        "model_type": "marian",
        "normalize_embedding": false,
        "num_hidden_layers": 6,
        "scale_embedding": true,
        "static_position_embeddings": true,
        "vocab_size": 58101
    })
}

/// google-t5/t5-small's.
fn t5() -> Value {
    json!({
        "architectures": ["T5ForConditionalGeneration"],
        "d_ff": 2048,
        "d_kv": 64,
        "d_model": 512,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "initializer_factor": 1.0,
        "is_encoder_decoder": true,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "n_positions": 512,
        "num_heads": 8,
        "num_layers": 6,
        "output_past": true,
        "pad_token_id": 0,
        "relative_attention_num_buckets": 32,
        "vocab_size": 32128
    })
}

#[test]
fn each_architecture_is_recognised() {
    let image = VitConfig {
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        image_size: 224,
        patch_size: 16,
        num_channels: 3,
        hidden_act: MlpActivation::Gelu,
        layer_norm_eps: 1e-12,
        qkv_bias: true,
        num_labels: Some(2),
        class_names: vec!["tench, Tinca tinca".into(), "goldfish, Carassius auratus".into()],
        unsupported: None,
    };
    let base = BertConfig {
        kind: BertKind::Bert,
        vocab_size: 30522,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        max_position_embeddings: 512,
        type_vocab_size: 2,
        hidden_act: MlpActivation::Gelu,
        layer_norm_eps: 1e-12,
        dropout: 0.1,
        attention_dropout: 0.1,
        num_labels: None,
        class_names: Vec::new(),
        unsupported: None,
    };
    let stack = StackConfig { layers: 6, heads: 8, feed_forward: 2048 };
    let opus = MarianConfig {
        vocab_size: 58101,
        d_model: 512,
        encoder_layers: 6,
        decoder_layers: 6,
        heads: 8,
        ffn_dim: 2048,
        activation: MlpActivation::Silu,
        max_position_embeddings: 512,
        scale_embedding: true,
        dropout: 0.1,
        attention_dropout: 0.0,
        activation_dropout: 0.0,
        special: [("eos_token_id", 0), ("pad_token_id", 58100), ("decoder_start_token_id", 58100)],
        unsupported: None,
    };
    let small = T5Config {
        vocab_size: 32128,
        d_model: 512,
        encoder: stack,
        decoder: stack,
        head_size: 64,
        activation: MlpActivation::Relu,
        gated: false,
        norm_eps: 1e-6,
    };
    let distilled = BertConfig {
        kind: BertKind::DistilBert,
        num_hidden_layers: 6,
        type_vocab_size: 0,
        ..base.clone()
    };
    // google-t5/t5-v1_1-small's differences; its heads are not d_model's.
    let mut gated = t5();
    gated["feed_forward_proj"] = json!("gated-gelu");
    gated["num_heads"] = json!(6);
    gated["num_decoder_layers"] = json!(8);
    let own = StackConfig { heads: 6, ..stack };
    let gated_small = T5Config {
        activation: MlpActivation::GeluTanh,
        gated: true,
        encoder: own,
        decoder: StackConfig { layers: 8, ..own },
        ..small.clone()
    };
    for (config, want) in [
        (vit(), BaseModel::Vit(image)),
        (bert(), BaseModel::Bert(base.clone())),
        (distilbert(), BaseModel::Bert(distilled)),
        (marian(), BaseModel::Marian(Box::new(opus))),
        (t5(), BaseModel::T5(small)),
        (gated, BaseModel::T5(gated_small)),
    ] {
        assert_eq!(parsed(&config).unwrap(), want);
    }
    for (name, kind) in [
        ("roberta", BertKind::Roberta),
        ("xlm-roberta", BertKind::Roberta),
        ("camembert", BertKind::Roberta),
        ("electra", BertKind::Electra),
    ] {
        let mut config = bert();
        config["model_type"] = json!(name);
        assert_eq!(parsed(&config).unwrap(), BaseModel::Bert(BertConfig { kind, ..base.clone() }));
    }
}

/// What a file leaves out is as in transformers' configs, and a square may be written as two.
#[test]
fn fields_left_out_have_transformers_values() {
    let mut config = vit();
    let fields = config.as_object_mut().unwrap();
    for name in ["hidden_act", "layer_norm_eps", "num_channels", "qkv_bias"] {
        assert!(fields.remove(name).is_some());
    }
    fields.insert("image_size".into(), json!([224, 224]));
    assert_eq!(parsed(&config).unwrap(), parsed(&vit()).unwrap());
    config["id2label"] = json!({"0": "LABEL_0", "1": "LABEL_1"});
    let BaseModel::Vit(unnamed) = parsed(&config).unwrap() else { panic!() };
    assert_eq!((unnamed.num_labels, unnamed.class_names), (Some(2), vec![]));
}

fn told(text: &mut String, what: &str, result: vlora::error::Result<impl Sized>) {
    let Err(error) = result else { panic!("{what}: accepted") };
    assert_eq!(error.exit_code(), 2, "{what}: {error}");
    writeln!(text, "# {what}\n{error}\n").unwrap();
}

#[test]
fn faulty_descriptions_are_reported() {
    let mut text = String::new();
    for (name, whole, edits) in [
        (
            "vit",
            vit(),
            vec![
                ("model_type", json!("Vit")),
                ("model_type", json!("vitt")),
                ("model_type", json!("llama")),
                ("model_type", json!(["vit"])),
                ("hidden_size", json!("768")),
                ("hidden_size", json!(768.5)),
                ("hidden_size", json!(-1)),
                ("hidden_size", json!(1u64 << 62)),
                ("num_hidden_layers", json!(1e300)),
                ("hidden_act", json!(3)),
                ("qkv_bias", json!("yes")),
                ("layer_norm_eps", json!("1e-12")),
                ("num_labels", json!({"a": 1})),
            ],
        ),
        (
            "bert",
            bert(),
            vec![
                ("vocab_size", Value::Null),
                ("vocab_size", json!(0)),
                ("num_attention_heads", json!(7)),
                ("hidden_act", json!("gelu2")),
            ],
        ),
        ("distilbert", distilbert(), vec![("dim", Value::Null), ("n_heads", json!(5))]),
        (
            "marian",
            marian(),
            vec![("decoder_layers", Value::Null), ("encoder_attention_heads", json!(3))],
        ),
        ("t5", t5(), vec![("d_kv", json!(0)), ("feed_forward_proj", json!("gated-relu"))]),
    ] {
        for (field, value) in edits {
            let mut config = whole.clone();
            config[field] = value.clone();
            if field == "num_labels" {
                config["id2label"] = Value::Null;
            }
            told(&mut text, &format!("{name}: {field}: {value}"), parsed(&config));
        }
    }
    for (what, config) in [
        ("nothing", json!({})),
        ("a list", json!([])),
        ("a class of transformers", json!({"architectures": ["MarianMTModel"]})),
        ("another class", json!({"architectures": ["LlamaForCausalLM"]})),
    ] {
        told(&mut text, what, parsed(&config));
    }
    let deep = "[".repeat(100_000);
    told(&mut text, "deep JSON", BaseModel::parse(Path::new(CONFIG), deep.as_bytes()));
    told(&mut text, "no text", BaseModel::parse(Path::new(CONFIG), &[0xff]));
    // Recognised, and said why it is no start for training.
    let mut roberta = bert();
    roberta["model_type"] = json!("roberta");
    for config in [roberta, t5()] {
        let base = parsed(&config).unwrap();
        told(
            &mut text,
            &format!("training {}", config["model_type"]),
            base.trainable(Path::new(CONFIG)),
        );
    }
    for config in [vit(), bert(), distilbert(), marian()] {
        parsed(&config).unwrap().trainable(Path::new(CONFIG)).unwrap();
    }
    insta::assert_snapshot!(text);
}

/// A folder of a text model with this tokenizer.
fn folder(config: &Value, tokenizer: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
    if let Some(text) = tokenizer {
        std::fs::write(dir.path().join(TOKENIZER), text).unwrap();
    }
    dir
}

#[test]
fn a_tokenizer_fits_its_models_embedding() {
    let mut small = bert();
    small["vocab_size"] = json!(4);
    let tokenizer = |last: u64, added: u64| {
        json!({
            "version": "1.0",
            "added_tokens": [{"id": added, "content": "[MASK]", "special": true}],
            "model": {"type": "WordPiece", "vocab": {"[PAD]": 0, "the": 1, "##s": last}}
        })
        .to_string()
    };
    let read = |tokenizer: Option<&str>| read_base(folder(&small, tokenizer).path());
    assert!(read(None).is_ok() && read(Some(&tokenizer(2, 3))).is_ok());
    for (text, part) in [
        (tokenizer(4, 3), "token \"##s\" with number 4"),
        (tokenizer(2, 4), "token \"[MASK]\" with number 4"),
        ("{".into(), "tokenizer.json: the tokenizer cannot be used"),
        ("{}".into(), "model: the tokenizer cannot be used"),
    ] {
        let error = read(Some(&text)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    }
    // An image model's folder has no tokenizer to hold to it.
    assert!(read_base(folder(&vit(), Some("{")).path()).is_ok());
}

/// The error about weights of an unknown format says which model the config.json beside them is of.
#[test]
fn another_models_weights_are_named_by_its_description() {
    let refused = |config: &Value| {
        let dir = folder(config, None);
        let tensor =
            candle_core::Tensor::ones(2, candle_core::DType::F32, &candle_core::Device::Cpu);
        let tensors = [("model.encoder.layers.0.mixer.weight", tensor.unwrap())];
        candle_core::safetensors::save(&HashMap::from(tensors), dir.path().join(MODEL)).unwrap();
        let error = read_checkpoint(dir.path(), &Hints::default()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let spectrum = read_layers(dir.path(), None, None).unwrap_err().to_string();
        let base = parsed(config).map_or(String::new(), |base| format!(" of {base}"));
        assert!(spectrum.contains(&format!("1 tensors{base}, the first model.")), "{spectrum}");
        error.to_string()
    };
    let error = refused(&t5());
    for part in ["config.json: ", "cannot be trained", "T5, encoder 6 + decoder 6, d_model 512"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(refused(&json!({"model_type": "llama"})).contains("the architecture is not supported"));
    for config in [vit(), marian(), json!({})] {
        assert!(refused(&config).contains("the checkpoint's format is not known"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a description's bytes, it is read or refused.
    #[test]
    fn damaged_descriptions_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        which in 0..5usize,
    ) {
        let whole = [vit, bert, distilbert, marian, t5][which]();
        let mut bytes = whole.to_string().into_bytes();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(base) = BaseModel::parse(Path::new(CONFIG), &bytes) {
            let _ = (base.to_string(), base.trainable(Path::new(CONFIG)).is_ok());
        }
    }

    /// The same for values of another kind in a sound description.
    #[test]
    fn fields_of_any_value_never_panic(which in 0..5usize, field in any::<prop::sample::Index>(), value in 0..9usize) {
        let mut config = [vit, bert, distilbert, marian, t5][which]();
        let values = [json!(null), json!(0), json!(-3), json!(u64::MAX), json!(1e308), json!(""), json!([[]]), json!({"0": {}}), json!(true)];
        let fields = config.as_object_mut().unwrap();
        let name = fields.keys().nth(field.index(fields.len())).unwrap().clone();
        fields.insert(name, values[value].clone());
        if let Ok(base) = parsed(&config) {
            let _ = (base.to_string(), base.vocab_size());
        }
    }
}
