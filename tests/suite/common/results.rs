//! What runs left in the folder of their experiment, such as `results/tiny`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vlora::results::{ExperimentFolder, RunFolder};

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The folders of its runs, sorted.
pub fn run_folders(experiment: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(experiment.join("runs")).unwrap();
    let mut runs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs
}

/// The record of an experiment and its runs, without what is made of them.
pub fn copy_evidence(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::copy(from.join("experiment.json"), to.join("experiment.json")).unwrap();
    for run in fs::read_dir(from.join("runs")).unwrap() {
        let run = run.unwrap();
        let into = to.join("runs").join(run.file_name());
        fs::create_dir_all(&into).unwrap();
        for file in fs::read_dir(run.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), into.join(file.file_name())).unwrap();
        }
    }
}

/// The folder of an arm's run with the first seed.
pub fn run_of(experiment: &Path, arm: &str) -> PathBuf {
    let record = json(&experiment.join("experiment.json"));
    let variants = record["variants"].as_array().unwrap();
    let variant = variants.iter().find(|variant| variant["arm"] == arm).unwrap();
    experiment.join("runs").join(variant["runs"][0].as_str().unwrap())
}

/// What equal runs leave in the same bits, wherever and whenever they ran: by run and file, without
/// compression.
pub fn evidence(experiment: &Path) -> BTreeMap<(String, &'static str), Vec<u8>> {
    let folder = ExperimentFolder::new(experiment);
    let files = |path: PathBuf| {
        let id = path.file_name().unwrap().to_str().unwrap().to_string();
        let run = folder.run(&id);
        let of_lines = [RunFolder::STEPS, RunFolder::EPOCHS, RunFolder::TEST];
        let mut found =
            of_lines.map(|name| (name, run.read_whole(name).unwrap().into_bytes())).to_vec();
        found.push((RunFolder::MODEL, fs::read(run.file(RunFolder::MODEL)).unwrap()));
        found.into_iter().map(move |(name, content)| ((id.clone(), name), content))
    };
    run_folders(experiment).into_iter().flat_map(files).collect()
}
