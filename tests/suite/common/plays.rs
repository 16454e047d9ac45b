//! Running text, and a folder with a spec that trains on it.

use std::fmt::Write;
use std::fs;

use tempfile::TempDir;

use super::program::folder_with;
use super::spec::Spec;

/// Lines of some words of 20 different characters. Every tenth of it has all of them.
pub fn text(lines: usize) -> String {
    let (who, what) = (["the cat", "the dog", "a bird"], ["sat on", "ran to", "lay by"]);
    let place = ["the mat", "the big log", "her pew"];
    let mut text = String::new();
    for i in 0..lines {
        let (a, b, c) = (who[i % 3], what[i / 3 % 3], place[(i + i / 9) % 3]);
        writeln!(text, "{a} {b} {c}").unwrap();
    }
    text
}

/// A folder with the spec and its data.
pub fn folder(spec: &Spec) -> TempDir {
    let dir = folder_with(&spec.text());
    let data = dir.path().join("plays");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("all.txt"), text(300)).unwrap();
    dir
}
