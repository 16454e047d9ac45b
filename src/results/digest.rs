//! The SHA-256 that `result.json` stores of itself, so that any later change to it is detected. `result.json`
//! also stores the hashes of the run's other files.

use sha2::{Digest, Sha256};

use super::folder::RunFolder;
use super::json::to_json;
use super::record::RunResult;
use crate::error::Result;
use crate::spec::hex;

/// Stands for the digest while it is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What comes before the digest in the file.
const FIELD: &str = "\"digest\": \"";

impl RunFolder {
    /// Writes `result.json` with its digest. Returns the result with it.
    pub fn write_result(&self, result: RunResult) -> Result<RunResult> {
        let mut result = RunResult { digest: Some(BLANK.into()), ..result };
        let text = |result: &RunResult| -> Result<Vec<u8>> {
            let mut text = Vec::new();
            to_json(&mut text, result, &self.file(Self::RESULT), true)?;
            text.push(b'\n');
            Ok(text)
        };
        result.digest = Some(hex(&Sha256::digest(text(&result)?)));
        self.write(Self::RESULT, &text(&result)?)?;
        Ok(result)
    }
}

/// Whether the text of `result.json` is as it was written. Records of earlier versions have no digest, and
/// count as such.
pub fn is_as_written(text: &str) -> bool {
    let Some(start) = text.rfind(FIELD).map(|at| at + FIELD.len()) else { return true };
    let end = start + BLANK.len();
    let Some(digest) = text.get(start..end) else { return false };
    let blank = [&text[..start], BLANK, &text[end..]].concat();
    hex(&Sha256::digest(blank)) == digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let run = crate::results::ExperimentFolder::new(dir.path()).run("abc");
        let written = run.write_result(RunResult::least()).unwrap();
        let text = std::fs::read_to_string(run.file(RunFolder::RESULT)).unwrap();
        assert!(is_as_written(&text) && text.contains(&written.digest.unwrap()));
        // The name of the field stands for itself: without it, the text is one of an earlier version.
        let name = text.rfind(FIELD).unwrap();
        for at in (0..text.len()).filter(|at| !(name..name + FIELD.len()).contains(at)) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(!is_as_written(&String::from_utf8(bytes).unwrap()), "byte {at}");
        }
        assert!(!is_as_written(&text[..name + FIELD.len() + 5]));
    }
}
