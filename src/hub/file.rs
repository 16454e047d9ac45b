//! A file of a repository of any kind.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::spec::hex;

/// One file's content.
#[derive(Clone, Debug)]
pub struct File {
    /// The name for errors and provenance.
    pub name: String,
    /// Path in the repository, with `/` between folders.
    pub path: String,
    pub bytes: Cow<'static, [u8]>,
    pub sha256: String,
}

impl File {
    pub fn new(name: String, path: String, bytes: Cow<'static, [u8]>) -> File {
        let sha256 = hex(&Sha256::digest(&bytes));
        File { name, path, bytes, sha256 }
    }
}
