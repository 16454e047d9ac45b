//! Measures how long [`ImageData::load`] takes to load an image dataset, and prints JSON.
//! `scripts/bench/decode.py` compares it with Pillow. Usage: `decode SPEC CACHE`. SPEC is JSON with `data`
//! and `model` as in a spec. CACHE is the folder for decoded splits, or empty for no cache.

#![allow(clippy::expect_used)]

use std::path::Path;
use std::time::Instant;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use vlora::data::ImageData;
use vlora::data::images::Size;
use vlora::hub::Hub;
use vlora::spec::{ImageDataSpec, VitSpec};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
struct Spec {
    data: ImageDataSpec,
    model: VitSpec,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [spec, cache] = &arguments[..] else {
        println!("run by scripts/bench/decode.py");
        return;
    };
    let spec: Spec = serde_json::from_str(spec).expect("a spec as JSON");
    let cache = (!cache.is_empty()).then_some(Path::new(cache));
    let start = Instant::now();
    let size = Size { side: spec.model.image_size, channels: spec.model.channels };
    let (classes, hub) = (spec.model.classes, Hub::default());
    let data = ImageData::load_with_cache(&spec.data, size, classes, &hub, cache)
        .expect("a dataset that loads");
    let seconds = start.elapsed().as_secs_f64();
    let peak = peak_kib();
    // The sum does not depend on the order of images, which drawing splits changes.
    let mut fingerprint = 0u64;
    for split in [&data.train, &data.validation, &data.test] {
        for i in 0..split.len() {
            let hash = Sha256::digest(split.image(i));
            let mut word = [0; 8];
            word.copy_from_slice(&hash[..8]);
            fingerprint = fingerprint.wrapping_add(u64::from_le_bytes(word));
        }
    }
    let report = serde_json::json!({
        "seconds": seconds,
        "peak_kib": peak,
        "cached": data.train.is_cached(),
        "fingerprint": fingerprint,
    });
    println!("{report}");
}

/// The peak memory of this process in KiB; 0 if the system does not report it.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
