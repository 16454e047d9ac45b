//! MiniLM-L6, whose weights are too large to be committed.

use std::path::{Path, PathBuf};

/// Its folder in the Hub's cache, or in the mirror that `scripts/offline_mirror.sh` makes.
pub fn folder() -> PathBuf {
    cached().expect("HF_HUB_CACHE has no all-MiniLM-L6-v2")
}

fn cached() -> Option<PathBuf> {
    let cache = std::env::var_os("HF_HUB_CACHE")?;
    let folder =
        Path::new(&cache).join("models--sentence-transformers--all-MiniLM-L6-v2/snapshots");
    let mut snapshots = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    snapshots.find(|path| path.join("model.safetensors").is_file())
}
