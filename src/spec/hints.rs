//! What was probably meant: the field that a name stands for, wherever it was written.
//!
//! One mechanism for every unknown field at any level of a spec, an arm, the sweep and `--set`. In
//! this order: a field of the same section with nearly this name; a name of other programs
//! ([`OTHER_NAMES`]); a field of this name in another section; less likely names.

use serde::de::Unexpected;

use super::error::{SpecError, nearest_from};
use super::expand::EXPERIMENT_FIELDS;
use super::node::Origin;
use super::{fields, last_field};

/// A likeness that leaves no doubt, as of `haeds` and `heads`.
const SURE: f64 = 0.75;

/// What other programs call a field, the fields of a spec that it may be, and what must be known
/// besides.
struct OtherName {
    names: &'static [&'static str],
    fields: &'static [&'static str],
    remark: &'static str,
}

const fn other(
    names: &'static [&'static str],
    fields: &'static [&'static str],
    remark: &'static str,
) -> OtherName {
    OtherName { names, fields, remark }
}

/// In lower case, with `_` between words; with a section in front where the name means this there
/// alone. Names that are a field's own last word need no entry.
const OTHER_NAMES: &[OtherName] = &[
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
        &["training.epochs"],
        "training is counted in epochs",
    ),
    other(
        &["warmup", "warm_up", "warmup_steps", "warmup_epochs", "num_warmup_steps", "warmup_iters"],
        &["training.warmup_ratio"],
        "it is a share of all steps",
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
        &["save_best", "early_stopping", "patience", "load_best_model_at_end"],
        &["training.select"],
        "`best` tests the weights of the best epoch; training is never cut short",
    ),
    other(
        &["optimizer", "optimiser", "optim", "opt"],
        &[],
        "AdamW is the one optimiser; `training` has its learning_rate, weight_decay, beta1, beta2 \
         and epsilon",
    ),
    other(
        &["scheduler", "lr_scheduler", "lr_schedule", "schedule", "sched", "lr_scheduler_type"],
        &[],
        "the rate rises linearly, then falls on a cosine; `training` has warmup_ratio and \
         min_learning_rate_ratio",
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
        &["drop_rate", "drop", "drop_path", "drop_path_rate", "attn_drop", "attn_drop_rate"],
        &["lora.dropout"],
        "the model itself has no dropout",
    ),
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
    other(&["crop", "padding", "random_crop"], &["data.augment.crop_padding"], ""),
    other(
        &["flip", "hflip", "random_flip", "random_horizontal_flip"],
        &["data.augment.horizontal_flip"],
        "",
    ),
    // What a run starts from.
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
    // The experiment.
    other(
        &["match"],
        &[],
        "an arm is matched to another: `match: {arm: NAME, by: width}` stands in the arm",
    ),
    other(
        &["eval_every", "eval_steps", "eval_interval", "validate_every", "val_check_interval"],
        &[],
        "validation is once an epoch",
    ),
    other(
        &["save_every", "save_steps", "checkpoint_every", "logging_steps", "log_every", "resume"],
        &[],
        "every step is recorded, and an interrupted run goes on from its last whole epoch",
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
        "the device is the command's: `--device cuda`",
    ),
    other(
        &["out", "output", "output_dir", "out_dir", "save_dir", "results", "log_dir"],
        &[],
        "the folder of results is the command's: `--out FOLDER`",
    ),
    other(
        &["workers", "num_workers", "jobs", "threads"],
        &[],
        "runs at a time are the command's: `vlora run --jobs N`",
    ),
    other(
        &["metric", "metrics", "loss", "criterion", "loss_fn"],
        &[],
        "the task decides on loss and metric",
    ),
];

/// What other programs call a value, by the fields that it is a value of.
const OTHER_VALUES: &[(&[&str], &[&str], &str)] = &[
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
        &["classification", "image_classification"],
        "did you mean `image-classification`?",
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
        &["all", "all-linear"],
        "all four matrices are the default: leave `targets` out",
    ),
];

/// The field that is meant where a section is given as one value, as in `start: baseline`.
const OF_SECTION: &[(&str, &[&str])] = &[
    ("data", &["embedded", "hub", "path"]),
    ("model", &["architecture"]),
    ("start", &["arm", "checkpoint", "hub"]),
    ("vlora", &["rank"]),
    ("lora", &["rank"]),
    ("training", &["epochs"]),
];

/// The fault with what was probably meant, where its place tells.
pub fn complete(error: SpecError) -> SpecError {
    let Some(origin) = error.origin().cloned() else { return error };
    let place = Place::of(&origin);
    if let Some(found) = error.unknown_value_found() {
        let field = place.path.join(".");
        let field = field.trim_end_matches(".target");
        let found = found.trim().to_lowercase();
        let known = OTHER_VALUES
            .iter()
            .find(|(of, names, _)| of.contains(&field) && names.contains(&&*found));
        return match known {
            Some((_, _, help)) => error.help(*help),
            None => error,
        };
    }
    if let Some(found) = error.value_for_section() {
        let section = place.path.join(".");
        let help = for_section(&section, found);
        let names = fields::of_section(&section).unwrap_or_default();
        let error = match names.is_empty() {
            true => error,
            false => error.expected(format!("a mapping of fields, of {}", names.join(", "))),
        };
        return match help {
            Some(help) => error.help(help),
            None => error,
        };
    }
    let help = error.unknown_field().and_then(|(found, names)| place.help(found, names));
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// What was meant by `found` in a section's place.
fn for_section(section: &str, found: &str) -> Option<String> {
    let (_, own) = OF_SECTION.iter().find(|(name, _)| *name == section)?;
    // A number is no name and a name no number.
    let named = ["data", "model", "start"].contains(&section);
    if found.is_empty() || named != found.parse::<f64>().is_err() {
        return None;
    }
    let (first, others) = own.split_first()?;
    let others: Vec<String> = others.iter().map(|own| format!("`{own}`")).collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!(" Instead of `{first}` it may be {}", others.join(" or ")),
    };
    Some(format!("did you mean `{section}: {{{first}: {found}}}`?{others}"))
}

/// `learningRate`, `learning-rate` and `Learning_Rate` are `learning_rate`.
fn plain(name: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in name.trim().chars() {
        if c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit()) {
            out.push('_');
        }
        match c {
            '-' | ' ' => out.push('_'),
            c => out.extend(c.to_lowercase()),
        }
        before = c;
    }
    out
}

/// Where an unknown field was written.
struct Place<'a> {
    origin: &'a Origin,
    /// From the run down.
    path: Vec<&'a str>,
}

impl<'a> Place<'a> {
    fn of(origin: &'a Origin) -> Place<'a> {
        Place { origin, path: origin.run_path() }
    }

    /// What to say of the unknown field `found`, in whose place one of `names` could stand.
    fn help(&self, found: &str, names: &[&'static str]) -> Option<String> {
        // A dotted name in a file: `training.lr: 3`. In `--set` and the sweep it is split already.
        let typed: Vec<&str> = found.split('.').collect();
        let at = self.path.iter().position(|key| *key == found);
        let (section, mut rest) = match at {
            Some(at) => (self.path[..at].join("."), self.path[at + 1..].to_vec()),
            // In a mapping of a `--set`.
            None => (self.path.join("."), Vec::new()),
        };
        rest.splice(0..0, typed.iter().skip(1).copied());
        let name = plain(typed[0]);
        let last = rest.last().map(|last| plain(last));
        let within = |name: &str| match section.is_empty() {
            true => name.to_string(),
            false => format!("{section}.{name}"),
        };
        let near = |enough: f64, name: &str| {
            nearest_from(enough, name, names.iter().copied()).map(|name| (vec![within(name)], ""))
        };
        let known = |name: &str| named(name, &section).or_else(|| elsewhere(name, &section));
        let below = |field: &str| -> Option<Candidates> {
            let section = nearest_from(0.5, &name, names.iter().copied())?;
            let path = [&*within(section), &rest[..rest.len() - 1].join("."), field];
            let path = path.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(".");
            fields::is_known(&path).then(|| (vec![path], ""))
        };
        let likely = match &last {
            // What the deepest name says is more than what its section is called.
            Some(last) => below(last).or_else(|| known(last)).or_else(|| near(SURE, &name)),
            None => near(SURE, &name),
        };
        // In a mapping of a `--set`, or in the file.
        let nested = at.is_none();
        let (candidates, remark) = likely
            .or_else(|| known(&name))
            .or_else(|| near(0.5, &name))
            .or_else(|| likely_elsewhere(&name))?;
        if candidates.is_empty() {
            return Some(remark.into());
        }
        // A part of the section, as a target with a rank of its own, may have the same field.
        let first = section.split('.').next().unwrap_or_default();
        let own = |field: &&String| field.starts_with(&format!("{first}."));
        let mut own = candidates.iter().filter(own).map(|field| last_field(field));
        let own = own.find(|last| names.contains(last));
        let candidates = match own.filter(|_| rest.is_empty()) {
            Some(own) => vec![within(own)],
            None => candidates,
        };
        let written = candidates.iter().flat_map(|field| self.fields_of(field));
        let written: Vec<String> = written
            .map(|field| match field.rsplit_once('.') {
                Some((above, own)) if nested && above == section => format!("`{own}`"),
                _ => self.written(&field, &section),
            })
            .collect();
        let remark = if remark.is_empty() { String::new() } else { format!(" ({remark})") };
        Some(format!("did you mean {}?{remark}", written.join(" or ")))
    }

    /// The field itself, or those of a section that is `--set` to a single value.
    fn fields_of(&self, field: &str) -> Vec<String> {
        let own = OF_SECTION.iter().find(|(section, _)| *section == field);
        match (self.origin, own) {
            (Origin::Set(argument), Some((_, own))) if !argument.contains(['{', '[']) => {
                own.iter().map(|own| format!("{field}.{own}")).collect()
            }
            _ => vec![field.to_string()],
        }
    }

    /// The field as it is to be written in this place; `section` is where the faulty one stands.
    fn written(&self, field: &str, section: &str) -> String {
        let of_experiment = EXPERIMENT_FIELDS.contains(&field);
        if let Origin::Set(argument) = self.origin {
            let value = argument.split_once('=').map_or("…", |(_, value)| value);
            let value = match value {
                mapping if mapping.contains('{') => "…".to_string(),
                "true" | "false" if field.starts_with("start.") => "…".to_string(),
                one if field == "seeds" && !one.starts_with('[') => format!("[{one}]"),
                other => other.to_string(),
            };
            let before = match self.origin.arm() {
                Some(arm) if !of_experiment => format!("arms.{arm}."),
                _ if self.origin.is_swept() && !of_experiment => "sweep.".to_string(),
                _ => String::new(),
            };
            return match value.contains(' ') {
                true => format!("`--set '{before}{field}={value}'`"),
                false => format!("`--set {before}{field}={value}`"),
            };
        }
        if of_experiment {
            return match section.is_empty()
                && self.origin.arm().is_none()
                && !self.origin.is_swept()
            {
                true => format!("`{field}`"),
                false => format!("`{field}` at the top of the spec"),
            };
        }
        if self.origin.is_swept() {
            return format!("`{field}`");
        }
        match field.rsplit_once('.') {
            Some((above, own)) if above == section => format!("`{own}`"),
            None if section.is_empty() => format!("`{field}`"),
            _ => {
                let nested =
                    field.rsplit('.').fold(String::new(), |inner, key| match inner.is_empty() {
                        true => format!("{key}: …"),
                        false => format!("{key}: {{{inner}}}"),
                    });
                let place = if self.origin.arm().is_some() { " in the arm" } else { "" };
                format!("`{field}`, that is `{nested}`{place}")
            }
        }
    }
}

type Candidates = (Vec<String>, &'static str);

/// The fields that other programs call so; of the own section alone where it has one of them.
fn named(name: &str, section: &str) -> Option<Candidates> {
    let lookup = |name: &str| OTHER_NAMES.iter().find(|entry| entry.names.contains(&name));
    let first = section.split('.').next().unwrap_or_default();
    let entry = lookup(&format!("{first}.{name}")).or_else(|| lookup(name))?;
    let fields = entry.fields.iter().map(|field| field.to_string()).collect();
    Some((of_section(fields, section), entry.remark))
}

/// The fields of this name in other sections.
fn elsewhere(name: &str, section: &str) -> Option<Candidates> {
    let ends = |path: &&str| path.rsplit('.').next() == Some(name);
    let all = fields::paths().iter().map(String::as_str).chain(EXPERIMENT_FIELDS);
    let found: Vec<String> = all.filter(ends).map(str::to_string).collect();
    (!found.is_empty()).then(|| (of_section(found, section), ""))
}

/// Those of the section, or all where it has none of them.
fn of_section(fields: Vec<String>, section: &str) -> Vec<String> {
    let first = section.split('.').next().unwrap_or_default();
    let own = |field: &&String| !first.is_empty() && field.starts_with(&format!("{first}."));
    match fields.iter().any(|field| own(&field)) {
        true => fields.iter().filter(own).cloned().collect(),
        false => fields,
    }
}

/// The field of any section whose last word is nearly this.
fn likely_elsewhere(name: &str) -> Option<Candidates> {
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let names = fields::paths().iter().map(|path| last(path)).chain(EXPERIMENT_FIELDS);
    let near = nearest_from(SURE, name, names)?;
    elsewhere(near, "")
}

/// What to do about a value of the wrong type, where it is a trap of YAML.
pub fn of_type(found: Unexpected, expected: &str) -> Option<String> {
    let number = expected.contains("number");
    Some(match found {
        Unexpected::Str(text) if expected == "true or false" => {
            match text.trim().to_lowercase().as_str() {
                "yes" | "y" | "on" | "true" => "write `true`, without quotes".into(),
                "no" | "n" | "off" | "false" => "write `false`, without quotes".into(),
                _ => return None,
            }
        }
        Unexpected::Unsigned(0) if expected == "true or false" => "write `false`".into(),
        Unexpected::Unsigned(1) if expected == "true or false" => "write `true`".into(),
        Unexpected::Str(text) if number => of_number(text)?,
        Unexpected::Float(x) if number && x.fract() == 0.0 && (0.0..1e15).contains(&x) => {
            format!("write it without a point or an exponent: {x}")
        }
        Unexpected::Unsigned(n) if expected == "text" => format!("write it in quotes: '{n}'"),
        Unexpected::Signed(n) if expected == "text" => format!("write it in quotes: '{n}'"),
        Unexpected::Float(x) if expected == "text" => format!("write it in quotes: '{x}'"),
        Unexpected::Bool(b) if expected == "text" => format!("write it in quotes: '{b}'"),
        Unexpected::Str(text) if expected == "a list" && text.contains(',') => {
            format!("write it in brackets: [{text}]")
        }
        // What `data.validation` and `data.test` take.
        Unexpected::Unit if expected.starts_with("a split") => {
            "every run is tested; `{fraction: 0.1}` takes a tenth of the training split".into()
        }
        Unexpected::Float(x) if expected.starts_with("a split") && x > 0.0 && x < 1.0 => {
            format!("a part of the training split is `{{fraction: {x}}}`")
        }
        Unexpected::Bool(_) | Unexpected::Unsigned(0) if expected.starts_with("a split") => {
            "`validation: null` trains without validation; every run is tested".into()
        }
        Unexpected::Str(_) | Unexpected::Unsigned(_) | Unexpected::Float(_)
            if expected == "a list" =>
        {
            "a list stands in brackets, as in [1, 2]".into()
        }
        _ => return None,
    })
}

/// A number that YAML reads as text.
fn of_number(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(share) = text.strip_suffix('%').and_then(|share| share.trim().parse::<f64>().ok()) {
        return Some(format!("write it as a number: {}", share / 100.0));
    }
    let bare: String = text.chars().filter(|c| !matches!(c, '_' | ',' | '\'' | ' ')).collect();
    let value: f64 = bare.parse().ok().filter(|value: &f64| value.is_finite())?;
    let leading =
        bare.len() > 1 && bare.starts_with('0') && bare.bytes().all(|b| b.is_ascii_digit());
    Some(match (bare == text, leading) {
        (true, false) => format!("write it without quotes: {text}"),
        // The digits as they were, since a large number has no exact value here.
        (true, true) => format!("write it without leading zeros: {}", value),
        (false, _) => format!("write the digits alone: {bare}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn other_names_lead_to_fields_that_there_are() {
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
        for (section, own) in OF_SECTION {
            assert!(
                own.iter().all(|own| fields::is_known(&format!("{section}.{own}"))),
                "{section}"
            );
        }
        for (fields, names, _) in OTHER_VALUES {
            assert!(fields.iter().all(|field| fields::is_known(field)), "{fields:?}");
            assert!(names.iter().all(|name| name.to_lowercase() == **name), "{names:?}");
        }
    }

    #[test]
    fn names_are_compared_in_one_form() {
        for name in ["learningRate", "learning-rate", " Learning_Rate", "learning rate"] {
            assert_eq!(plain(name), "learning_rate");
        }
        assert_eq!(
            (&*plain("numHeads"), &*plain("LR"), &*plain("mlp2Dim")),
            ("num_heads", "lr", "mlp2_dim")
        );
    }
}
