//! Gzipped files.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Fault, Result};
use crate::hub::File;

/// Rows compress to a twentieth at best, black images somewhat further; beyond this a file is
/// made to fill the memory.
const MOST_FOLD: u64 = 200;
/// Whatever a file's own size.
const ALWAYS: u64 = 1 << 20;

/// The file's content, unpacked where its name ends in `.gz`. Errors if it is damaged, or unfolds
/// to more than 200 times its size.
pub fn unpack(file: &File) -> Result<Cow<'_, [u8]>> {
    if !file.path.to_ascii_lowercase().ends_with(".gz") {
        return Ok(Cow::Borrowed(&file.bytes));
    }
    let fail = |found: String, expected: &str| {
        Error::from(
            Fault::new("the gzip file cannot be unpacked")
                .source(&file.name)
                .found(found)
                .expected(expected),
        )
    };
    let limit = MOST_FOLD * file.bytes.len() as u64 + ALWAYS;
    let mut bytes = Vec::new();
    MultiGzDecoder::new(&file.bytes[..])
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| fail(e.to_string(), "a whole gzip file"))?;
    if bytes.len() as u64 > limit {
        let expected = "at most 200 times its size: this is taken for a decompression bomb";
        return Err(fail(format!("more than {limit} bytes in it"), expected));
    }
    Ok(Cow::Owned(bytes))
}
