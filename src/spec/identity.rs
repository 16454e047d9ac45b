//! The id of a run: a hash of everything that affects its result.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::schema::{Architecture, DataSpec, Interpolation, RunSpec};

/// Increased whenever the same spec would give other numbers than before.
pub const NUMERICS_VERSION: u32 = 4;

/// What the spec adds to the ids of its runs, the same for every seed.
pub struct SpecIdentity(String);

impl SpecIdentity {
    pub fn of(spec: &RunSpec) -> SpecIdentity {
        let fields = identifying_fields(spec);
        let line = |(field, value)| format!("{field}={value}\n");
        SpecIdentity(fields.into_iter().map(line).collect())
    }

    /// The id of a run: 12 hexadecimal digits of a SHA-256. It covers the resolved spec, the seed, the
    /// data's hash instead of their source, a hash or run id of the start weights instead of their
    /// name, and [`NUMERICS_VERSION`].
    pub fn run_id(&self, seed: u64, data_sha256: &str, start: Option<&str>) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("numerics={NUMERICS_VERSION}\nseed={seed}\ndata={data_sha256}\n"));
        if let Some(start) = start {
            hash.update(format!("start={start}\n"));
        }
        hash.update(&self.0);
        hex(&hash.finalize())[..12].to_string()
    }
}

/// The fields that name data, tokenizers and weights. The data's hash includes the tokenizer.
const SOURCES: [&str; 9] = [
    "data.hub",
    "data.path",
    "data.embedded",
    "data.config",
    "data.tokenizer.hub",
    "data.tokenizer.path",
    "start.arm",
    "start.checkpoint",
    "start.hub",
];

/// What becomes of examples that stand in two splits.
pub const DUPLICATES: &str = "data.duplicates";

/// The fields of a spec that name data, tokenizers and weights, those that are not null.
pub fn source_fields(spec: &RunSpec) -> BTreeMap<String, String> {
    let mut fields = flatten(spec);
    fields.retain(|field, value| SOURCES.contains(&field.as_str()) && value != "null");
    fields
}

/// Fields that the first runs of their kind did not have yet, with the value that stands for what these
/// runs did. At this value a field is not part of an id, so that the ids of these runs stay.
///
/// The first column is the architecture whose field it is; None where all have it. Options that a written
/// spec leaves out at null need no line.
const LEFT_OUT_AT: &[(Option<Architecture>, &str, &str)] = &[
    (None, "precision", r#""float32""#),
    (None, "data.resize", "null"),
    (None, "data.crop", r#""none""#),
    (None, "data.augment.random_resized_crop", "null"),
    (None, "data.augment.policy_first", "false"),
    (None, "data.augment.fill", "0"),
    (None, "data.group_by_length", "true"),
    (None, "data.tokenizer.keep_hyphens", r#""none""#),
    (None, "data.tokenizer.normalisation", r#""none""#),
    (None, "data.decoding.validate_every", "1"),
    (Some(Architecture::Vit), "model.variant", r#""timm""#),
    (Some(Architecture::Vit), "model.dropout", "0.0"),
    (Some(Architecture::Vit), "model.attention_dropout", "0.0"),
    (Some(Architecture::Vit), "model.stochastic_depth", "0.0"),
    (None, "vlora.sharing", r#""sequence""#),
    (None, "vlora.keep_first", "0"),
    (None, "vlora.keep_last", "0"),
    (None, "vlora.increment_on", r#""others""#),
    (None, "start.position_embedding", r#""auto""#),
    (None, "start.base_init", r#""first""#),
    (None, "start.increments", r#""svd""#),
    (None, "training.schedule", r#""cosine""#),
    // It is stored with `min_learning_rate_ratio: 1`. Older runs wrote a cosine with this ratio, and keep their
    // ids.
    (None, "training.schedule", r#""constant""#),
];

/// The fields of an architecture that are left out of ids at a value, with this value as JSON.
pub fn left_out_at(
    architecture: Architecture,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let applies =
        move |owner: &Option<Architecture>| owner.is_none_or(|owner| owner == architecture);
    let all = LEFT_OUT_AT.iter().filter(move |(owner, ..)| applies(owner));
    all.map(|(_, field, value)| (*field, *value))
}

/// The fields of a spec that affect a run's result. The names of data and weights are left out,
/// since their hashes are part of the id. `data.duplicates` is left out, since it only decides whether
/// data are refused.
pub fn identifying_fields(spec: &RunSpec) -> BTreeMap<String, String> {
    let mut fields = flatten(spec);
    fields.remove(DUPLICATES);
    for source in SOURCES {
        fields.remove(source);
    }
    for (field, value) in left_out_at(spec.model.architecture()) {
        if fields.get(field).is_some_and(|given| given == value) {
            fields.remove(field);
        }
    }
    // The kind of interpolation has no effect where nothing is resized.
    if let DataSpec::Images(data) = &spec.data
        && (data.interpolation == Interpolation::default() || !data.resizes())
    {
        fields.remove("data.interpolation");
    }
    fields
}

/// The fields of two specs that affect their runs' results, for a comparison. A field that only one of the ids
/// includes has a value on both sides, if both specs have it.
pub fn comparable_fields(specs: [&RunSpec; 2]) -> [BTreeMap<String, String>; 2] {
    let ids = specs.map(identifying_fields);
    let names: BTreeSet<&String> = ids.iter().flat_map(BTreeMap::keys).collect();
    specs.map(|spec| {
        let mut fields = flatten(spec);
        fields.retain(|field, _| names.contains(field));
        fields
    })
}

/// Fields that a run fills in from its start weights, with the value that leaves them open.
const FILLED_IN: [(&str, &str); 2] = [("data.normalize", "null"), (POSITIONS, r#""auto""#)];
const POSITIONS: &str = "start.position_embedding";

/// A field that differs between a spec and that of a finished run, with both values as JSON; None where a
/// spec has no such field.
#[derive(Debug, PartialEq, Eq)]
pub struct ChangedField {
    pub field: String,
    pub spec: Option<String>,
    pub run: Option<String>,
}

/// The first field by which a finished run is not one of this spec; None if it is. The precision may
/// differ, since `auto` follows the device.
pub fn changed_field(spec: &RunSpec, run: &RunSpec) -> Option<ChangedField> {
    let [ours, theirs] = comparable_fields([spec, run]);
    let all = [spec, run].map(flatten);
    // A run may also leave open what its spec says, if that has no effect on these weights.
    let is_filled_in = |field: &str| {
        run.start.is_some()
            && FILLED_IN.iter().any(|(outer, open)| {
                let is_open =
                    |all: &BTreeMap<String, String>| all.get(*outer).is_some_and(|v| v == open);
                is_within(field, outer)
                    && (is_open(&all[0]) || *outer == POSITIONS && is_open(&all[1]))
            })
    };
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let changed = names.into_iter().find(|field| {
        *field != "precision" && !is_filled_in(field) && ours.get(*field) != theirs.get(*field)
    })?;
    // A section that only one of them has is not nothing on the other side.
    let value = |fields: &BTreeMap<String, String>, all: &BTreeMap<String, String>| {
        let inside =
            || fields_within(all, changed).next().map(|(field, v)| format!("{field}: {v}, …"));
        fields.get(changed).cloned().or_else(inside)
    };
    Some(ChangedField {
        field: changed.clone(),
        spec: value(&ours, &all[0]),
        run: value(&theirs, &all[1]),
    })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A serialisable value as dotted fields with JSON scalars, sorted by field.
pub fn flatten<T: Serialize>(value: &T) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    // Specs have only maps with text keys, lists and scalars, which JSON can represent.
    if let Ok(json) = serde_json::to_value(value) {
        walk(&json, String::new(), &mut out);
    }
    out
}

/// Whether a dotted field is `outer`, or lies within it.
pub fn is_within(field: &str, outer: &str) -> bool {
    let rest = field.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Those of the fields that are this one, or in it.
pub fn fields_within<'a>(
    fields: &'a BTreeMap<String, String>,
    field: &str,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    fields.iter().filter(move |(name, _)| is_within(name, field))
}

fn walk(value: &Value, path: String, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, path, out);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                walk(item, format!("{path}[{i}]"), out);
            }
        }
        scalar => {
            out.insert(path, scalar.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(data: &str, augment: &str) -> String {
        let spec = serde_json::json!({
            "task": "image-classification",
            "data": serde_json::from_str::<Value>(data).unwrap(),
            "model": {"architecture": "vit", "image_size": 28, "patch_size": 7, "classes": 10,
                "dim": 8, "depth": 1, "heads": 1},
        });
        let mut spec: RunSpec = serde_json::from_value(spec).unwrap();
        let DataSpec::Images(images) = &mut spec.data else { panic!("images") };
        images.augment = serde_json::from_str(augment).unwrap();
        SpecIdentity::of(&spec).run_id(0, "data", None)
    }

    /// A ViT with the given training section, on unnamed data.
    fn with(training: Value, normalize: Value) -> RunSpec {
        let model = serde_json::json!({"architecture": "vit", "image_size": 28, "patch_size": 7, "classes": 10,
            "dim": 8, "depth": 1, "heads": 1});
        let spec = serde_json::json!({"task": "image-classification", "data": {"normalize": normalize},
            "model": model, "training": training});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_run_of_another_spec_is_seen_by_any_field() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let changed = |spec: &str, run: &str| {
            let [spec, run] = [spec, run].map(|training| with(json(training), Value::Null));
            changed_field(&spec, &run).map(|changed| changed.field)
        };
        assert_eq!(changed("{}", "{}"), None);
        for (spec, run, field) in [
            // Left out of ids at its default.
            ("{}", r#"{"schedule": "linear"}"#, "schedule"),
            (r#"{"schedule": "linear"}"#, "{}", "schedule"),
            // Options that are not in a spec without them.
            ("{}", r#"{"ema_decay": 0.99}"#, "ema_decay"),
            (r#"{"ema_decay": 0.99}"#, "{}", "ema_decay"),
            // Null is a value.
            (r#"{"clip_norm": null}"#, r#"{"clip_norm": 1.0}"#, "clip_norm"),
        ] {
            assert_eq!(changed(spec, run), Some(format!("training.{field}")), "{spec} {run}");
        }
    }

    #[test]
    fn what_a_run_fills_in_from_its_start_weights_is_no_change() {
        let none = || Value::Object(Default::default());
        let statistics = |mean: f64| serde_json::json!({"mean": [mean], "std": [0.5]});
        let from_seed = |normalize| with(none(), normalize);
        let started = |normalize, positions: &str| {
            let start = serde_json::json!({"checkpoint": "x", "position_embedding": positions});
            RunSpec { start: serde_json::from_value(start).unwrap(), ..with(none(), normalize) }
        };
        let run = started(statistics(0.25), "timm");
        assert_eq!(changed_field(&started(Value::Null, "auto"), &run), None);
        // Nothing was resampled.
        let kept = started(statistics(0.25), "auto");
        assert_eq!(changed_field(&started(Value::Null, "timm"), &kept), None);
        let changed = |spec: RunSpec, run: &RunSpec| {
            let ChangedField { field, spec, run } = changed_field(&spec, run).unwrap();
            (field, spec.unwrap(), run.unwrap())
        };
        let mean = |spec: &str, run: &str| {
            ("data.normalize.mean[0]".to_string(), spec.to_string(), run.to_string())
        };
        assert_eq!(changed(started(statistics(0.5), "timm"), &run), mean("0.5", "0.25"));
        // A run from its seed fills nothing in.
        let (field, spec, run) = changed(from_seed(Value::Null), &from_seed(statistics(0.25)));
        assert_eq!((field.as_str(), spec.as_str()), ("data.normalize", "null"));
        assert_eq!(run, "data.normalize.mean[0]: 0.25, …");
        let float32 = from_seed(Value::Null);
        let bf16 = RunSpec { precision: crate::spec::Precision::Bf16, ..float32.clone() };
        assert_eq!(changed_field(&float32, &bf16), None);
    }

    /// Fields on image sizes are part of the id only if they change an image.
    #[test]
    fn size_fields_change_the_id_only_off_their_defaults() {
        let plain = id("{}", "{}");
        for (data, augment) in [
            (r#"{"resize": null, "crop": "none", "interpolation": "bilinear"}"#, "{}"),
            (r#"{"interpolation": "bicubic"}"#, "{}"),
            (r#"{"duplicates": "keep"}"#, "{}"),
            ("{}", r#"{"random_resized_crop": null}"#),
        ] {
            assert_eq!(id(data, augment), plain, "{data} {augment}");
        }
        let parts = r#"{"random_resized_crop": {}}"#;
        let other = [
            plain.clone(),
            id(r#"{"resize": "exact"}"#, "{}"),
            id(r#"{"resize": "exact", "interpolation": "bicubic"}"#, "{}"),
            id(r#"{"resize": 28}"#, "{}"),
            id(r#"{"resize": 32, "crop": "center"}"#, "{}"),
            id(r#"{"crop": "center"}"#, "{}"),
            id("{}", parts),
            id(r#"{"interpolation": "bicubic"}"#, parts),
            id("{}", r#"{"random_resized_crop": {"scale": [0.5, 1]}}"#),
            id("{}", r#"{"random_resized_crop": {"ratio": [1, 1]}}"#),
        ];
        let different: std::collections::HashSet<_> = other.iter().collect();
        assert_eq!(different.len(), other.len());
    }
}
