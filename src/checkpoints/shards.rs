//! Weights in several files: `model.safetensors.index.json` and the shards beside it. transformers
//! and other programs write large models like this.
//!
//! The index says which shard holds which tensor, and the total size in bytes:
//!
//! ```json
//! {"metadata": {"total_size": 1234}, "weight_map": {"norm.bias": "model-00001-of-00002.safetensors"}}
//! ```
//!
//! Both must match the shards exactly. No other check finds a download that mixes two states of a
//! repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fault::json_fault;
use super::file::{TensorFile, parse, tensor_bytes};
use super::file_names::ENDING;
use crate::error::{Error, Fault, Result};
use crate::spec::hex;

/// The end of an index's file name.
const INDEX_ENDING: &str = ".safetensors.index.json";

/// A valid index file.
#[derive(Debug)]
pub struct Index {
    /// The shard of each tensor.
    shard_of: BTreeMap<String, String>,
    total_size: Option<u64>,
}

/// The fields of the file, not yet checked.
#[derive(Deserialize)]
struct Raw {
    weight_map: Pairs,
    metadata: Option<Value>,
}

/// A JSON object with all its keys, duplicates included.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Pairs, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors' names and their shards")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

impl Index {
    /// Reads an index; `path` names it in errors.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Index> {
        let fault = || Fault::of_file(path, "the index of the weights cannot be used");
        let text = std::str::from_utf8(bytes)
            .map_err(|_| fault().found("something that is not text").expected("JSON"))?;
        // Serde would also accept a list, with the fields in order.
        if !text.trim_start().starts_with('{') {
            let found = text.chars().take(20).collect::<String>();
            return Err(fault()
                .found(format!("{found:?}"))
                .expected("a JSON object with weight_map")
                .into());
        }
        let raw: Raw =
            serde_json::from_str(text).map_err(|e| fault().found(json_fault(text, &e)))?;
        let total_size = total_size(path, raw.metadata.as_ref())?;
        let mut shard_of = BTreeMap::new();
        let mut spelling: BTreeMap<String, String> = BTreeMap::new();
        for (tensor, value) in raw.weight_map.0 {
            let shard = match value {
                Value::String(shard) => shard,
                other => {
                    return Err(fault()
                        .tensor(&tensor)
                        .found(other)
                        .expected("the name of the shard that holds it")
                        .into());
                }
            };
            check_name(path, &tensor, &shard)?;
            // On a case-insensitive file system both spellings would be the same file.
            let first = spelling.entry(shard.to_lowercase()).or_insert_with(|| shard.clone());
            if *first != shard {
                return Err(Fault::of_file(path, "the index names a shard in two spellings")
                    .tensor(&tensor)
                    .found(format!("{first} and {shard}"))
                    .expected("one name a shard")
                    .into());
            }
            if let Some(other) = shard_of.insert(tensor.clone(), shard.clone()) {
                return Err(Fault::of_file(path, "the index names a tensor twice")
                    .tensor(&tensor)
                    .found(format!("{other} and {shard}"))
                    .expected("one shard a tensor")
                    .into());
            }
        }
        if shard_of.is_empty() {
            return Err(fault()
                .found("no tensors in weight_map")
                .expected("tensors' names and their shards")
                .into());
        }
        Ok(Index { shard_of, total_size })
    }

    /// The shards' names, sorted.
    pub fn shards(&self) -> Vec<String> {
        let shards: BTreeSet<&String> = self.shard_of.values().collect();
        shards.into_iter().cloned().collect()
    }

    /// Checks the index against the tensors that each shard holds.
    fn check(&self, path: &Path, held: &BTreeMap<String, BTreeSet<String>>) -> Result<()> {
        for (tensor, shard) in &self.shard_of {
            if held.get(shard).is_some_and(|tensors| tensors.contains(tensor)) {
                continue;
            }
            let elsewhere = held.iter().find(|(_, tensors)| tensors.contains(tensor));
            let found = elsewhere.map_or("in no shard".into(), |(other, _)| format!("in {other}"));
            return Err(Fault::of_file(path, "a shard lacks a tensor that the index puts there")
                .tensor(tensor)
                .found(found)
                .expected(format!("in {shard}"))
                .help(SAME_STATE)
                .into());
        }
        for (shard, tensors) in held {
            for tensor in tensors {
                let fault = |summary| Fault::of_file(path, summary).tensor(tensor);
                return Err(match self.shard_of.get(tensor) {
                    Some(indexed) if indexed == shard => continue,
                    Some(indexed) => fault("a tensor stands in two shards")
                        .found(format!("in {indexed} and {shard}"))
                        .expected(format!("in {indexed} alone, as the index has it")),
                    None => fault("a shard holds a tensor that the index does not name")
                        .found(format!("in {shard}"))
                        .expected("every tensor in weight_map"),
                }
                .help(SAME_STATE)
                .into());
            }
        }
        Ok(())
    }
}

const SAME_STATE: &str = "index and shards are of different states of the model: get all of them \
                          again";

fn total_size(path: &Path, metadata: Option<&Value>) -> Result<Option<u64>> {
    let wrong = |field: &str, found: &Value, expected: &str| {
        Err(Fault::of_file(path, format!("{field}: the index of the weights cannot be used"))
            .found(found)
            .expected(expected)
            .into())
    };
    let size = match metadata {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields.get("total_size"),
        Some(other) => return wrong("metadata", other, "an object"),
    };
    let Some(size) = size else { return Ok(None) };
    // Some programs write the size as 1234.0.
    let whole = |v: f64| (v >= 0.0 && v.fract() == 0.0 && v < 9e15).then_some(v as u64);
    match size.as_u64().or_else(|| size.as_f64().and_then(whole)) {
        Some(bytes) => Ok(Some(bytes)),
        None => wrong("metadata.total_size", size, "a number of bytes"),
    }
}

/// Errors unless the shard is the name of a safetensors file in the index's folder.
fn check_name(path: &Path, tensor: &str, shard: &str) -> Result<()> {
    let outside = |c: char| c == '/' || c == '\\' || c == ':' || c.is_control();
    let fault = |summary| Fault::of_file(path, summary).tensor(tensor).found(format!("{shard:?}"));
    if shard.contains(outside) {
        return Err(fault("the index names a shard outside of its folder")
            .expected("the name of a file beside the index")
            .into());
    }
    if !shard.ends_with(ENDING) || shard == ENDING {
        return Err(fault("the index names a shard that is no safetensors file")
            .expected(format!("a name that ends in {ENDING}"))
            .into());
    }
    Ok(())
}

/// Whether a file's name is that of an index.
pub fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(INDEX_ENDING)
}

/// Reads the shards of an index as one file.
///
/// Its `sha256` is the hash of the output of `sha256sum INDEX SHARDS`, with the shards sorted by
/// name. A line is the hash, two spaces and the name.
pub fn read(path: &Path) -> Result<TensorFile> {
    let bytes = fs::read(path)
        .map_err(|e| Fault::of_file(path, "the index of the weights cannot be read").found(e))?;
    let index = Index::parse(path, &bytes)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let shards = index.shards();
    // Checked before the first shard is read, since shards may be large.
    for shard in &shards {
        if !folder.join(shard).is_file() {
            return Err(missing(path, shard, shards.len()));
        }
    }
    let line = |sha256: &str, name: &str| format!("{sha256}  {name}\n");
    let index_name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut lines = line(&hex(&Sha256::digest(&bytes)), &index_name);
    let mut whole = TensorFile { path: path.to_path_buf(), ..TensorFile::default() };
    let (mut held, mut size) = (BTreeMap::new(), 0u64);
    for shard in &shards {
        let at = folder.join(shard);
        let bytes =
            fs::read(&at).map_err(|e| Fault::of_file(&at, "a shard cannot be read").found(e))?;
        let part = parse(&at, &bytes)?;
        size += tensor_bytes(&bytes);
        lines += &line(&part.sha256, shard);
        let names = part.tensors.keys().chain(part.others.keys()).cloned();
        held.insert(shard.clone(), names.collect::<BTreeSet<_>>());
        whole.tensors.extend(part.tensors);
        whole.others.extend(part.others);
        whole.metadata.extend(part.metadata);
    }
    index.check(path, &held)?;
    if let Some(said) = index.total_size.filter(|said| *said != size) {
        return Err(Fault::of_file(path, "metadata.total_size is not the size of the shards")
            .found(format!("{said} bytes"))
            .expected(format!("{size} bytes, as the tensors of {} shards take", shards.len()))
            .help("get index and shards again; if they are right, take total_size out of the index")
            .into());
    }
    whole.sha256 = hex(&Sha256::digest(lines.as_bytes()));
    Ok(whole)
}

fn missing(path: &Path, shard: &str, all: usize) -> Error {
    let place = path.parent().unwrap_or(Path::new("")).join(shard);
    let found = if place.is_dir() { "a folder of this name" } else { "no such file" };
    Fault::of_file(&place, "a shard of the weights is missing")
        .found(found)
        .expected(format!("all {all} shards beside {}", path.display()))
        .into()
}

/// The stem of a shard's name: `model` for `model-00001-of-00003.safetensors`.
fn stem_of_shard(name: &str) -> Option<&str> {
    let (start, total) = name.strip_suffix(ENDING)?.rsplit_once("-of-")?;
    let (stem, part) = start.rsplit_once('-')?;
    let number = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
    (number(part) && number(total) && total != "00001").then_some(stem)
}

/// The first file name of a folder that is a shard's.
pub fn first_shard(names: &[String]) -> Option<&String> {
    names.iter().filter(|name| stem_of_shard(name).is_some()).min()
}

/// Errors if the file's name is that of one shard of several.
pub fn refuse_shard(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(stem) = stem_of_shard(&name) else { return Ok(()) };
    let index = path.with_file_name(format!("{stem}{INDEX_ENDING}"));
    let fault = Fault::of_file(path, "the file is one shard of a model's weights")
        .found("a part of the tensors")
        .expected("the index of all shards, or the folder that they are in");
    Err(match index.is_file() {
        true => fault.help(format!("read {}", index.display())),
        false => fault.help(format!("get {stem}{INDEX_ENDING} and the other shards too")),
    }
    .into())
}
