//! A run is its id: a hash of everything that decides its result.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::precision::Precision;
use super::schema::{Crop, DataSpec, Interpolation, RunSpec};

/// Raised whenever the same spec would train to other numbers than before.
pub const NUMERICS_VERSION: u32 = 3;

/// The id of a run: 12 hexadecimal digits of a SHA-256 over the resolved spec, the seed,
/// the data's hash (which stands for where the data came from), what the run starts from
/// (a checkpoint's hash or another run's id, which stand for its name) and [`NUMERICS_VERSION`].
pub fn run_id(spec: &RunSpec, seed: u64, data_sha256: &str, start: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("numerics={NUMERICS_VERSION}\nseed={seed}\ndata={data_sha256}\n"));
    if let Some(start) = start {
        hash.update(format!("start={start}\n"));
    }
    for (field, value) in identifying_fields(spec) {
        hash.update(format!("{field}={value}\n"));
    }
    hex(&hash.finalize())[..12].to_string()
}

/// The fields of a spec that decide a run's result. What data and weights are called is not among
/// them: their hashes are. Nor is float32, which every run was before there was another precision,
/// nor whether examples in two splits are refused, which changes no run that is made.
pub fn identifying_fields(spec: &RunSpec) -> BTreeMap<String, String> {
    let mut fields = flatten(spec);
    let data = ["data.hub", "data.path", "data.embedded", "data.config", "data.duplicates"];
    // The data's hash holds that of the tokenizer.
    let tokenizer = ["data.tokenizer.hub", "data.tokenizer.path"];
    let weights = ["start.arm", "start.checkpoint", "start.hub"];
    for source in data.into_iter().chain(tokenizer).chain(weights) {
        fields.remove(source);
    }
    if spec.precision == Precision::Float32 {
        fields.remove("precision");
    }
    // Fields that came later, where they say what was done before they came.
    let DataSpec::Images(data) = &spec.data else { return fields };
    if data.resize.is_none() {
        fields.remove("data.resize");
    }
    if data.crop == Crop::None {
        fields.remove("data.crop");
    }
    let resized = data.resize.is_some() || data.augment.random_resized_crop.is_some();
    if data.interpolation == Interpolation::default() || !resized {
        fields.remove("data.interpolation");
    }
    if data.augment.random_resized_crop.is_none() {
        fields.remove("data.augment.random_resized_crop");
    }
    fields
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A serialisable value as dotted fields with JSON scalars, in the fields' order.
pub fn flatten<T: Serialize>(value: &T) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    // Specs hold only maps with text keys, lists and scalars: JSON holds all of them.
    if let Ok(json) = serde_json::to_value(value) {
        walk(&json, String::new(), &mut out);
    }
    out
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
        run_id(&spec, 0, "data", None)
    }

    /// Fields of sizes count where they change an image, and are as if they were not where not.
    #[test]
    fn fields_of_sizes_count_off_their_defaults() {
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
