//! What a spec must satisfy beyond its types: ranges, and fields that must agree.

use super::error::SpecError;
use super::identity::flatten;
use super::node::Node;
use super::origin::Origin;
use super::repository::{HUB_NAME, is_hub_name};
use super::schema::{
    Crop, DataSpec, EncoderSpec, FilesSpec, ImageDataSpec, LayerWeight, LoraSpec, Method,
    ModelSpec, ParameterGroup, PositionEmbedding, Rank, Resize, RunSpec, Select, SplitSpec,
    StartHead, StartSpec, Target, TextDataSpec, TokenizerKind, TrainedTokenizer, VitSpec,
    VloraSpec, whole_hidden,
};
use super::wording::{one_of, shorten};

/// Datasets that `data.embedded` can name.
pub const EMBEDDED_DATASETS: [&str; 1] = ["fashion-mnist-mini"];

/// Beyond these a model is taken for a mistake: no machine holds its attention or its weights.
const MOST_PATCHES: usize = 16_384;
const MOST_PARAMETERS: f64 = 2e10;

/// Checks a typed run; `node` is the tree it was read from, for the lines of its fields.
pub fn validate(run: &RunSpec, node: &Node) -> Result<(), SpecError> {
    let check = Check { node };
    sizes_of(&run.model, &check)?;
    data(run, &check)?;
    if run.method == Method::Vlora {
        match &run.vlora {
            Some(vlora) => increments(vlora, &run.model, &check)?,
            None => {
                return Err(SpecError::new("the section `vlora` is missing")
                    .expected("`vlora` with at least compound_size and rank, since method is vlora")
                    .missing("vlora")
                    .at(check.origin("method")));
            }
        }
    }
    start(run, &check)?;
    if let Some(lora) = &run.lora {
        on_top(lora, run, &check)?;
    }
    training(run, &check)
}

fn sizes_of(model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    match model {
        ModelSpec::Vit(model) => vit(model, check),
        ModelSpec::Encoder(model) => encoder(model, check),
    }
}

/// Checks a model that no spec describes, with its increments and LoRA, by the same rules. The error
/// names the field.
pub fn validate_model(
    model: &ModelSpec,
    vlora: Option<&VloraSpec>,
    lora: Option<&LoraSpec>,
) -> Result<(), SpecError> {
    let mut node = Node::empty_map(Origin::File(Vec::new()));
    node.put("model", model)?;
    node.put("vlora", &vlora)?;
    node.put("lora", &lora)?;
    let check = Check { node: &node };
    sizes_of(model, &check)?;
    if let Some(vlora) = vlora {
        increments(vlora, model, &check)?;
    }
    lora.map_or(Ok(()), |lora| pairs(lora, model, &check))
}

fn data(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    files(&run.data.files(), check)?;
    match (&run.data, &run.model) {
        (DataSpec::Images(data), ModelSpec::Vit(model)) => images(data, model, check),
        (DataSpec::Text(data), ModelSpec::Encoder(model)) => {
            texts(data, model, run.start.as_ref(), check)
        }
        // Reading a run refuses a model of another kind of data.
        (DataSpec::Images(_), ModelSpec::Encoder(_)) | (DataSpec::Text(_), ModelSpec::Vit(_)) => {
            Ok(())
        }
    }
}

/// Which tokens texts become, and how many of them.
fn texts(
    data: &TextDataSpec,
    model: &EncoderSpec,
    start: Option<&StartSpec>,
    check: &Check,
) -> Result<(), SpecError> {
    // A text's special tokens, and one of its own.
    check.between("data.max_tokens", data.max_tokens, 4, model.positions)?;
    if let Some(pair) = &data.pair_column {
        let other = "another column than data.text_column";
        check.that("data.pair_column", *pair != data.text_column, other)?;
        let types = "0, for a model that does not tell the texts of a pair apart, or at least 2";
        check.that("model.token_types", model.token_types != 1, types)?;
    }
    let Some(own) = &data.tokenizer else {
        let beside = start.and_then(StartSpec::checkpoint_name).is_some();
        if beside {
            return Ok(());
        }
        return Err(SpecError::new("there is no tokenizer")
            .expected(
                "`data.tokenizer` with `hub`, `path` or `train`, unless the run starts from a checkpoint \
                 or a model of the Hub that has one",
            )
            .help("arms that start from another arm have its tokenizer: name it once, for all arms")
            .at(check.origin("data")));
    };
    let train = own.train.map(|kind| match kind {
        TokenizerKind::WordPiece => "word-piece",
        TokenizerKind::ByteLevelBpe => "byte-level-bpe",
    });
    let sources = [("hub", own.hub.as_deref()), ("path", own.path.as_deref()), ("train", train)];
    one_source("data.tokenizer", "of a tokenizer", &sources, check)?;
    if let Some(repository) = &own.hub {
        hub_name("data.tokenizer.hub", repository, check)?;
    }
    let trained = "a trained tokenizer alone has it: `train: word-piece`";
    if own.train.is_none() {
        check.that("data.tokenizer.vocabulary", own.vocabulary.is_none(), trained)?;
        check.that("data.tokenizer.lowercase", own.lowercase.is_none(), trained)?;
    }
    if own.train == Some(TokenizerKind::ByteLevelBpe) {
        let pieces = "none beside `byte-level-bpe`, which keeps every letter";
        check.that("data.tokenizer.lowercase", own.lowercase.is_none(), pieces)?;
    }
    if let Some(
        TrainedTokenizer::WordPiece { vocabulary, .. }
        | TrainedTokenizer::ByteLevelBpe { vocabulary },
    ) = own.trained()
    {
        // The bytes and the special tokens.
        check.between("data.tokenizer.vocabulary", vocabulary, 260, model.vocabulary)?;
    }
    Ok(())
}

/// Where a run's examples are, whatever they are.
fn files(data: &FilesSpec, check: &Check) -> Result<(), SpecError> {
    let sources = [("hub", data.hub), ("path", data.path), ("embedded", data.embedded)];
    one_source("data", "of data", &sources, check)?;
    if let Some(repository) = data.hub {
        hub_name("data.hub", repository, check)?;
    }
    if let Some(name) = data.embedded.filter(|n| !EMBEDDED_DATASETS.contains(n)) {
        return Err(SpecError::new("unknown embedded dataset")
            .found(format!("`{name}`"))
            .expected(one_of(&EMBEDDED_DATASETS))
            .suggest(name, EMBEDDED_DATASETS)
            .at(check.origin("data.embedded")));
    }
    splits(data, check)
}

/// What is done to images of any size for a model that takes squares.
fn images(data: &ImageDataSpec, model: &VitSpec, check: &Check) -> Result<(), SpecError> {
    if let Some(normalize) = &data.normalize {
        let channels = model.channels;
        for (field, values, low) in [
            ("data.normalize.mean", &normalize.mean, None),
            ("data.normalize.std", &normalize.std, Some(0.0)),
        ] {
            let good = values.len() == channels
                && values.iter().all(|v| v.is_finite() && low.is_none_or(|low| *v > low));
            let above = if low.is_some() { " above 0" } else { "" };
            let expected = format!("a list of {channels}, a number{above} for each channel");
            check.that(field, good, expected)?;
            // No mean or deviation of values in [0, 1] is above 1; those of ImageNet's pixels in
            // [0, 255], for one, are above 50.
            if let Some(above) = values.iter().find(|value| **value > 1.0) {
                return Err(SpecError::new("the value is not on the scale of the pixels")
                    .found(above.to_string())
                    .expected("at most 1: pixels are in [0, 1]")
                    .help("divide figures of pixels in [0, 255] by 255")
                    .at(check.origin(field)));
            }
        }
    }
    check.that(
        "data.augment.crop_padding",
        data.augment.crop_padding < model.image_size,
        format!("less than model.image_size, {}", model.image_size),
    )?;
    sizes(data, model.image_size, check)
}

/// How images of other sizes become squares of `side` pixels.
fn sizes(data: &ImageDataSpec, side: usize, check: &Check) -> Result<(), SpecError> {
    if let Some(Resize::ShorterSide(short)) = data.resize {
        match data.crop {
            Crop::Center => check.between("data.resize", short, side, 16_384)?,
            Crop::None => check.that(
                "data.resize",
                short == side,
                format!(
                    "`exact`, model.image_size ({side}), or a larger number with `crop: center`"
                ),
            )?,
        }
    }
    let Some(crop) = &data.augment.random_resized_crop else { return Ok(()) };
    let field = "data.augment.random_resized_crop";
    let sound = |[least, most]: [f64; 2]| least > 0.0 && least <= most && most.is_finite();
    check.that(
        &format!("{field}.scale"),
        sound(crop.scale) && crop.scale[1] <= 1.0,
        "two shares of the area, the least first: above 0, at most 1",
    )?;
    check.that(
        &format!("{field}.ratio"),
        sound(crop.ratio),
        "two ratios of width to height, the least first: above 0",
    )?;
    check.that(
        "data.augment.crop_padding",
        data.augment.crop_padding == 0,
        "0 beside `random_resized_crop`, which crops already",
    )
}

fn splits(data: &FilesSpec, check: &Check) -> Result<(), SpecError> {
    check.that("data.train", !data.train.is_empty(), "the name of a split")?;
    let mut names = vec![("data.train", data.train)];
    let mut taken = 0.0;
    let others = [("data.validation", data.validation), ("data.test", Some(data.test))];
    for (field, split) in others {
        let Some(split) = split else { continue };
        match split {
            SplitSpec::Named(name) => {
                check.that(field, !name.is_empty(), "the name of a split")?;
                for (other, same) in &names {
                    check.that(
                        field,
                        name != same,
                        format!("a split other than {other}'s, so that no example is in both"),
                    )?;
                }
                names.push((field, name));
            }
            SplitSpec::Part(part) => {
                let field = format!("{field}.fraction");
                let sound = part.fraction > 0.0 && part.fraction < 1.0;
                check.that(&field, sound, "a number above 0, below 1")?;
                taken += part.fraction;
                let expected = "fractions that leave something to train on: a sum below 1";
                check.that(&field, taken < 1.0, expected)?;
            }
        }
    }
    Ok(())
}

/// Checks the names of targets in increments that a run does not use. `section` is where `vlora`
/// stands, or what is left of it.
pub fn target_names(vlora: &VloraSpec, model: &ModelSpec, section: &Node) -> Result<(), SpecError> {
    let check = Check { node: section };
    for (i, own) in vlora.targets.iter().enumerate() {
        check.target(&format!("targets[{i}]"), &own.target, model)?;
    }
    Ok(())
}

/// Refuses a section that names no source, or two.
fn one_source(
    section: &str,
    what: &str,
    sources: &[(&str, Option<&str>)],
    check: &Check,
) -> Result<(), SpecError> {
    let given: Vec<&str> = sources.iter().filter(|s| s.1.is_some()).map(|s| s.0).collect();
    let all: Vec<String> = sources.iter().map(|s| format!("`{}`", s.0)).collect();
    let expected = format!("exactly one of {}", all.join(", "));
    match given[..] {
        [_] => Ok(()),
        [] => Err(SpecError::new(format!("no source {what} is given"))
            .expected(expected)
            .at(check.origin(section))),
        [first, second, ..] => Err(SpecError::new(format!("two sources {what} are given"))
            .found(format!("`{first}` and `{second}`"))
            .expected(expected)
            .help("an arm or --set that changes the source sets the other to null")
            .at(check.origin(&format!("{section}.{second}")))),
    }
}

/// Refuses what cannot be a repository of the Hub.
fn hub_name(field: &str, text: &str, check: &Check) -> Result<(), SpecError> {
    let told = check.that(field, is_hub_name(text), HUB_NAME);
    // What a browser shows.
    let pasted = text.split_once("://").and_then(|(_, address)| address.split_once('/'));
    let name = pasted.map(|(_, path)| path.strip_prefix("datasets/").unwrap_or(path));
    let name = name.or(text.strip_prefix("hub:"));
    match name.filter(|name| is_hub_name(name)) {
        Some(name) => told.map_err(|e| e.help(format!("did you mean `{name}`?"))),
        None => told,
    }
}

fn vit(model: &VitSpec, check: &Check) -> Result<(), SpecError> {
    check.between("model.image_size", model.image_size, 1, 4096)?;
    check.between("model.patch_size", model.patch_size, 1, model.image_size)?;
    check.that(
        "model.patch_size",
        model.image_size.is_multiple_of(model.patch_size),
        format!("a divisor of model.image_size, {}", model.image_size),
    )?;
    let patches = (model.image_size / model.patch_size).pow(2);
    check.that(
        "model.patch_size",
        patches <= MOST_PATCHES,
        format!(
            "a patch that makes at most {MOST_PATCHES} patches of an image; this makes {patches}"
        ),
    )?;
    check.that(
        "model.channels",
        model.channels == 1 || model.channels == 3,
        "1 (grey) or 3 (RGB)",
    )?;
    check.between("model.classes", model.classes, 2, 1_000_000)?;
    let VitSpec { dim, depth, heads, mlp_ratio, norm_eps, .. } = *model;
    transformer(Sizes { dim, depth, heads, mlp_ratio, norm_eps, rows: model.classes }, check)
}

fn encoder(model: &EncoderSpec, check: &Check) -> Result<(), SpecError> {
    check.between("model.vocabulary", model.vocabulary, 1, 1 << 24)?;
    check.between("model.positions", model.positions, 1, 1 << 16)?;
    check.between("model.token_types", model.token_types, 0, 1 << 16)?;
    check.between("model.classes", model.classes, 2, 1_000_000)?;
    let EncoderSpec { dim, depth, heads, mlp_ratio, norm_eps, .. } = *model;
    let rows = model.classes + model.vocabulary + model.positions + model.token_types;
    transformer(Sizes { dim, depth, heads, mlp_ratio, norm_eps, rows }, check)?;
    for (field, share) in
        [("model.dropout", model.dropout), ("model.attention_dropout", model.attention_dropout)]
    {
        check.that(field, (0.0..1.0).contains(&share), "a number from 0 to below 1")?;
    }
    Ok(())
}

/// Sizes that every Transformer has.
struct Sizes {
    dim: usize,
    depth: usize,
    heads: usize,
    mlp_ratio: f64,
    norm_eps: f64,
    /// Vectors of width `dim` outside of layers.
    rows: usize,
}

fn transformer(sizes: Sizes, check: &Check) -> Result<(), SpecError> {
    let Sizes { dim, depth, heads, mlp_ratio, norm_eps, rows } = sizes;
    check.between("model.dim", dim, 1, 65_536)?;
    check.between("model.depth", depth, 1, 1024)?;
    check.between("model.heads", heads, 1, dim)?;
    check.that(
        "model.heads",
        dim.is_multiple_of(heads),
        format!("a divisor of model.dim, {dim}"),
    )?;
    check.that(
        "model.mlp_ratio",
        mlp_ratio > 0.0 && mlp_ratio <= 64.0 && whole_hidden(mlp_ratio, dim).is_some(),
        format!("a number up to 64 whose product with model.dim, {dim}, is whole"),
    )?;
    // The dense model's matrices, which bound every arm's.
    let (width, rows) = (dim as f64, rows as f64);
    let size = depth as f64 * (4.0 + 2.0 * mlp_ratio) * width * width + rows * width;
    check.that(
        "model.dim",
        size <= MOST_PARAMETERS,
        format!("a model of at most {MOST_PARAMETERS:e} parameters; this has about {size:.1e}"),
    )?;
    check.that("model.norm_eps", norm_eps > 0.0 && norm_eps <= 1.0, "a number above 0, at most 1")
}

fn increments(vlora: &VloraSpec, model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    check.that(
        "vlora.compound_size",
        vlora.compound_size >= 1 && model.depth().is_multiple_of(vlora.compound_size),
        format!("a divisor of model.depth, {}", model.depth()),
    )?;
    check.positive("vlora.alpha", vlora.alpha)?;
    check.that("vlora.targets", !vlora.targets.is_empty(), "at least one weight")?;
    for (i, own) in vlora.targets.iter().enumerate() {
        let field = format!("vlora.targets[{i}]");
        let weight = check.target(&field, &own.target, model)?;
        let first = vlora.targets[..i].iter().all(|other| other.target != own.target);
        check.that(&field, first, "each weight once")?;
        if weight.is_vector() {
            let plain = own.rank.is_none() && own.alpha.is_none();
            check.that(&field, plain, "no rank and no alpha: a vector's increment has neither")?;
            continue;
        }
        let (rank, field) = match own.rank {
            Some(rank) => (rank, format!("{field}.rank")),
            None => (vlora.rank, "vlora.rank".into()),
        };
        if let Rank::Of(rank) = rank {
            check.rank(&field, rank, &weight)?;
        }
        if let Some(alpha) = own.alpha {
            check.positive(&format!("vlora.targets[{i}].alpha"), alpha)?;
        }
    }
    Ok(())
}

fn start(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let Some(start) = &run.start else { return Ok(()) };
    if let Some(alpha) = start.alpha {
        check.positive("start.alpha", alpha)?;
        check.that(
            "start.alpha",
            start.arm.is_none(),
            "an alpha only beside `checkpoint` or `hub`, for a file that does not hold it",
        )?;
    }
    if let Some(repository) = &start.hub {
        hub_name("start.hub", repository, check)?;
    }
    check.that(
        "start.position_embedding",
        start.position_embedding == PositionEmbedding::Auto || run.model.as_vit().is_some(),
        "`auto`: texts have no image size that positions could be resampled to",
    )?;
    let sources = [
        ("arm", start.arm.as_deref()),
        ("checkpoint", start.checkpoint.as_deref()),
        ("hub", start.hub.as_deref()),
    ];
    one_source("start", "of weights", &sources, check).map_err(|error| {
        match sources.iter().all(|(_, given)| given.is_none()) {
            true => error
                .help("`start: null` takes the section away from an arm that starts from the seed"),
            false => error,
        }
    })
}

fn on_top(lora: &LoraSpec, run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let Some(start) = &run.start else {
        return Err(SpecError::new("LoRA has nothing to stand on")
            .found("`lora` without `start`")
            .expected("`start` with the weights that LoRA freezes and adapts")
            .help("`lora: null` takes the section away from an arm that is trained from the seed")
            .at(check.origin("lora")));
    };
    pairs(lora, &run.model, check)?;
    check.that(
        "start.head",
        start.head == StartHead::Keep || lora.also_train.contains(&ParameterGroup::Head),
        "`keep`, or `head` among lora.also_train, since a new head must be trained",
    )
}

/// LoRA's own fields.
fn pairs(lora: &LoraSpec, model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    check.that("lora.rank", lora.rank >= 1, "a rank of at least 1")?;
    check.positive("lora.alpha", lora.alpha)?;
    check.that("lora.dropout", (0.0..1.0).contains(&lora.dropout), "a number from 0 to below 1")?;
    check.that("lora.targets", !lora.targets.is_empty(), "at least one weight matrix")?;
    for (i, target) in lora.targets.iter().enumerate() {
        let field = format!("lora.targets[{i}]");
        let weight = check.target(&field, target, model)?;
        check.that(&field, !lora.targets[..i].contains(target), "each weight matrix once")?;
        let matrices = model.matrices();
        let matrices: Vec<&str> = matrices.iter().map(Target::name).collect();
        check.that(
            &field,
            !weight.is_vector(),
            format!("a weight matrix, {}", one_of(&matrices)),
        )?;
        check.rank("lora.rank", lora.rank, &weight)?;
    }
    for (i, group) in lora.also_train.iter().enumerate() {
        let field = format!("lora.also_train[{i}]");
        check.that(&field, !lora.also_train[..i].contains(group), "each group once")?;
    }
    Ok(())
}

fn training(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let t = &run.training;
    check.between("training.epochs", t.epochs, 1, 1_000_000)?;
    check.between("training.batch_size", t.batch_size, 1, 1 << 20)?;
    check.between("training.accumulation", t.accumulation, 1, 1 << 20)?;
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let fraction = |x: f64| (0.0..1.0).contains(&x);
    check.that("training.learning_rate", positive(t.learning_rate), "a number above 0")?;
    check.that(
        "training.min_learning_rate_ratio",
        (0.0..=1.0).contains(&t.min_learning_rate_ratio),
        "a number from 0 to 1",
    )?;
    check.that("training.warmup_ratio", fraction(t.warmup_ratio), "a number from 0 to below 1")?;
    check.that(
        "training.weight_decay",
        t.weight_decay.is_finite() && t.weight_decay >= 0.0,
        "a number, 0 or more",
    )?;
    check.that("training.beta1", fraction(t.beta1), "a number from 0 to below 1")?;
    check.that("training.beta2", fraction(t.beta2), "a number from 0 to below 1")?;
    check.that("training.epsilon", positive(t.epsilon), "a number above 0")?;
    check.that(
        "training.clip_norm",
        t.clip_norm.is_none_or(positive),
        "a number above 0, or null for no clipping",
    )?;
    check.that(
        "training.label_smoothing",
        fraction(t.label_smoothing),
        "a number from 0 to below 1",
    )?;
    if t.select == Select::Best && run.data.files().validation.is_none() {
        return Err(SpecError::new("there is no validation to select the best epoch by")
            .found("`training.select: best` with `data.validation: null`")
            .expected(
                "a split, as in `data.validation: {fraction: 0.1}`, or `training.select: last`",
            )
            .at(check.origin("training.select")));
    }
    Ok(())
}

impl ModelSpec {
    /// The first field in which a model to start from differs: with a new head its classes may,
    /// and its image size where position embeddings are resampled. How much is dropped in training may
    /// differ in any case.
    pub fn difference(&self, other: &ModelSpec, start: Option<&StartSpec>) -> Option<Difference> {
        let new_head = start.is_some_and(|start| start.head == StartHead::New);
        let refuse = |start: &StartSpec| start.position_embedding == PositionEmbedding::Refuse;
        let resampled = start.is_some_and(|start| !refuse(start));
        let may = |field: &str| match field {
            "classes" => new_head,
            "image_size" => resampled,
            "dropout" | "attention_dropout" => true,
            _ => false,
        };
        if self.architecture() != other.architecture() {
            // Of two architectures no other field compares.
            let name = |model: &ModelSpec| model.architecture().name().to_string();
            return Some(Difference {
                field: "architecture".into(),
                own: name(self),
                theirs: name(other),
            });
        }
        let (own, theirs) = (flatten(self), flatten(other));
        own.into_iter().find_map(|(field, own)| {
            let theirs = theirs.get(&field).cloned().unwrap_or_else(|| "nothing".into());
            let differs = theirs != own && !may(&field);
            differs.then_some(Difference { field, own, theirs })
        })
    }
}

impl VitSpec {
    /// MLP hidden width; a whole number, since validation asks for one.
    pub fn hidden(&self) -> usize {
        (self.mlp_ratio * self.dim as f64).round() as usize
    }
}

/// A field of two models, with its value in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub field: String,
    pub own: String,
    pub theirs: String,
}

/// Turns a failed condition into an error at the field's line.
struct Check<'a> {
    node: &'a Node,
}

impl Check<'_> {
    fn origin(&self, field: &str) -> Origin {
        self.node.nearest(field).0.origin.clone()
    }

    fn that(&self, field: &str, holds: bool, expected: impl Into<String>) -> Result<(), SpecError> {
        if holds {
            return Ok(());
        }
        let (node, exact) = self.node.nearest(field);
        let summary = match exact {
            true => "invalid value".to_string(),
            false => format!("the default of {field} does not fit"),
        };
        let found = if exact { node.describe() } else { "the default".to_string() };
        Err(SpecError::new(summary).found(found).expected(expected).at(node.origin.clone()))
    }

    fn positive(&self, field: &str, value: f64) -> Result<(), SpecError> {
        self.that(field, value.is_finite() && value > 0.0, "a finite number above 0")
    }

    /// A rank that a matrix can have.
    fn rank(&self, field: &str, rank: usize, weight: &LayerWeight) -> Result<(), SpecError> {
        let (output, input) = weight.sides();
        let most = input.min(output);
        self.that(
            field,
            rank <= most,
            format!("at most {most}, the smaller side of {} [{output}, {input}]", weight.target),
        )
    }

    /// The weight that a target at `field`, a name or a mapping with one, stands for.
    fn target(
        &self,
        field: &str,
        target: &Target,
        model: &ModelSpec,
    ) -> Result<LayerWeight, SpecError> {
        model.weight(target).ok_or_else(|| {
            let weights = model.weights();
            let names: Vec<&str> = weights.iter().map(|weight| weight.target.name()).collect();
            SpecError::new("unknown name")
                .found(format!("`{}`", shorten(target.name())))
                .expected(one_of(&names))
                .suggest(target.name(), names)
                .unknown_value(target.name())
                .at(self.origin(&format!("{field}.target")))
        })
    }

    fn between(&self, field: &str, value: usize, low: usize, high: usize) -> Result<(), SpecError> {
        self.that(
            field,
            (low..=high).contains(&value),
            format!("a whole number from {low} to {high}"),
        )
    }
}
