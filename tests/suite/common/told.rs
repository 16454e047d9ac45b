//! What is told of a faulty checkpoint.

use std::fmt::Write;
use std::path::Path;

use vlora::checkpoints::{Hints, read_checkpoint};

/// Adds what is told of the checkpoint at `path`, its places relative to `folder`.
pub fn tell(text: &mut String, folder: &Path, what: &str, path: &Path, hints: &Hints) {
    let error = match read_checkpoint(path, hints) {
        Ok(_) => panic!("{what}: accepted"),
        Err(e) => e,
    };
    assert_eq!(error.exit_code(), 2, "{what}: {error}");
    let place = format!("{}/", folder.display().to_string().trim_end_matches('/'));
    writeln!(text, "# {what}\n{}\n", error.to_string().replace(&place, "")).unwrap();
}
