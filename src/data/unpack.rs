//! Gzipped files.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Fault, Result};
use crate::hub::File;

/// Largest accepted ratio of unpacked to packed size. Real rows compress at most twentyfold, black
/// images somewhat more. A file beyond this was made to fill the memory.
const MAX_RATIO: u64 = 200;
/// Unpacked bytes that are always allowed, even for a small file.
const ALWAYS: u64 = 1 << 20;

/// The file's content, unpacked if its name ends in `.gz`. Errors if it is damaged, or if it
/// unpacks to more than 200 times its size.
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
    let limit = MAX_RATIO * file.bytes.len() as u64 + ALWAYS;
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
