//! Names that other programs use for the fields and values of a spec.

/// Names from other programs, the spec fields they may mean, and a remark for the user.
pub struct OtherName {
    pub names: &'static [&'static str],
    pub fields: &'static [&'static str],
    pub remark: &'static str,
}

const fn other(
    names: &'static [&'static str],
    fields: &'static [&'static str],
    remark: &'static str,
) -> OtherName {
    OtherName { names, fields, remark }
}

/// Names are in lower case, with `_` between words. A name has a section in front if it means this
/// only there. Names that equal the last part of a field need no entry.
pub const OTHER_NAMES: &[OtherName] = &[
    // Training.
    other(
        &["lr", "learn_rate", "max_lr", "peak_lr", "base_lr", "learning_rates", "lrs"],
        &["training.learning_rate"],
        "",
    ),
    other(
        &["min_lr", "lr_min", "final_lr", "eta_min", "min_learning_rate"],
        &["training.min_learning_rate_ratio"],
        "it is a share of learning_rate",
    ),
    other(&["wd", "decay", "l2"], &["training.weight_decay"], ""),
    other(
        &[
            "bs",
            "batch",
            "train_batch_size",
            "per_device_train_batch_size",
            "micro_batch_size",
            "mini_batch_size",
        ],
        &["training.batch_size"],
        "",
    ),
    other(
        &[
            "grad_accum",
            "accum",
            "accumulation_steps",
            "grad_accum_steps",
            "gradient_accumulation",
            "gradient_accumulation_steps",
            "accumulate_grad_batches",
        ],
        &["training.accumulation"],
        "",
    ),
    other(
        &["epoch", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs", "train_epochs"],
        &["training.epochs"],
        "",
    ),
    other(
        &[
            "steps",
            "max_steps",
            "num_steps",
            "train_steps",
            "total_steps",
            "iterations",
            "max_iters",
        ],
        &["training.steps"],
        "training ends after so many, within an epoch if need be",
    ),
    other(&["num_warmup_steps", "warmup_iters", "warmup_updates"], &["training.warmup_steps"], ""),
    other(
        &["warmup", "warm_up", "warmup_epochs"],
        &["training.warmup_ratio", "training.warmup_steps"],
        "the ratio is a share of all steps",
    ),
    other(&["betas", "adam_betas", "momentum"], &["training.beta1", "training.beta2"], ""),
    other(&["adam_beta1", "b1"], &["training.beta1"], ""),
    other(&["adam_beta2", "b2"], &["training.beta2"], ""),
    other(&["eps", "adam_epsilon", "adam_eps"], &["training.epsilon", "model.norm_eps"], ""),
    other(
        &[
            "clip",
            "clip_grad",
            "grad_clip",
            "max_norm",
            "max_grad_norm",
            "gradient_clip",
            "gradient_clip_val",
            "gradient_clipping",
        ],
        &["training.clip_norm"],
        "",
    ),
    other(&["smoothing", "label_smooth"], &["training.label_smoothing"], ""),
    other(
        &["save_best", "load_best_model_at_end"],
        &["training.select"],
        "`best` tests the weights of the best epoch",
    ),
    other(
        &["early_stopping", "early_stopping_patience", "early_stop", "stop_early"],
        &["training.patience"],
        "with `training.select: best` or `best-loss`",
    ),
    other(
        &["optimizer", "optimiser", "optim", "opt"],
        &[],
        "AdamW is the one optimiser; `training` has its learning_rate, weight_decay, beta1, beta2 \
         and epsilon",
    ),
    other(
        &["scheduler", "lr_scheduler", "lr_schedule", "sched", "lr_scheduler_type"],
        &["training.schedule"],
        "`training` also has warmup_ratio, warmup_steps and min_learning_rate_ratio",
    ),
    other(
        &["average_checkpoints", "num_epoch_checkpoints", "avg_last", "average"],
        &["training.average_last"],
        "",
    ),
    other(
        &["ema", "model_ema", "model_ema_decay", "exponential_moving_average"],
        &["training.ema_decay"],
        "",
    ),
    other(&["train", "trainer", "optimization", "hyperparameters"], &["training"], ""),
    // The model.
    other(
        &["width", "hidden_size", "embed_dim", "hidden_dim", "d_model", "n_embd", "embedding_dim"],
        &["model.dim"],
        "",
    ),
    other(
        &[
            "layers",
            "num_layers",
            "n_layers",
            "n_layer",
            "num_hidden_layers",
            "num_blocks",
            "blocks",
        ],
        &["model.depth"],
        "",
    ),
    other(
        &["num_heads", "n_heads", "n_head", "nhead", "num_attention_heads", "attention_heads"],
        &["model.heads"],
        "",
    ),
    other(
        &["num_classes", "n_classes", "nb_classes", "num_labels", "n_class", "num_class"],
        &["model.classes"],
        "",
    ),
    other(
        &["img_size", "imgsz", "input_size", "image_dim", "resolution", "size"],
        &["model.image_size"],
        "",
    ),
    other(&["in_chans", "in_channels", "num_channels", "n_channels"], &["model.channels"], ""),
    other(&["patch"], &["model.patch_size"], ""),
    other(
        &["mlp_dim", "intermediate_size", "ffn_dim", "dim_feedforward", "mlp_hidden", "hidden"],
        &["model.mlp_ratio"],
        "it is the hidden width over dim",
    ),
    other(&["global_pool", "pooling", "pool_type"], &["model.pool"], ""),
    other(
        &["layer_norm_eps", "layer_norm_epsilon", "ln_eps", "norm_epsilon"],
        &["model.norm_eps"],
        "",
    ),
    other(
        &["arch", "backbone", "model_type", "model.name", "model.type"],
        &["model.architecture"],
        "",
    ),
    other(
        &["drop_rate", "drop", "hidden_dropout_prob"],
        &["model.dropout", "lora.dropout"],
        "timm's `drop_rate` of a ViT is of its head alone, which has none here",
    ),
    other(
        &["attn_drop", "attn_drop_rate", "attn_dropout", "attention_probs_dropout_prob"],
        &["model.attention_dropout"],
        "",
    ),
    other(
        &["vocab_size", "vocab", "n_vocab", "vocabulary_size"],
        &["model.vocabulary", "data.tokenizer.vocabulary"],
        "",
    ),
    other(
        &["max_position_embeddings", "n_positions", "max_positions", "block_size"],
        &["model.positions"],
        "",
    ),
    other(&["type_vocab_size", "segments"], &["model.token_types"], ""),
    other(
        &["hidden_act", "act", "act_layer", "activation_function", "nonlinearity"],
        &["model.activation"],
        "a Vision Transformer has GELU",
    ),
    // Translation.
    other(&["num_encoder_layers", "encoder_layers", "encoder_depth"], &["model.depth"], ""),
    other(&["num_decoder_layers", "decoder_layers"], &["model.decoder_depth"], ""),
    other(&["norm_first", "prenorm", "pre_norm"], &["model.norm"], "`pre` or `post`"),
    other(&["drop_path", "drop_path_rate", "droppath"], &["model.stochastic_depth"], ""),
    other(&["proj_drop", "proj_drop_rate"], &["model.dropout"], ""),
    other(&["act_dropout", "relu_dropout"], &["model.activation_dropout"], ""),
    other(&["share_all_embeddings", "shared_embeddings"], &["model.shared_embedding"], ""),
    other(&["src_vocab_size", "src_vocab", "source_vocab"], &["model.source_vocabulary"], ""),
    other(
        &["tgt_vocab_size", "trg_vocab_size", "tgt_vocab", "target_vocab"],
        &["model.target_vocabulary"],
        "",
    ),
    other(&["src", "src_lang", "source_lang"], &["data.source_column"], ""),
    other(&["tgt", "trg", "target", "tgt_lang", "target_lang"], &["data.target_column"], ""),
    other(&["beam_size", "num_beams", "beam_width"], &["data.decoding.beam"], ""),
    other(&["lenpen", "len_penalty"], &["data.decoding.length_penalty"], ""),
    other(&["max_len_a"], &["data.decoding.length_ratio"], ""),
    other(&["max_len_b"], &["data.decoding.extra_tokens"], ""),
    other(
        &["bucket", "bucketing", "sort_within_batch", "length_buckets"],
        &["data.group_by_length"],
        "",
    ),
    other(&["max_tokens_per_batch", "tokens_per_batch"], &["data.batch_tokens"], ""),
    other(&["min_freq", "min_frequency", "min_count"], &["data.tokenizer.minimum_count"], ""),
    // Increments and LoRA.
    other(&["rank", "r", "ranks"], &["vlora.rank", "lora.rank"], ""),
    other(&["vlora_rank", "vl_rank", "increment_rank"], &["vlora.rank"], ""),
    other(&["lora_rank", "lora_r"], &["lora.rank"], ""),
    other(&["alpha", "scaling", "scale"], &["vlora.alpha", "lora.alpha"], ""),
    other(&["vlora_alpha"], &["vlora.alpha"], ""),
    other(&["lora_alpha"], &["lora.alpha"], ""),
    other(&["lora_dropout"], &["lora.dropout"], ""),
    other(&["target_modules", "modules", "lora_targets"], &["vlora.targets", "lora.targets"], ""),
    other(&["modules_to_save", "train_head"], &["lora.also_train"], ""),
    other(
        &["compound", "group_size", "compound_length", "layers_per_compound", "sharing"],
        &["vlora.compound_size"],
        "",
    ),
    // Data.
    other(&["dataset", "datasets", "data_set", "dataloader"], &["data"], ""),
    other(
        &["dataset_name", "dataset_id", "source"],
        &["data.hub", "data.path", "data.embedded"],
        "",
    ),
    other(
        &["data_dir", "data_path", "dataset_path", "root", "folder", "dir", "directory"],
        &["data.path"],
        "",
    ),
    other(
        &["repo", "repo_id", "hf", "hf_repo", "huggingface", "hub_id"],
        &["data.hub", "start.hub"],
        "",
    ),
    other(&["subset", "config_name", "dataset_config"], &["data.config"], ""),
    other(&["data.name", "data.id"], &["data.hub", "data.embedded", "data.config"], ""),
    other(&["data.split", "data.splits"], &["data.train", "data.validation", "data.test"], ""),
    other(&["data.seed", "split_seed"], &["data.validation.seed", "data.test.seed"], ""),
    other(
        &["val", "valid", "dev", "val_split", "validation_split", "eval", "eval_split"],
        &["data.validation"],
        "",
    ),
    other(&["train_split"], &["data.train"], ""),
    other(&["test_split"], &["data.test"], ""),
    other(
        &["val_fraction", "val_ratio", "val_size", "validation_fraction", "validation_ratio"],
        &["data.validation.fraction"],
        "",
    ),
    other(&["test_fraction", "test_size", "test_ratio"], &["data.test.fraction"], ""),
    other(&["image", "images", "image_key", "img_key", "img_column"], &["data.image_column"], ""),
    other(
        &["text", "texts", "sentence", "sentence1", "premise", "text_key", "text_field"],
        &["data.text_column"],
        "",
    ),
    other(&["sentence2", "hypothesis", "text_pair", "second_column"], &["data.pair_column"], ""),
    other(
        &[
            "max_length",
            "max_len",
            "max_seq_length",
            "max_seq_len",
            "seq_len",
            "sequence_length",
            "truncation",
        ],
        &["data.max_tokens"],
        "",
    ),
    other(
        &["context", "context_length", "context_window", "window_size", "ctx_len"],
        &["data.window", "model.positions"],
        "",
    ),
    other(&["doc_stride", "window_stride", "overlap"], &["data.stride"], ""),
    other(
        &["tokenizer_name", "tokenizer_path", "tokenizer_name_or_path"],
        &["data.tokenizer.hub", "data.tokenizer.path"],
        "",
    ),
    other(&["do_lower_case", "lower_case", "uncased"], &["data.tokenizer.lowercase"], ""),
    other(&["label", "labels", "label_key", "target_column"], &["data.label_column"], ""),
    other(
        &["normalization", "normalisation", "norm", "image_mean", "image_std"],
        &["data.normalize"],
        "",
    ),
    other(
        &["augmentation", "augmentations", "transform", "transforms", "preprocessing"],
        &["data.augment"],
        "",
    ),
    other(&["padding", "random_crop"], &["data.augment.crop_padding"], ""),
    other(&["crop"], &["data.crop", "data.augment.crop_padding"], ""),
    other(&["center_crop", "centre_crop"], &["data.crop"], ""),
    other(&["data.scale"], &["data.augment.random_resized_crop.scale"], ""),
    other(&["resample", "resize_mode"], &["data.interpolation"], ""),
    other(
        &["flip", "hflip", "random_flip", "random_horizontal_flip"],
        &["data.augment.horizontal_flip"],
        "",
    ),
    other(
        &["autoaugment", "aa", "autoaug", "auto_augmentation", "policy"],
        &["data.augment.auto_augment"],
        "`data.augment` also has rand_augment",
    ),
    other(&["randaugment", "randaug"], &["data.augment.rand_augment"], ""),
    other(&["num_ops"], &["data.augment.rand_augment.operations"], ""),
    other(&["num_magnitude_bins"], &["data.augment.rand_augment.bins"], ""),
    other(
        &["random_erasing", "reprob", "erase", "re_prob", "random_erase", "cutout"],
        &["data.augment.erasing.probability"],
        "",
    ),
    other(&["mixup_alpha", "mixup"], &["data.augment.mix.mixup"], ""),
    other(&["cutmix_alpha", "cutmix"], &["data.augment.mix.cutmix"], ""),
    other(&["mixup_prob", "mix_prob"], &["data.augment.mix.probability"], ""),
    other(&["mixup_switch_prob", "switch_prob"], &["data.augment.mix.switch_probability"], ""),
    // Start weights.
    other(
        &[
            "pretrained",
            "ckpt",
            "weights",
            "init_from",
            "from_pretrained",
            "base_model",
            "model_name_or_path",
        ],
        &["start.checkpoint", "start.hub"],
        "",
    ),
    other(
        &["start.model", "start.path", "start.file", "start.weights", "start.name"],
        &["start.checkpoint", "start.hub"],
        "",
    ),
    other(&["start.from"], &["start.arm", "start.checkpoint", "start.hub"], ""),
    other(
        &["pos_embed", "position_embeddings", "interpolate_pos_encoding"],
        &["start.position_embedding"],
        "",
    ),
    // The experiment.
    other(
        &["match"],
        &[],
        "an arm is matched to another: `match: {arm: NAME, by: width}` stands in the arm",
    ),
    other(
        &["eval_every", "eval_steps", "eval_interval", "validate_every", "val_check_interval"],
        &[],
        "validation is once an epoch; `data.epoch_windows` sets an epoch's length (language modelling), \
         `data.decoding.validate_every` how often BLEU is computed (translation)",
    ),
    other(
        &["save_every", "save_steps", "checkpoint_every", "logging_steps", "log_every", "resume"],
        &[],
        "every step is recorded; `vlora run --checkpoint-steps N` or `--checkpoint-minutes M` writes checkpoints, and an \
         interrupted run resumes by itself",
    ),
    other(
        &["seed", "random_seed", "manual_seed", "num_seeds", "n_seeds"],
        &["seeds"],
        "a list, as in [0, 1, 2]",
    ),
    other(&["grid", "sweeps", "search"], &["sweep"], ""),
    other(&["variants", "methods", "models", "runs", "experiments"], &["arms"], ""),
    other(&["title", "experiment", "experiment_name", "run_name"], &["name"], ""),
    // The program.
    other(
        &["dtype", "amp", "fp16", "bf16", "mixed_precision", "torch_dtype", "fp32", "tf32"],
        &["precision"],
        "",
    ),
    other(
        &["device", "devices", "gpu", "gpus", "cuda", "accelerator"],
        &[],
        "set it on the command line: `--device cuda`",
    ),
    other(
        &["out", "output", "output_dir", "out_dir", "save_dir", "results", "log_dir"],
        &[],
        "set it on the command line: `--out FOLDER`",
    ),
    other(&["jobs"], &[], "how many runs train at once is set by `vlora run --jobs N`"),
    other(
        &["workers", "num_workers", "threads"],
        &[],
        "there is no such setting: batches are made on a thread of their own, and RAYON_NUM_THREADS sets the number of \
         CPU threads",
    ),
    other(
        &["metric", "metrics", "loss", "criterion", "loss_fn"],
        &[],
        "the task decides on loss and metric",
    ),
];

/// Values from other programs: the fields, the values, and the help for the user.
pub const OTHER_VALUES: &[(&[&str], &[&str], &str)] = &[
    (
        &["method"],
        &["lora"],
        "LoRA is the section `lora` of an arm that starts from other weights, as in \
         `{start: {arm: baseline}, lora: {rank: 4}}`",
    ),
    (&["method"], &["full", "baseline", "standard", "vit", "none"], "did you mean `dense`?"),
    (&["method"], &["vertical-lora", "vertical_lora", "vertical"], "did you mean `vlora`?"),
    (
        &["task"],
        &[
            "language_modelling",
            "language-modeling",
            "language_modeling",
            "lm",
            "causal-lm",
            "text-generation",
        ],
        "did you mean `language-modelling`?",
    ),
    (
        &["data.tokenizer"],
        &["char", "chars", "character", "char-level"],
        "did you mean `characters`?",
    ),
    (&["data.tokenizer"], &["byte", "byte-level"], "did you mean `bytes`?"),
    (
        &["data.tokenizer"],
        &["bpe", "byte-level-bpe", "gpt2"],
        "did you mean `{train: byte-level-bpe}`?",
    ),
    (
        &["task"],
        &["classification", "image_classification"],
        "did you mean `image-classification`, or `text-classification`?",
    ),
    (
        &["task"],
        &["text_classification", "sequence-classification", "sentiment-analysis", "sst2", "glue"],
        "did you mean `text-classification`?",
    ),
    (
        &["model.architecture"],
        &["bert", "minilm", "distilbert", "transformer", "transformer-encoder"],
        "did you mean `encoder`?",
    ),
    (&["model.architecture"], &["deit", "vision-transformer", "timm"], "did you mean `vit`?"),
    (&["model.pool"], &["cls", "token", "class_token", "first"], "did you mean `class-token`?"),
    (&["model.pool"], &["avg", "average", "gap", "global"], "did you mean `mean`?"),
    (&["vlora.reference"], &["first", "dense", "compound"], "did you mean `base`?"),
    (&["vlora.reference"], &["prev", "last", "before"], "did you mean `previous`?"),
    (&["vlora.init"], &["zero", "zeros"], "did you mean `lora`, which starts B at zero?"),
    (&["vlora.init"], &["kaiming", "kaiming_uniform", "default"], "did you mean `authors`?"),
    (&["training.select"], &["final", "end"], "did you mean `last`?"),
    (&["training.select"], &["val", "validation", "max"], "did you mean `best`?"),
    (
        &["precision"],
        &["half", "fp16", "float16", "f16", "mixed", "16", "amp"],
        "did you mean `bf16`? float16 is not computed in",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["qkv", "q", "k", "v", "q_proj", "k_proj", "v_proj", "query", "key", "value", "attention"],
        "did you mean `attn.qkv`? The three are one matrix",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["proj", "o_proj", "out_proj", "attn.out"],
        "did you mean `attn.proj`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["fc1", "up_proj", "intermediate", "linear1"],
        "did you mean `mlp.fc1`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["fc2", "down_proj", "linear2"],
        "did you mean `mlp.fc2`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["q", "q_proj", "query", "attention.query", "qkv", "attn.qkv", "attention", "attn"],
        "did you mean `attention.self.query`? `attention.self.key` and `attention.self.value` are \
         matrices of their own",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["k", "k_proj", "key", "attention.key"],
        "did you mean `attention.self.key`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["v", "v_proj", "value", "attention.value"],
        "did you mean `attention.self.value`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["proj", "o_proj", "out_proj", "attn.out", "attn.proj", "out_lin"],
        "did you mean `attention.output.dense`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["fc1", "up_proj", "intermediate", "linear1", "mlp.fc1", "lin1"],
        "did you mean `intermediate.dense`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["fc2", "down_proj", "linear2", "mlp.fc2", "output", "lin2"],
        "did you mean `output.dense`?",
    ),
    (
        &["vlora.targets", "lora.targets"],
        &["all", "all-linear"],
        "all matrices are the default: leave `targets` out",
    ),
];

/// The fields that may be meant if a section is given as one value, as in `start: baseline`.
pub const MAIN_FIELDS: &[(&str, &[&str])] = &[
    ("data", &["embedded", "hub", "path"]),
    ("model", &["architecture"]),
    ("start", &["arm", "checkpoint", "hub"]),
    ("vlora", &["rank"]),
    ("lora", &["rank"]),
    ("training", &["epochs"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::plain;
    use super::*;
    use crate::spec::expand::EXPERIMENT_FIELDS;
    use crate::spec::fields;

    #[test]
    fn other_names_lead_to_existing_fields() {
        let mut seen = BTreeSet::new();
        for entry in OTHER_NAMES {
            for field in entry.fields {
                assert!(fields::is_known(field) || EXPERIMENT_FIELDS.contains(field), "{field}");
            }
            assert!(!entry.fields.is_empty() || !entry.remark.is_empty(), "{:?}", entry.names);
            for name in entry.names {
                assert_eq!(plain(name), *name, "not in the form that is looked up");
                assert!(seen.insert(*name), "{name} stands in two entries");
            }
        }
        for (section, names) in MAIN_FIELDS {
            assert!(
                names.iter().all(|name| fields::is_known(&format!("{section}.{name}"))),
                "{section}"
            );
        }
        for (fields, names, _) in OTHER_VALUES {
            assert!(fields.iter().all(|field| fields::is_known(field)), "{fields:?}");
            assert!(names.iter().all(|name| name.to_lowercase() == **name), "{names:?}");
        }
    }
}
