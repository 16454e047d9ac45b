//! What is shown while the network is used.

/// Displays what happens on the network.
pub trait Progress {
    /// Something that the user may want to know.
    fn note(&self, _text: &str) {}
    /// A file's download begins; its size in bytes.
    fn start(&self, _path: &str, _size: u64) {}
    /// So many bytes of it are there.
    fn at(&self, _path: &str, _bytes: u64) {}
    fn done(&self, _path: &str) {}
}

/// Displays nothing.
pub struct Silent;

impl Progress for Silent {}
