//! The display of downloads.

/// Displays the progress of downloads.
pub trait Progress {
    /// A message for the user.
    fn note(&self, _text: &str) {}
    /// A file's download begins; `size` is in bytes.
    fn start(&self, _path: &str, _size: u64) {}
    /// The file has `bytes` bytes so far.
    fn at(&self, _path: &str, _bytes: u64) {}
    fn done(&self, _path: &str) {}
}

/// Displays nothing.
pub struct Silent;

impl Progress for Silent {}
