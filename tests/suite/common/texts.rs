//! Texts of two classes, and a folder with a spec that trains on them.

use std::fmt::Write;
use std::fs;

use tempfile::TempDir;

use super::program::folder_with;
use super::spec::Spec;

/// Sentences whose label is the one word that praises or blames.
pub fn sentences(count: usize, first: usize) -> String {
    let (praise, blame) = (["good", "fine", "great"], ["bad", "poor", "awful"]);
    let fill = ["a", "the", "film", "plot", "was", "of", "and", "scene", "long", "night"];
    let mut rows = "text,label\n".to_string();
    for i in first..first + count {
        let word = |k: usize| fill[(i * 7 + k * 13 + i / 3) % fill.len()];
        let label = usize::from(i % 2 == 0);
        let own = if label == 1 { praise[i / 2 % 3] } else { blame[i / 2 % 3] };
        let words: Vec<&str> = (0..2 + i % 5).map(word).chain([own, word(9)]).collect();
        writeln!(rows, "{} {i},{label}", words.join(" ")).unwrap();
    }
    rows
}

/// A folder with the spec and its data.
pub fn folder(spec: &Spec) -> TempDir {
    let dir = folder_with(&spec.text());
    let data = dir.path().join("reviews");
    fs::create_dir(&data).unwrap();
    for (name, count, first) in [("train", 160, 0), ("validation", 40, 160), ("test", 60, 200)] {
        fs::write(data.join(format!("{name}.csv")), sentences(count, first)).unwrap();
    }
    dir
}
