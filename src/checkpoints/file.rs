//! Reads a safetensors file as float32 tensors by name, or gives one clear error.
//!
//! Float16 and bfloat16 are widened, which is exact. Only names and types of other tensors are
//! kept: some programs store integer buffers that are not weights. Pickles are refused without
//! loading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::file_names::MODEL;
use crate::error::{Error, Fault, Result};
use crate::spec::hex;

/// The content of a weights file, or of all shards of an index together.
#[derive(Clone, Debug, Default)]
pub struct TensorFile {
    /// The file, even if the caller named its folder. For shards, the index.
    pub path: PathBuf,
    /// SHA-256 of the file. For shards, that of the output of `sha256sum INDEX SHARDS` in their
    /// folder.
    pub sha256: String,
    pub metadata: BTreeMap<String, String>,
    /// Float32, finite, on the CPU.
    pub tensors: BTreeMap<String, Tensor>,
    /// Names and types of the tensors that are not float32, float16 or bfloat16.
    pub others: BTreeMap<String, String>,
}

impl TensorFile {
    /// Refuses the names of a model that `torch.compile` wraps.
    pub fn expect_uncompiled(&self) -> Result<()> {
        match self.tensors.keys().find(|name| name.starts_with("_orig_mod.")) {
            None => Ok(()),
            Some(name) => {
                let wrapped = "the names are those of a model that torch.compile wraps";
                Err(Fault::of_file(&self.path, wrapped)
                    .tensor(name)
                    .expected("names without `_orig_mod.`")
                    .help("save the state_dict of the model that was compiled, or take the prefix away")
                    .into())
            }
        }
    }

    /// Errors if the file has a tensor of another type, unless `skips` returns true for its name.
    pub fn only_floats(&self, skips: impl Fn(&str) -> bool) -> Result<()> {
        match self.others.iter().find(|(name, _)| !skips(name)) {
            None => Ok(()),
            Some((name, dtype)) => Err(Fault::of_file(&self.path, "a tensor has another type")
                .tensor(name)
                .found(dtype)
                .expected("F32, F16 or BF16")
                .help("convert it, in PyTorch with .float(), and save the file again")
                .into()),
        }
    }
}

/// The error for a pickle.
pub fn pickle_error(path: &Path) -> Error {
    Fault::of_file(path, "the file is a pickle, which is never read: loading one can run any code")
        .expected("a safetensors file")
        .help(format!(
            "in Python, if you trust the file: import torch, safetensors.torch; \
             safetensors.torch.save_file({{k: v.clone().contiguous() for k, v in \
             torch.load({:?}, map_location=\"cpu\", weights_only=True).items()}}, \
             \"{MODEL}\", {{\"format\": \"pt\"}})",
            path.display().to_string()
        ))
        .into()
}

/// Parses a file's bytes; `path` names the file in errors.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<TensorFile> {
    if is_pickle(bytes) && SafeTensors::read_metadata(bytes).is_err() {
        return Err(pickle_error(path));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|e| unreadable(path, bytes, e))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| unreadable(path, bytes, e))?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let (mut tensors, mut others) = (BTreeMap::new(), BTreeMap::new());
    let mut views: Vec<(String, TensorView)> = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, view) in views {
        match widened(&view)? {
            None => {
                others.insert(name, view.dtype().to_string());
            }
            Some(values) => {
                check_finite(path, &name, view.shape(), &values)?;
                tensors.insert(name, Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
            }
        }
    }
    let sha256 = hex(&Sha256::digest(bytes));
    Ok(TensorFile { path: path.to_path_buf(), sha256, metadata, tensors, others })
}

/// Whether shape and every bit of two tensors of float32 are equal.
pub fn same(a: &Tensor, b: &Tensor) -> candle_core::Result<bool> {
    let bits = |t: &Tensor| -> candle_core::Result<Vec<u32>> {
        Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    Ok(a.dims() == b.dims() && bits(a)? == bits(b)?)
}

/// Bytes of all tensors in a valid file: the file's length without its header.
pub fn tensor_bytes(bytes: &[u8]) -> u64 {
    let header = bytes.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first));
    (bytes.len() as u64).saturating_sub(header.saturating_add(8))
}

/// Whether bytes begin like a file of `torch.save`: a zip with a pickle, or before version 1.6 a
/// bare pickle. A safetensors file begins with its header's length, which is less than 2³².
fn is_pickle(bytes: &[u8]) -> bool {
    let zip = bytes.starts_with(b"PK\x03\x04");
    zip || matches!(bytes, [0x80, 1..=5, ..]) && bytes.get(4..8) != Some(&[0; 4])
}

/// The values as float32; None for another type.
fn widened(view: &TensorView) -> Result<Option<Vec<f32>>> {
    let dtype = match view.dtype() {
        Dtype::F32 => {
            let (words, _) = view.data().as_chunks::<4>();
            return Ok(Some(words.iter().map(|word| f32::from_le_bytes(*word)).collect()));
        }
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        _ => return Ok(None),
    };
    let count = view.data().len() / 2;
    let narrow = Tensor::from_raw_buffer(view.data(), dtype, &[count], &Device::Cpu)?;
    Ok(Some(narrow.to_dtype(DType::F32)?.to_vec1()?))
}

fn check_finite(path: &Path, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
    let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let mut rest = at;
    let mut index: Vec<usize> = Vec::new();
    for size in shape.iter().rev() {
        index.insert(0, rest % size);
        rest /= size;
    }
    let all = values.iter().filter(|v| !v.is_finite()).count();
    Err(Fault::of_file(path, "a weight is not finite")
        .tensor(name)
        .found(format!("{} at {index:?}, the first of {all} among {}", values[at], values.len()))
        .help("the training that wrote the file diverged, or the file is damaged")
        .into())
}

/// The error for bytes that are not a valid safetensors file.
fn unreadable(path: &Path, bytes: &[u8], error: SafeTensorError) -> Error {
    let what = "the file is not a sound safetensors file";
    let fault = Fault::of_file(path, what);
    let again = "copy or download the file again";
    let length = bytes.first_chunk::<8>().map(|first| u64::from_le_bytes(*first));
    let header = length.and_then(|n| bytes.get(8..usize::try_from(n).ok()?.checked_add(8)?));
    let entries: Value = header.and_then(|h| serde_json::from_slice(h).ok()).unwrap_or(Value::Null);
    let fault = match (error, length) {
        (SafeTensorError::HeaderTooSmall, _) | (_, None) => fault
            .found(format!("{} bytes", bytes.len()))
            .expected("8 bytes with the header's length, the header, the tensors")
            .help(again),
        (SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength, Some(n)) => fault
            .found(format!("a header of {n} bytes announced by a file of {}", bytes.len()))
            .expected("a header within the file, of at most 100 MB")
            .help("the file is cut short, or of another format"),
        (SafeTensorError::InvalidHeader(_), _) => {
            fault.found("a header that is not text").expected("JSON").help(again)
        }
        (SafeTensorError::InvalidHeaderDeserialization(e), _) => {
            fault.found(format!("a header that does not parse: {e}")).help(again)
        }
        (SafeTensorError::InvalidOffset(name), _) => fault
            .tensor(&name)
            .found("a place in the file that overlaps another tensor's or leaves a gap")
            .expected("tensors one behind the other")
            .help(again),
        (SafeTensorError::MetadataIncompleteBuffer, _) => {
            let held = bytes.len() - 8 - header.map_or(0, <[u8]>::len);
            fault
                .found(format!("{held} bytes of tensors"))
                .expected(format!("{} bytes, as the header says", last_byte(&entries)))
                .help(again)
        }
        (SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow, _) => {
            let culprit = entries.as_object().and_then(|all| all.iter().find(|(_, e)| !fits(e)));
            let fault = match culprit {
                Some((name, entry)) => fault.tensor(name).found(entry),
                None => fault,
            };
            fault.expected("as many bytes as type and shape take").help(again)
        }
        (other, _) => fault.found(other).help(again),
    };
    fault.into()
}

/// The end offset of the last tensor in a header.
fn last_byte(entries: &Value) -> u64 {
    let ends = entries.as_object().into_iter().flatten();
    ends.filter_map(|(_, entry)| entry["data_offsets"][1].as_u64()).max().unwrap_or(0)
}

/// Whether a header entry's offsets match its type and shape.
fn fits(entry: &Value) -> bool {
    let Ok(dtype) = serde_json::from_value::<Dtype>(entry["dtype"].clone()) else {
        // This is the metadata entry, not a tensor.
        return true;
    };
    let bits = entry["shape"]
        .as_array()
        .into_iter()
        .flatten()
        .try_fold(dtype.bitsize() as u64, |bits, size| bits.checked_mul(size.as_u64()?));
    let offset = |i: usize| entry["data_offsets"][i].as_u64();
    match (bits, offset(0), offset(1)) {
        (Some(bits), Some(start), Some(end)) => {
            end.checked_sub(start).and_then(|length| length.checked_mul(8)) == Some(bits)
        }
        _ => false,
    }
}
