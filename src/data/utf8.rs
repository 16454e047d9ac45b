//! Texts within files, which must be UTF-8.

use crate::error::{Fault, Result};
use crate::hub::File;
use crate::spec::shorten;

/// The text of a part of a file, such as a line; `what` names the part in an error, which does not name
/// the file.
pub fn part<'b>(what: &str, bytes: &'b [u8]) -> Result<&'b str> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let before = String::from_utf8_lossy(&bytes[..at]);
        Fault::new(format!("{what} is not text"))
            .found(format!("byte {:#04x} behind `{}`", bytes[at], shorten(&before)))
            .expected("UTF-8")
    })?;
    Ok(text)
}

/// The text of a whole file. An error names the line of the first wrong byte.
pub fn whole_file<'b>(file: &File, bytes: &'b [u8]) -> Result<&'b str> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let valid = &bytes[..e.valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        let wrong: Vec<String> =
            bytes[e.valid_up_to()..].iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Fault::new("the text is not UTF-8")
            .source(&file.name)
            .line(line)
            .found(format!("the bytes {}", wrong.join(" ")))
            .expected("UTF-8: `iconv -t UTF-8 -f ENCODING` converts a text")
    })?;
    Ok(text)
}
