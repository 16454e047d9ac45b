//! What a faulty spec's writer is told. Each case is one edit of a sound spec; the texts are held
//! in `tests/suite/snapshots/`.

use std::fmt::Write;

use proptest::prelude::*;
use vlora::{models, spec};

const SOUND: &str = "\
name: sound
task: image-classification
data:
  embedded: fashion-mnist-mini
  augment:
    crop_padding: 2
model:
  architecture: vit
  image_size: 28
  patch_size: 7
  channels: 1
  classes: 10
  dim: 64
  depth: 4
  heads: 4
vlora:
  compound_size: 4
  rank: 8
training:
  epochs: 3
  batch_size: 64
  learning_rate: 1.0e-3
arms:
  baseline: {method: dense}
  vlora:
    method: vlora
    vlora:
      alpha: 2
sweep:
  vlora.rank: [2, 4]
seeds: [0, 1]
";

/// Name, text to replace, replacement.
const EDITS: &[(&str, &str, &str)] = &[
    ("unknown top-level field", "seeds:", "sead:"),
    ("primary contrast that is no arm", "seeds:", "primary_contrast: vlara rank=2\nseeds:"),
    ("primary contrast of several points", "seeds:", "primary_contrast: vlora\nseeds:"),
    ("primary contrast of the baseline", "seeds:", "primary_contrast: baseline\nseeds:"),
    ("list for a primary contrast", "seeds:", "primary_contrast: [vlora]\nseeds:"),
    ("unknown field in a section", "  heads: 4", "  haeds: 4"),
    ("unknown field nothing is like", "  heads: 4", "  heads: 4\n  zzzzzz: 1"),
    ("unknown field in an arm's section", "      alpha: 2", "      alhpa: 2"),
    ("unknown field in an arm", "    method: vlora", "    metod: vlora"),
    ("an arm overrides what it cannot", "    method: vlora", "    seeds: [3]"),
    ("text for a number", "  dim: 64", "  dim: wide"),
    ("fraction for a whole number", "  depth: 4", "  depth: 4.5"),
    ("list for a number", "[2, 4]", "[[2], 4]"),
    (
        "number for a section",
        "training:\n  epochs: 3\n  batch_size: 64\n  learning_rate: 1.0e-3",
        "training: 5",
    ),
    (
        "a list for a section",
        "training:\n  epochs: 3\n  batch_size: 64\n  learning_rate: 1.0e-3",
        "training: [3]",
    ),
    ("a list for a section in a section", "    crop_padding: 2", "    mix: [0.8]"),
    (
        "training that is switched off",
        "training:\n  epochs: 3\n  batch_size: 64\n  learning_rate: 1.0e-3",
        "training: null",
    ),
    (
        "erasing what never fits",
        "    crop_padding: 2",
        "    erasing: {scale: [1, 1], ratio: [1, 1]}",
    ),
    ("text for true or false", "    crop_padding: 2", "    horizontal_flip: sometimes"),
    ("null for a number", "  classes: 10", "  classes: null"),
    ("rank larger than the matrix", "[2, 4]", "[2, 65]"),
    ("rank negative", "[2, 4]", "[2, -1]"),
    ("rank that is no number", "[2, 4]", "[2, half]"),
    (
        "a target's own rank too large",
        "      alpha: 2",
        "      targets: [attn.qkv, {target: mlp.fc1, rank: 65}]",
    ),
    (
        "a target's own alpha negative",
        "      alpha: 2",
        "      targets: [{target: mlp.fc1, alpha: -1}]",
    ),
    ("unknown field of a target", "      alpha: 2", "      targets: [{target: mlp.fc1, rnak: 3}]"),
    ("a vector with a rank", "      alpha: 2", "      targets: [{target: norm1.weight, rank: 3}]"),
    ("a target that is a number", "      alpha: 2", "      targets: [3]"),
    ("LoRA on nothing", "      alpha: 2", "      alpha: 2\n    lora: {rank: 2}"),
    ("start from nothing", "      alpha: 2", "      alpha: 2\n    start: {head: keep}"),
    (
        "start from two things",
        "      alpha: 2",
        "      alpha: 2\n    start: {arm: baseline, checkpoint: a.safetensors}",
    ),
    ("start from an unknown arm", "      alpha: 2", "      alpha: 2\n    start: {arm: basline}"),
    (
        "an alpha for what holds its own",
        "      alpha: 2",
        "      alpha: 2\n    start: {arm: baseline, alpha: 3}",
    ),
    ("start from itself", "      alpha: 2", "      alpha: 2\n    start: {arm: vlora}"),
    (
        "start from another model",
        "      alpha: 2",
        "      alpha: 2\n    start: {arm: baseline}\n    model: {dim: 32}",
    ),
    (
        "LoRA's rank too large",
        "      alpha: 2",
        "      alpha: 2\n    start: {arm: baseline}\n    lora: {rank: 65}",
    ),
    (
        "LoRA on a vector",
        "      alpha: 2",
        "      alpha: 2\n    start: {arm: baseline}\n    lora: {rank: 2, targets: [norm1.bias]}",
    ),
    (
        "LoRA that drops everything",
        "      alpha: 2",
        "      alpha: 2\n    start: {arm: baseline}\n    lora: {rank: 2, dropout: 1}",
    ),
    (
        "a new head that nothing trains",
        "      alpha: 2",
        "      alpha: 2\n    start: {arm: baseline, head: new}\n    lora: {rank: 2}",
    ),
    (
        "matched to an unknown arm",
        "  baseline: {method: dense}",
        "  baseline: {method: dense}\n  small: {match: {arm: vlroa, by: width}}",
    ),
    (
        "matched by an unknown measure",
        "  baseline: {method: dense}",
        "  baseline: {method: dense}\n  small: {match: {arm: vlora, by: heads}}",
    ),
    (
        "a matched arm that is not dense",
        "      alpha: 2",
        "      alpha: 2\n    match: {arm: baseline, by: width}",
    ),
    (
        "matched in a circle",
        "  baseline: {method: dense}",
        "  baseline: {method: dense}\n  a: {match: {arm: b, by: width}}\n  b: {match: {arm: a, by: depth}}",
    ),
    (
        "a matched baseline",
        "  baseline: {method: dense}",
        "  baseline: {match: {arm: vlora, by: width}}",
    ),
    ("norms without epsilon", "  heads: 4", "  heads: 4\n  norm_eps: 0"),
    ("depth not divisible by compound size", "  compound_size: 4", "  compound_size: 3"),
    ("layer map of another length", "  compound_size: 4", "  layers: [0, 1, 2]"),
    ("layer map with a hole", "  compound_size: 4", "  layers: [0, 2, 1, 0]"),
    ("layer map that begins late", "  compound_size: 4", "  layers: [1, 0, 1, 0]"),
    (
        "layer map beside compounds",
        "  compound_size: 4",
        "  compound_size: 4\n  layers: [0, 1, 0, 1]",
    ),
    ("layer map beside an order", "  compound_size: 4", "  layers: [0, 1, 0, 1]\n  sharing: cycle"),
    ("neither compounds nor a layer map", "  compound_size: 4\n", ""),
    (
        "all layers kept",
        "  compound_size: 4",
        "  compound_size: 1\n  keep_first: 2\n  keep_last: 2",
    ),
    (
        "compound size of more layers than share",
        "  compound_size: 4",
        "  compound_size: 4\n  keep_first: 1",
    ),
    ("unknown order", "  compound_size: 4", "  compound_size: 4\n  sharing: cyclic"),
    (
        "a vector shared twice",
        "  compound_size: 4",
        "  compound_size: 4\n  also_share: [norms]\n  targets: [attn.qkv, norm1.weight]",
    ),
    (
        "a group shared twice",
        "  compound_size: 4",
        "  compound_size: 4\n  also_share: [norms, norms]",
    ),
    (
        "negative decay of increments",
        "  batch_size: 64",
        "  batch_size: 64\n  increment_weight_decay: -1",
    ),
    (
        "increments' rate of zero",
        "  batch_size: 64",
        "  batch_size: 64\n  increment_learning_rate: 0",
    ),
    ("compound size zero", "  compound_size: 4", "  compound_size: 0"),
    ("heads not dividing dim", "  heads: 4", "  heads: 5"),
    ("heads zero", "  heads: 4", "  heads: 0"),
    ("patch not dividing image", "  patch_size: 7", "  patch_size: 5"),
    ("hidden width not whole", "  heads: 4", "  heads: 4\n  mlp_ratio: 1.03"),
    ("two channels", "  channels: 1", "  channels: 2"),
    ("one class", "  classes: 10", "  classes: 1"),
    ("a huge width", "  dim: 64", "  dim: 18446744073709551615"),
    ("alpha negative", "      alpha: 2", "      alpha: -2"),
    ("unknown target", "      alpha: 2", "      targets: [attn.qvk]"),
    ("target twice", "      alpha: 2", "      targets: [attn.qkv, attn.qkv]"),
    ("no targets", "      alpha: 2", "      targets: []"),
    ("vlora without its section", "vlora:\n  compound_size: 4\n  rank: 8\n", ""),
    ("missing field", "  dim: 64\n", ""),
    (
        "missing section",
        "model:\n  architecture: vit\n  image_size: 28\n  patch_size: 7\n  channels: 1\n  classes: 10\n  dim: 64\n  depth: 4\n  heads: 4\n",
        "",
    ),
    ("empty seeds", "seeds: [0, 1]", "seeds: []"),
    ("negative seed", "seeds: [0, 1]", "seeds: [0, -1]"),
    ("seed twice", "seeds: [0, 1]", "seeds: [1, 1]"),
    ("seeds missing", "seeds: [0, 1]\n", ""),
    (
        "no arms",
        "arms:\n  baseline: {method: dense}\n  vlora:\n    method: vlora\n    vlora:\n      alpha: 2\n",
        "arms: {}\n",
    ),
    ("arm given twice", "  vlora:\n    method: vlora\n", "  baseline:\n    method: vlora\n"),
    (
        "two arms the same",
        "  vlora:\n    method: vlora\n",
        "  twin: {}\n  vlora:\n    method: vlora\n",
    ),
    ("baseline missing", "  baseline: {method: dense}", "  base: {method: dense}"),
    ("baseline names no arm", "name: sound", "name: sound\nbaseline: basline"),
    ("arm name with a slash", "  vlora:\n    method: vlora\n", "  a/b:\n    method: vlora\n"),
    ("experiment name leaves the folder", "name: sound", "name: ../sound"),
    ("zero batch", "  batch_size: 64", "  batch_size: 0"),
    ("zero epochs", "  epochs: 3", "  epochs: 0"),
    ("negative rate", "  learning_rate: 1.0e-3", "  learning_rate: -1.0e-3"),
    ("rate not a number", "  learning_rate: 1.0e-3", "  learning_rate: .nan"),
    ("momentum of one", "  epochs: 3", "  epochs: 3\n  beta2: 1.0"),
    ("warm-up of everything", "  epochs: 3", "  epochs: 3\n  warmup_ratio: 1"),
    ("unknown precision", "name: sound", "name: sound\nprecision: bfloat16"),
    ("a precision that is a number", "name: sound", "name: sound\nprecision: 32"),
    ("an arm's unknown precision", "      alpha: 2", "      alpha: 2\n    precision: float16"),
    ("unknown task", "image-classification", "image-clasification"),
    ("unknown architecture", "architecture: vit", "architecture: resnet"),
    ("unknown dataset", "fashion-mnist-mini", "fashion-mnist"),
    (
        "two sources of data",
        "  embedded: fashion-mnist-mini",
        "  embedded: fashion-mnist-mini\n  path: data",
    ),
    (
        "a Hub repository that is an address",
        "  embedded: fashion-mnist-mini",
        "  hub: https://huggingface.co/datasets/uoft-cs/cifar10",
    ),
    (
        "a Hub repository that leaves the cache",
        "  embedded: fashion-mnist-mini",
        "  hub: ../../cifar10",
    ),
    ("a Hub revision that is none", "  embedded: fashion-mnist-mini", "  hub: a/b@../main"),
    (
        "a part that is all of it",
        "  embedded: fashion-mnist-mini",
        "  embedded: fashion-mnist-mini\n  validation: {fraction: 1}",
    ),
    (
        "parts that leave nothing",
        "  embedded: fashion-mnist-mini",
        "  embedded: fashion-mnist-mini\n  validation: {fraction: 0.5}\n  test: {fraction: 0.5}",
    ),
    (
        "a part without its size",
        "  embedded: fashion-mnist-mini",
        "  embedded: fashion-mnist-mini\n  validation: {seed: 1}",
    ),
    (
        "a part of an unknown field",
        "  embedded: fashion-mnist-mini",
        "  embedded: fashion-mnist-mini\n  validation: {fraction: 0.1, off: train}",
    ),
    (
        "a number for a split",
        "  embedded: fashion-mnist-mini",
        "  embedded: fashion-mnist-mini\n  validation: 0.1",
    ),
    (
        "a model of the Hub that is a path",
        "      alpha: 2",
        "      alpha: 2\n    start: {hub: models/vit/base}",
    ),
    (
        "start: two sources, one of the Hub",
        "      alpha: 2",
        "      alpha: 2\n    start: {hub: a/b, checkpoint: c.safetensors}",
    ),
    ("no source of data", "  embedded: fashion-mnist-mini\n", ""),
    ("test split is the training split", "  augment:", "  test: train\n  augment:"),
    ("resizing to text", "  augment:", "  resize: large\n  augment:"),
    ("resizing to nothing", "  augment:", "  resize: 0\n  augment:"),
    ("a shorter side below the crop", "  augment:", "  resize: 27\n  crop: center\n  augment:"),
    ("an unknown crop", "  augment:", "  crop: centre\n  augment:"),
    ("an unknown interpolation", "  augment:", "  interpolation: nearest\n  augment:"),
    ("what else to do with duplicates", "  augment:", "  duplicates: allow\n  augment:"),
    (
        "random parts and padding",
        "    crop_padding: 2",
        "    crop_padding: 2\n    random_resized_crop: {}",
    ),
    (
        "random parts beyond the whole",
        "    crop_padding: 2",
        "    random_resized_crop: {scale: [0.5, 2]}",
    ),
    ("random parts, most first", "    crop_padding: 2", "    random_resized_crop: {ratio: [2, 1]}"),
    (
        "random parts of three shares",
        "    crop_padding: 2",
        "    random_resized_crop: {scale: [0, 0.5, 1]}",
    ),
    (
        "two policies",
        "    crop_padding: 2",
        "    crop_padding: 2\n    auto_augment: cifar10\n    rand_augment: {}",
    ),
    ("another policy", "    crop_padding: 2", "    crop_padding: 2\n    auto_augment: imagenet"),
    (
        "a magnitude beyond the last",
        "    crop_padding: 2",
        "    crop_padding: 2\n    rand_augment: {magnitude: 31}",
    ),
    (
        "no operation",
        "    crop_padding: 2",
        "    crop_padding: 2\n    rand_augment: {operations: 0}",
    ),
    ("a fill of nothing", "    crop_padding: 2", "    crop_padding: 2\n    fill: 128"),
    (
        "a fill beyond white",
        "    crop_padding: 2",
        "    crop_padding: 2\n    auto_augment: cifar10\n    fill: 256",
    ),
    ("an order of nothing", "    crop_padding: 2", "    crop_padding: 2\n    policy_first: true"),
    (
        "erasing more than all",
        "    crop_padding: 2",
        "    crop_padding: 2\n    erasing: {scale: [0.5, 1.5]}",
    ),
    (
        "erasing more than always",
        "    crop_padding: 2",
        "    crop_padding: 2\n    erasing: {probability: 1.5}",
    ),
    (
        "mixing nothing",
        "    crop_padding: 2",
        "    crop_padding: 2\n    mix: {mixup: 0, cutmix: 0}",
    ),
    (
        "a share of cutmix without cutmix",
        "    crop_padding: 2",
        "    crop_padding: 2\n    mix: {mixup: 0.2, switch_probability: 0.3}",
    ),
    (
        "mixing never",
        "    crop_padding: 2",
        "    crop_padding: 2\n    mix: {mixup: 1, probability: 0}",
    ),
    ("a negative alpha", "    crop_padding: 2", "    crop_padding: 2\n    mix: {mixup: -1}"),
    (
        "timm's name of an alpha",
        "    crop_padding: 2",
        "    crop_padding: 2\n    mix: {cutmix_alpha: 1}",
    ),
    ("depth that drops all", "  heads: 4", "  heads: 4\n  stochastic_depth: 1"),
    ("depth that one layer has not", "  depth: 4", "  depth: 1\n  stochastic_depth: 0.1"),
    (
        "the mean of tokens in ViT-Lite",
        "  heads: 4",
        "  heads: 4\n  variant: compact-transformers\n  pool: mean",
    ),
    ("timm's name of it", "  heads: 4", "  heads: 4\n  drop_path_rate: 0.1"),
    ("another variant", "  heads: 4", "  heads: 4\n  variant: vit-lite"),
    ("an average of the weights alone", "  epochs: 3", "  epochs: 3\n  ema_decay: 0"),
    ("the mean of one epoch", "  epochs: 3", "  epochs: 3\n  average_last: 1"),
    ("an average of nothing new", "  epochs: 3", "  epochs: 3\n  ema_decay: 1"),
    ("two averages", "  epochs: 3", "  epochs: 3\n  ema_decay: 0.9\n  average_last: 2"),
    (
        "operations before random parts",
        "    crop_padding: 2",
        "    random_resized_crop: {}\n    auto_augment: cifar10\n    policy_first: true",
    ),
    ("crop padding of the whole image", "    crop_padding: 2", "    crop_padding: 28"),
    (
        "normalisation of other channels",
        "  augment:",
        "  normalize: {mean: [0.5, 0.5], std: [0.5]}\n  augment:",
    ),
    (
        "a mean on the scale of 0 to 255",
        "  augment:",
        "  normalize: {mean: [123.7], std: [0.3]}\n  augment:",
    ),
    (
        "a deviation on the scale of 0 to 255",
        "  augment:",
        "  normalize: {mean: [0], std: [255]}\n  augment:",
    ),
    ("normalisation by zero", "  augment:", "  normalize: {mean: [0.5], std: [0]}\n  augment:"),
    ("sweep over an unknown field", "  vlora.rank: [2, 4]", "  vlora.rnak: [2, 4]"),
    ("sweep over an unknown section", "  vlora.rank: [2, 4]", "  vlroa.rank: [2, 4]"),
    ("sweep over seeds", "  vlora.rank: [2, 4]", "  seed: [2, 4]"),
    ("sweep without values", "  vlora.rank: [2, 4]", "  vlora.rank: []"),
    ("sweep over one value twice", "  vlora.rank: [2, 4]", "  vlora.rank: [2, 2]"),
    ("sweep that is not a mapping", "sweep:\n  vlora.rank: [2, 4]", "sweep: [2, 4]"),
    ("broken YAML", "  embedded: fashion-mnist-mini", "  embedded: [fashion-mnist-mini"),
    ("tabs", "  epochs: 3", "\tepochs: 3"),
    ("a YAML tag", "  dim: 64", "  dim: !wide 64"),
    ("YAML's own tag on a list", "seeds: [0, 1]", "seeds: !!python/tuple [0, 1]"),
    ("YAML's own tag on a mapping", "sweep:\n", "sweep: !!omap\n"),
    ("YAML's own tag on a text", "  dim: 64", "  dim: !!str 64"),
    ("YAML's own tag on what it does not fit", "  dim: 64", "  dim: !!int wide"),
    ("a tag of no name", "  dim: 64", "  dim: ! 64"),
    ("a share that is no number", "  learning_rate: 1.0e-3", "  learning_rate: nan%"),
    ("a key that is a number", "  dim: 64", "  dim: 64\n  7: 8"),
    ("no steps", "  epochs: 3", "  epochs: 3\n  steps: 0"),
    ("no patience", "  epochs: 3", "  epochs: 3\n  select: best\n  patience: 0"),
    ("an unknown schedule", "  epochs: 3", "  epochs: 3\n  schedule: exponential"),
    ("a plateau's factor with a cosine", "  epochs: 3", "  epochs: 3\n  plateau_factor: 0.5"),
    ("a plateau's patience with a cosine", "  epochs: 3", "  epochs: 3\n  plateau_patience: 2"),
    (
        "a plateau that raises the rate",
        "  epochs: 3",
        "  epochs: 3\n  schedule: plateau\n  plateau_factor: 1",
    ),
    (
        "an inverse square root without warm-up",
        "  epochs: 3",
        "  epochs: 3\n  schedule: inverse-sqrt\n  warmup_steps: 0",
    ),
    (
        "a constant rate that falls",
        "  epochs: 3",
        "  epochs: 3\n  schedule: constant\n  min_learning_rate_ratio: 0.1",
    ),
    ("two warm-ups", "  epochs: 3", "  epochs: 3\n  warmup_steps: 10\n  warmup_ratio: 0.1"),
    ("the mean of more epochs than there are", "  epochs: 3", "  epochs: 3\n  average_last: 4"),
    (
        "the mean of several epochs and the best one",
        "  epochs: 3",
        "  epochs: 3\n  select: best\n  average_last: 2",
    ),
    ("patience without the best epoch", "  epochs: 3", "  epochs: 3\n  patience: 2"),
    ("a name of early stopping", "  epochs: 3", "  epochs: 3\n  early_stopping: 3"),
    ("a name of a number of steps", "  epochs: 3", "  max_steps: 3"),
    ("Slurm's section is no mapping", "seeds:", "slurm: gpu\nseeds:"),
    ("unknown field of Slurm's section", "seeds:", "slurm: {partitoin: gpu}\nseeds:"),
    ("a value that Slurm would read otherwise", "seeds:", "slurm: {partition: 'a b'}\nseeds:"),
    ("a time that is a number", "seeds:", "slurm: {time: 30}\nseeds:"),
    ("a time that is no time", "seeds:", "slurm: {time: never}\nseeds:"),
    ("no run a job", "seeds:", "slurm: {runs_per_job: 0}\nseeds:"),
    ("an option of sbatch in two words", "seeds:", "slurm: {options: [--mem=2G, -p gpu]}\nseeds:"),
    ("an option that a launch sets itself", "seeds:", "slurm: {options: [--array=0-3]}\nseeds:"),
];

const SOUND_TEXT: &str = "\
name: sound
task: text-classification
data:
  path: reviews
  tokenizer: {train: word-piece, vocabulary: 1000}
  max_tokens: 64
model:
  architecture: encoder
  vocabulary: 1000
  positions: 64
  classes: 2
  dim: 32
  depth: 4
  heads: 4
vlora:
  compound_size: 2
  rank: 4
training:
  epochs: 3
arms:
  baseline: {method: dense}
  vlora: {method: vlora, vlora: {alpha: 2}}
seeds: [0, 1]
";

/// Edits of the sound spec for texts: name, text to replace, replacement.
const TEXT_EDITS: &[(&str, &str, &str)] = &[
    ("an image model for texts", "architecture: encoder", "architecture: vit"),
    ("a text model for images", "task: text-classification", "task: image-classification"),
    ("an unknown task", "task: text-classification", "task: text_classification"),
    ("an architecture by another name", "architecture: encoder", "architecture: bert"),
    ("an image column", "  max_tokens: 64", "  image_column: text"),
    ("a length by another name", "  max_tokens: 64", "  max_length: 64"),
    ("a vocabulary by another name", "  positions: 64", "  vocab_size: 64"),
    ("a field of the other architecture", "  positions: 64", "  image_size: 28"),
    ("texts longer than the positions", "  max_tokens: 64", "  max_tokens: 65"),
    ("no room for a token", "  max_tokens: 64", "  max_tokens: 3"),
    ("no tokenizer", "  tokenizer: {train: word-piece, vocabulary: 1000}\n", ""),
    ("a tokenizer from nowhere", "{train: word-piece, vocabulary: 1000}", "{vocabulary: 1000}"),
    ("two tokenizers", "{train: word-piece,", "{path: model, train: word-piece,"),
    ("a tokenizer that is a name", "{train: word-piece, vocabulary: 1000}", "word-piece"),
    ("an unknown kind of tokenizer", "train: word-piece", "train: sentence-piece"),
    ("more tokens than the model", "vocabulary: 1000}", "vocabulary: 1001}"),
    ("fewer tokens than bytes", "vocabulary: 1000}", "vocabulary: 100}"),
    ("small letters of bytes", "{train: word-piece,", "{train: byte-level-bpe, lowercase: true,"),
    ("a vocabulary of a file", "{train: word-piece,", "{path: model,"),
    ("a tokenizer's faulty name", "{train: word-piece, vocabulary: 1000}", "{hub: 'a b'}"),
    ("a pair of one column", "  max_tokens: 64", "  pair_column: text"),
    (
        "columns without the texts",
        "  max_tokens: 64",
        "  max_tokens: 64\n  columns: [label, sentence]",
    ),
    (
        "columns without the pair",
        "  max_tokens: 64",
        "  max_tokens: 64\n  columns: [label, text]\n  pair_column: more",
    ),
    (
        "a column named twice",
        "  max_tokens: 64",
        "  max_tokens: 64\n  columns: [label, text, text]",
    ),
    (
        "a column without a name",
        "  max_tokens: 64",
        "  max_tokens: 64\n  columns: [label, text, '']",
    ),
    ("no position for a token", "  positions: 64", "  positions: 3"),
    ("a model of fewer tokens than bytes", "\n  vocabulary: 1000", "\n  vocabulary: 100"),
    ("heads that do not divide", "  heads: 4", "  heads: 5"),
    ("all dropped", "  heads: 4", "  heads: 4\n  dropout: 1"),
    ("another activation", "  heads: 4", "  heads: 4\n  activation: mish"),
    ("another pooling", "  heads: 4", "  heads: 4\n  pool: cls"),
    ("a target of the other architecture", "{alpha: 2}", "{targets: [attn.qkv]}"),
    ("a target by another name", "{alpha: 2}", "{targets: [q_proj]}"),
    ("a target of nobody", "{alpha: 2}", "{targets: [encoder]}"),
    ("a rank larger than a target", "{alpha: 2}", "{rank: 33}"),
    ("an image's start", "{alpha: 2}}", "{alpha: 2}, start: {hub: a/b, position_embedding: timm}}"),
];

fn parse(bytes: &[u8]) -> Result<spec::Experiment, spec::SpecError> {
    spec::parse(bytes, "bad.yaml", "bad", &[], &models::parameters)
}

fn error(text: &str) -> String {
    parse(text.as_bytes()).expect_err("the spec is refused").to_string()
}

#[test]
fn the_unedited_spec_is_sound() {
    let experiment = parse(SOUND.as_bytes()).unwrap();
    let labels: Vec<&str> = experiment.variants.iter().map(|v| v.label.as_str()).collect();
    assert_eq!(labels, ["baseline", "vlora rank=2", "vlora rank=4"]);
}

#[test]
fn every_fault_is_reported_with_its_line() {
    let mut all = String::new();
    for (name, from, to) in EDITS {
        assert_eq!(SOUND.matches(from).count(), 1, "{name}: the edit does not fit");
        let message = error(&SOUND.replace(from, to));
        writeln!(all, "# {name}\n{message}\n").unwrap();
    }
    for (name, text) in [("empty file", ""), ("a list", "- a\n- b\n"), ("only text", "hello")] {
        writeln!(all, "# {name}\n{}\n", error(text)).unwrap();
    }
    let not_utf8 = parse(b"name: a\ntask: \xff\n").unwrap_err();
    writeln!(all, "# not UTF-8\n{not_utf8}\n").unwrap();
    let laughs = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n\
                  c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n\
                  e: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e]\n";
    writeln!(all, "# aliases that unfold without end\n{}\n", error(laughs)).unwrap();
    writeln!(all, "# nested without end\n{}\n", error(&"[".repeat(5000))).unwrap();
    insta::assert_snapshot!(all);
}

#[test]
fn faults_of_a_spec_for_texts_are_named_with_their_line() {
    assert_eq!(parse(SOUND_TEXT.as_bytes()).unwrap().variants.len(), 2);
    let mut all = String::new();
    for (name, from, to) in TEXT_EDITS {
        let text = SOUND_TEXT.replacen(from, to, 1);
        assert_ne!(text, SOUND_TEXT, "{name}: the edit changes nothing");
        writeln!(all, "--- {name}\n{}\n", error(&text)).unwrap();
    }
    insta::assert_snapshot!(all);
}

/// Metrics of two tasks do not compare, so arms have one.
#[test]
fn arms_of_two_tasks_are_refused() {
    let text = "arms:\n  baseline:\n    task: image-classification\n    data: {embedded: fashion-mnist-mini}\n    \
                model: {architecture: vit, image_size: 28, patch_size: 7, channels: 1, classes: 10, dim: 8, \
                depth: 1, heads: 1}\n  texts:\n    task: text-classification\n    data: {path: a, \
                tokenizer: {train: word-piece}}\n    model: {architecture: encoder, vocabulary: 8192, \
                classes: 2, dim: 8, depth: 1, heads: 1}\nseeds: [0]\n";
    let told = error(text);
    let want = "bad.yaml:7:5: arms.texts.task: an experiment has one task\n  found:    \
                `text-classification` in the arm `texts`\n  expected: `image-classification`, as in the arm \
                `baseline`";
    assert!(told.starts_with(want), "{told}");
}

#[test]
fn faulty_overrides_are_quoted_as_typed() {
    let cases = [
        "training.epochs=0",
        "training.epochs=[",
        "training.epocs=1",
        "=3",
        "seeds",
        "vlora.rank=99",
        "seeds=!!set [0]",
        "name=!x y",
        "data.decoding.beam=2",
        "arms.vlora.sweep.training.learning_rat=[1]",
    ];
    let mut all = String::new();
    for argument in cases {
        let overrides = [argument.to_string()];
        let text = SOUND.replace("sweep:\n  vlora.rank: [2, 4]\n", "");
        let error =
            spec::parse(text.as_bytes(), "bad.yaml", "bad", &overrides, &models::parameters)
                .unwrap_err();
        writeln!(all, "{error}\n").unwrap();
    }
    insta::assert_snapshot!(all);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// No bytes given as a spec make the program panic.
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes).map_err(|e| e.to_string());
    }

    /// Nor does a sound spec with some bytes changed, which gets past the YAML more often.
    #[test]
    fn no_mutation_panics(
        edits in proptest::collection::vec((0..SOUND.len(), 0..6usize, "[ -~\\n]{0,6}"), 1..6)
    ) {
        let mut text = SOUND.as_bytes().to_vec();
        for (at, cut, put) in edits {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, put.into_bytes());
        }
        let _ = parse(&text).map_err(|e| e.to_string());
    }

    /// Nor does any value in any field.
    #[test]
    fn no_value_panics(
        line in 0..SOUND.lines().count(),
        value in prop_oneof![
            any::<i64>().prop_map(|v| v.to_string()),
            any::<u64>().prop_map(|v| v.to_string()),
            any::<f64>().prop_map(|v| format!("{v:e}")),
            Just("[]".to_string()), Just("{}".to_string()), Just("~".to_string()),
            Just("1e400".to_string()), Just("[[1], {a: b}]".to_string()),
        ]
    ) {
        let lines: Vec<String> = SOUND
            .lines()
            .enumerate()
            .map(|(i, l)| match l.split_once(':') {
                Some((key, _)) if i == line => format!("{key}: {value}"),
                _ => l.to_string(),
            })
            .collect();
        let _ = parse(lines.join("\n").as_bytes()).map_err(|e| e.to_string());
    }
}
