//! timm's `config.json` (`timm/models/_hub.py`, 0.9.16) of Vision Transformers.
//!
//! `architecture` is an entry of timm's registry, which fixes width, heads and variant.
//! `model_args` overrides arguments of `VisionTransformer`. `pretrained_cfg` has the images' size
//! and normalisation; older files have its fields beside `architecture`. Each field is used,
//! ignored as harmless, or refused by name.

use std::path::Path;

use serde_json::Value;

use super::fields::Fields;
use super::unsupported::{UNKNOWN_FIELD, Unsupported};
use crate::error::{Fault, Result};
use crate::spec::{Normalize, Pool, VitSpec};

/// A config whose fields have the right types.
#[derive(Clone, Debug, PartialEq)]
pub struct TimmConfig {
    pub architecture: String,
    /// Attention heads; None if the architecture is not known.
    pub heads: Option<usize>,
    /// Names of the classes by number; empty if the file has none.
    pub class_names: Vec<String>,
    pub unsupported: Option<Unsupported>,
    /// How the classifier pools the tokens; None if the file does not say it.
    pool: Option<Pool>,
    normalize: Option<Normalize>,
    /// Each number of classes in the file, with its field.
    classes: Vec<(String, usize)>,
    /// The other sizes in the file: field, value and meaning.
    sizes: Vec<(String, usize, Size)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Image,
    Patch,
    Channels,
    Width,
    Depth,
    Hidden,
}

/// Plain ViTs in timm's registry, with their widths and heads. They are called
/// `{family}_patch{N}_{SIZE}`. Variants with layer scale, registers, other pooling or other norms
/// have longer names.
const FAMILIES: [(&str, usize, usize); 10] = [
    ("vit_tiny", 192, 3),
    ("vit_small", 384, 6),
    ("vit_base", 768, 12),
    ("vit_large", 1024, 16),
    ("vit_huge", 1280, 16),
    ("vit_giant", 1408, 16),
    ("vit_gigantic", 1664, 16),
    ("deit_tiny", 192, 3),
    ("deit_small", 384, 6),
    ("deit_base", 768, 12),
];

/// Fields beside `architecture`.
const TOP: [&str; 8] = [
    "architecture",
    "num_classes",
    "num_features",
    "global_pool",
    "label_names",
    "labels",
    "model_args",
    "pretrained_cfg",
];

/// Fields of the pretrained configuration that are read.
const PRETRAINED: [&str; 9] = [
    "architecture",
    "classifier",
    "first_conv",
    "global_pool",
    "input_size",
    "label_names",
    "mean",
    "num_classes",
    "std",
];

/// Fields that do not change what the model computes: its origin, and how images are resized, which
/// the spec decides.
const HARMLESS: [&str; 31] = [
    "crop_mode",
    "crop_pct",
    "custom_load",
    "description",
    "file",
    "fixed_input_size",
    "hf_hub_filename",
    "hf_hub_id",
    "interpolation",
    "label_descriptions",
    "label_offset",
    "library_name",
    "license",
    "min_input_size",
    "notes",
    "origin_url",
    "paper_ids",
    "paper_name",
    "pipeline_tag",
    "pool_size",
    "source",
    "state_dict",
    "tag",
    "tags",
    "test_crop_mode",
    "test_crop_pct",
    "test_input_size",
    "test_pool_size",
    "url",
    "transformers_version",
    "dtype",
];

/// Arguments of `VisionTransformer` that are read.
const ARGUMENTS: [&str; 14] = [
    "class_token",
    "depth",
    "embed_dim",
    "fc_norm",
    "global_pool",
    "img_size",
    "in_chans",
    "mlp_ratio",
    "no_embed_class",
    "num_classes",
    "num_heads",
    "patch_size",
    "pretrained",
    "features_only",
];

/// Arguments that have no effect here. The spec sets dropout and initialisation, and images always
/// have the model's size.
const HARMLESS_ARGUMENTS: [&str; 10] = [
    "attn_drop_rate",
    "drop_path_rate",
    "drop_rate",
    "dynamic_img_pad",
    "dynamic_img_size",
    "patch_drop_rate",
    "pos_drop_rate",
    "proj_drop_rate",
    "strict_img_size",
    "weight_init",
];

/// Arguments that are supported only at these values.
const FIXED: [(&str, &[&str]); 18] = [
    ("qkv_bias", &["true"]),
    ("proj_bias", &["true"]),
    ("qk_norm", &["false"]),
    ("init_values", &[]),
    ("reg_tokens", &["0"]),
    ("pre_norm", &["false"]),
    ("final_norm", &["true"]),
    ("fix_init", &["true", "false"]),
    ("scale_attn_norm", &["false"]),
    ("scale_mlp_norm", &["false"]),
    ("pool_include_prefix", &["false"]),
    ("pos_embed", &["\"learn\""]),
    ("act_layer", &["\"gelu\""]),
    // timm's default, with ε = 1e-6 like the models here.
    ("norm_layer", &["\"layernorm\""]),
    ("embed_norm_layer", &[]),
    ("embed_layer", &[]),
    ("block_fn", &[]),
    ("mlp_layer", &[]),
];

/// Width and heads of a plain ViT by its name in timm. The tag after the dot is ignored.
fn family(architecture: &str) -> Option<(usize, usize)> {
    let name = architecture.split('.').next().unwrap_or_default();
    let name = name.strip_suffix("_in21k").unwrap_or(name);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    FAMILIES.iter().find_map(|(family, width, heads)| {
        let (patch, size) = name.strip_prefix(family)?.strip_prefix("_patch")?.split_once('_')?;
        (is_number(patch) && is_number(size)).then_some((*width, *heads))
    })
}

/// Reads the config from its fields.
pub fn read(fields: &Fields) -> Result<TimmConfig> {
    let architecture = fields.text_or("architecture", "")?.to_string();
    let pretrained = fields.section("pretrained_cfg")?;
    let is_old = pretrained.is_none();
    let arguments = fields.section("model_args")?;
    let known = family(&architecture);
    let mut unsupported = None;
    let mut refuse = |field: String, found: String, expected: &str| {
        let refused = Unsupported { field, found, expected: expected.into() };
        unsupported.get_or_insert(refused);
    };
    if known.is_none() {
        let expected = "a plain Vision Transformer of timm's, as vit_base_patch16_224 or \
                        deit_small_patch16_224: tiny, small, base, large, huge, giant, gigantic";
        refuse("architecture".into(), format!("`{architecture}`"), expected);
    }
    let of_top: &[&[&str]] =
        if is_old { &[&TOP, &PRETRAINED, &HARMLESS] } else { &[&TOP, &HARMLESS] };
    if let Some((field, value)) = fields.unknown(of_top) {
        refuse(field.into(), value.to_string(), UNKNOWN_FIELD);
    }
    if let Some(section) = &pretrained
        && let Some((field, value)) = section.unknown(&[&PRETRAINED, &HARMLESS])
    {
        refuse(section.full_name(field), value.to_string(), UNKNOWN_FIELD);
    }
    let pretrained = pretrained.as_ref().unwrap_or(fields);
    for (field, layer) in [("classifier", "head"), ("first_conv", "patch_embed.proj")] {
        if let Some(value) = pretrained.get(field).filter(|value| *value != layer) {
            refuse(pretrained.full_name(field), value.to_string(), &format!("`{layer}`"));
        }
    }
    if let Some(other) = pretrained.get("architecture").filter(|a| *a != architecture.as_str()) {
        refuse(
            pretrained.full_name("architecture"),
            other.to_string(),
            &format!("`{architecture}`"),
        );
    }
    if let Some(arguments) = &arguments {
        let fixed = FIXED.map(|(name, _)| name);
        if let Some((field, value)) = arguments.unknown(&[&ARGUMENTS, &HARMLESS_ARGUMENTS, &fixed])
        {
            refuse(arguments.full_name(field), value.to_string(), UNKNOWN_FIELD);
        }
        for (name, good) in FIXED {
            let Some(value) = arguments.get(name) else { continue };
            if !good.contains(&value.to_string().as_str()) {
                let expected = match good {
                    [] => "none".to_string(),
                    good => good.join(" or "),
                };
                refuse(arguments.full_name(name), value.to_string(), &expected);
            }
        }
        if arguments.flag_or("features_only", false)? {
            refuse(arguments.full_name("features_only"), "true".into(), "false");
        }
    }
    let pool = pool(fields, pretrained, arguments.as_ref(), &mut refuse)?;
    let (sizes, heads) = sizes(fields, pretrained, arguments.as_ref(), known)?;
    let mut classes = Vec::new();
    for of in [arguments.as_ref(), Some(fields), Some(pretrained)].into_iter().flatten() {
        let field = of.full_name("num_classes");
        // The pretrained model's classes do not matter if the file has those of this model.
        let matters = !field.starts_with("pretrained_cfg.") || classes.is_empty();
        if of.get("num_classes").is_some() && matters {
            classes.push((field, of.whole("num_classes", 0..=1 << 24)?));
        }
    }
    let mut class_names = Vec::new();
    for (of, field) in [(fields, "label_names"), (fields, "labels"), (pretrained, "label_names")] {
        if class_names.is_empty() {
            class_names = of.names(field)?.unwrap_or_default();
        }
    }
    let normalize = normalize(pretrained)?;
    Ok(TimmConfig {
        architecture,
        heads,
        class_names,
        unsupported,
        pool,
        normalize,
        classes,
        sizes,
    })
}

/// How the classifier pools the tokens, from all fields that determine it.
fn pool(
    fields: &Fields,
    pretrained: &Fields,
    arguments: Option<&Fields>,
    refuse: &mut dyn FnMut(String, String, &str),
) -> Result<Option<Pool>> {
    let mut said: Option<(String, String)> = None;
    // All fields that name the pooling must agree.
    for of in [arguments, Some(fields), Some(pretrained)].into_iter().flatten() {
        if of.get("global_pool").is_none() {
            continue;
        }
        let (name, text) = (of.full_name("global_pool"), of.text_or("global_pool", "")?);
        match &said {
            Some((first, other)) if other != text => {
                refuse(name, format!("`{text}`"), &format!("`{other}`, as {first} has it"));
            }
            Some(_) => {}
            None => said = Some((name, text.to_string())),
        }
    }
    let flag = |name: &str| match arguments {
        Some(of) if of.get(name).is_some() => of.flag_or(name, false).map(Some),
        _ => Ok(None),
    };
    let (token, norm, bare) = (flag("class_token")?, flag("fc_norm")?, flag("no_embed_class")?);
    let argument = |name: &str| format!("model_args.{name}");
    let pool = match said.as_ref().map(|(name, text)| (name, text.as_str())) {
        None => token.map(|token| if token { Pool::ClassToken } else { Pool::Mean }),
        Some((_, "token")) => Some(Pool::ClassToken),
        Some((_, "avg")) => Some(Pool::Mean),
        Some((name, other)) => {
            refuse(name.clone(), format!("`{other}`"), "`token` or `avg`");
            None
        }
    };
    match pool {
        Some(Pool::ClassToken) => {
            if token == Some(false) {
                refuse(
                    argument("class_token"),
                    "false".into(),
                    "true, since the class token is read",
                );
            }
            if norm == Some(true) {
                refuse(
                    argument("fc_norm"),
                    "true".into(),
                    "false, the norm before the class token is read",
                );
            }
            if bare == Some(true) {
                refuse(
                    argument("no_embed_class"),
                    "true".into(),
                    "false: the class token has a position",
                );
            }
        }
        Some(Pool::Mean) => {
            if token == Some(true) {
                refuse(argument("class_token"), "true".into(), "false, since the mean is read");
            }
            if norm == Some(false) {
                refuse(argument("fc_norm"), "false".into(), "true, the norm of the mean");
            }
        }
        None => {}
    }
    Ok(pool)
}

/// The sizes in the file, and the number of heads.
#[allow(clippy::type_complexity)]
fn sizes(
    fields: &Fields,
    pretrained: &Fields,
    arguments: Option<&Fields>,
    known: Option<(usize, usize)>,
) -> Result<(Vec<(String, usize, Size)>, Option<usize>)> {
    const MAX_SIZE: usize = 1 << 20;
    let mut sizes = Vec::new();
    let mut heads = known.map(|(_, heads)| heads);
    let given = |name: &str| arguments.filter(|of| of.get(name).is_some());
    for (name, of_what) in [
        ("img_size", Size::Image),
        ("patch_size", Size::Patch),
        ("in_chans", Size::Channels),
        ("embed_dim", Size::Width),
        ("depth", Size::Depth),
    ] {
        if let Some(of) = given(name) {
            let size = match of_what {
                // Images and patches have two sides.
                Size::Image | Size::Patch => of.square(name, 1..=MAX_SIZE)?,
                _ => of.whole(name, 1..=MAX_SIZE)?,
            };
            sizes.push((of.full_name(name), size, of_what));
        }
    }
    if let Some(of) = given("num_heads") {
        heads = Some(of.whole("num_heads", 1..=MAX_SIZE)?);
    }
    let width = given("embed_dim").map(|of| of.whole("embed_dim", 1..=MAX_SIZE)).transpose()?;
    let width = width.or(known.map(|(width, _)| width));
    if let (None, Some(width)) = (given("embed_dim"), width) {
        sizes.push(("architecture".into(), width, Size::Width));
    }
    if let (Some(of), Some(width)) = (given("mlp_ratio"), width) {
        let ratio = of.positive_or("mlp_ratio", 1e6, 4.0)?;
        // Rounded down, as in timm.
        sizes.push((of.full_name("mlp_ratio"), (width as f64 * ratio) as usize, Size::Hidden));
    }
    if fields.get("num_features").is_some() {
        sizes.push((
            "num_features".into(),
            fields.whole("num_features", 1..=MAX_SIZE)?,
            Size::Width,
        ));
    }
    if let Some(value) = pretrained.get("input_size") {
        let name = pretrained.full_name("input_size");
        let numbers: Option<Vec<usize>> = value.as_array().and_then(|all| {
            all.iter().map(|v| v.as_u64().and_then(|v| usize::try_from(v).ok())).collect()
        });
        match numbers.as_deref() {
            Some([channels, rows, columns]) if rows == columns => {
                // The arguments override the pretrained model's configuration.
                if given("in_chans").is_none() {
                    sizes.push((name.clone(), *channels, Size::Channels));
                }
                if given("img_size").is_none() {
                    sizes.push((name, *rows, Size::Image));
                }
            }
            _ => {
                return Err(pretrained
                    .fault("input_size", "the field has another type or size")
                    .found(value)
                    .expected("channels, rows and columns, as many rows as columns")
                    .into());
            }
        }
    }
    Ok((sizes, heads))
}

/// Mean and deviation, with as many values as the file has.
fn normalize(pretrained: &Fields) -> Result<Option<Normalize>> {
    let values = |name: &str| -> Result<Option<Vec<f64>>> {
        match pretrained.get(name) {
            None => Ok(None),
            Some(Value::Array(all)) if !all.is_empty() => {
                pretrained.channels_or(name, all.len(), 0.0).map(Some)
            }
            Some(_) => pretrained.channels_or(name, 1, 0.0).map(Some),
        }
    };
    let (mean, std) = (values("mean")?, values("std")?);
    if let Some(bad) = std.iter().flatten().find(|v| **v <= 0.0) {
        return Err(pretrained
            .fault("std", "a deviation is not above 0")
            .found(bad)
            .expected("numbers above 0")
            .into());
    }
    Ok(match (mean, std) {
        (Some(mean), Some(std)) => Some(Normalize { mean, std }),
        (None, None) => None,
        (mean, _) => {
            let (field, other) = if mean.is_none() { ("mean", "std") } else { ("std", "mean") };
            return Err(pretrained
                .fault(field, "the field is missing")
                .expected(format!("one beside {other}"))
                .into());
        }
    })
}

impl TimmConfig {
    /// Checks the config at `path` against the tensors' shapes. Classes are checked only if
    /// the head is kept. The error names the field.
    pub fn check(&self, path: &Path, model: &VitSpec, new_head: bool) -> Result<()> {
        let contradiction = |field: &str, found: String, expected: String| {
            Err(Fault::of_file(path, format!("{field} contradicts the weights"))
                .found(found)
                .expected(expected)
                .into())
        };
        for (field, said, of_what) in &self.sizes {
            let (shown, tensor) = match of_what {
                Size::Image => (model.image_size, "pos_embed"),
                Size::Patch => (model.patch_size, "patch_embed.proj.weight"),
                Size::Channels => (model.channels, "patch_embed.proj.weight"),
                Size::Width => (model.dim, "patch_embed.proj.weight"),
                Size::Depth => (model.depth, "the blocks' names"),
                Size::Hidden => (model.hidden(), "mlp.fc1.weight"),
            };
            if *said != shown {
                return contradiction(field, said.to_string(), format!("{shown}, by {tensor}"));
            }
        }
        if let Some(pool) = self.pool.filter(|pool| *pool != model.pool) {
            let shown = |pool| match pool {
                Pool::ClassToken => "a class token that the classifier reads, after `norm`",
                Pool::Mean => "the mean over patches without a class token, then `fc_norm`",
            };
            return contradiction("global_pool", shown(pool).into(), shown(model.pool).into());
        }
        if new_head {
            return Ok(());
        }
        let other = self.classes.iter().find(|(_, classes)| *classes != model.classes);
        if let Some((field, classes)) = other {
            let expected = format!("{}, by head.weight", model.classes);
            return contradiction(field, classes.to_string(), expected);
        }
        if !self.class_names.is_empty() && self.class_names.len() != model.classes {
            let found = format!("{} names", self.class_names.len());
            return contradiction(
                "label_names",
                found,
                format!("{}, by head.weight", model.classes),
            );
        }
        Ok(())
    }

    /// The normalisation of `channels` channels, for pixels in \[0, 1\]; None if the file has none.
    /// Errors if the file has another number of values.
    pub fn normalize(&self, path: &Path, channels: usize) -> Result<Option<Normalize>> {
        let Some(Normalize { mean, std }) = &self.normalize else { return Ok(None) };
        let each = |name: &str, values: &Vec<f64>| -> Result<Vec<f64>> {
            match values.len() {
                n if n == channels => Ok(values.clone()),
                1 => Ok(vec![values[0]; channels]),
                n => Err(Fault::of_file(
                    path,
                    format!("{name}: the images' normalisation does not fit"),
                )
                .found(format!("{n} numbers"))
                .expected(format!("{channels}, one for each of the model's channels"))
                .into()),
            }
        };
        Ok(Some(Normalize { mean: each("mean", mean)?, std: each("std", std)? }))
    }
}
