//! Tokens of odd lines against transformers: `scripts/reference/make_tokenizer_fixtures.py` made
//! the fixtures. And the order of batches against `scripts/bench/order.py`, by which PyTorch is timed
//! on the same ones.

use std::path::Path;

use serde::Deserialize;
use vlora::data::text::{Encoded, Texts, Tokenizer, batches};

use crate::common::hash::sha256;
use crate::common::minilm;

/// What transformers makes of the lines.
#[derive(Deserialize)]
struct Expected {
    max_tokens: usize,
    /// Ids of each line.
    single: Vec<Vec<u32>>,
    /// A digit a token.
    single_types: Vec<String>,
    /// How many lines have more tokens.
    single_longer: usize,
    /// Ids of each line with the next one behind it.
    pairs: Vec<Vec<u32>>,
    pair_types: Vec<String>,
    pairs_longer: usize,
    /// Of the tokenizer's file, where that is not committed.
    sha256: Option<String>,
}

fn read(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer");
    std::fs::read(folder.join(file)).unwrap()
}

fn expected(file: &str) -> Expected {
    serde_json::from_slice(&read(file)).unwrap()
}

/// Reports every line whose tokens differ.
fn compare(what: &str, lines: &[String], got: &Encoded, ids: &[Vec<u32>], types: &[String]) {
    assert_eq!((got.len(), ids.len(), types.len()), (lines.len(), lines.len(), lines.len()));
    let mut different = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let (own, own_types) = got.get(i);
        let own_types: String = own_types.iter().map(|t| t.to_string()).collect();
        if own != ids[i] || own_types != types[i] {
            different.push(format!(
                "line {i}, {line:?}\n  ids {own:?}, types {own_types}\n  transformers: ids {:?}, types {}",
                ids[i], types[i]
            ));
        }
    }
    let count = different.len();
    assert!(different.is_empty(), "{what}: {count} differ\n{}", different.join("\n"));
}

fn check(what: &str, tokenizer: &Tokenizer, expected: &Expected) {
    let lines: Vec<String> = serde_json::from_slice(&read("lines.json")).unwrap();
    assert_eq!(lines.len(), 500);
    let texts = Texts { first: &lines, second: None };
    let single = tokenizer.encode(&texts, expected.max_tokens).unwrap();
    compare(what, &lines, &single, &expected.single, &expected.single_types);
    assert_eq!(single.cut, expected.single_longer, "{what}: lines that are cut");

    let mut following = lines.clone();
    following.rotate_left(1);
    let texts = Texts { first: &lines, second: Some(&following) };
    let pairs = tokenizer.encode(&texts, expected.max_tokens).unwrap();
    compare(&format!("{what}, pairs"), &lines, &pairs, &expected.pairs, &expected.pair_types);
    assert_eq!(pairs.cut, expected.pairs_longer, "{what}: pairs that are cut");
}

#[test]
fn word_pieces_of_odd_lines_equal_transformers() {
    let tokenizer = Tokenizer::read("cut.json", &read("cut.json")).unwrap();
    assert_eq!((tokenizer.rows(), tokenizer.padding()), (6000, 0));
    check("cut.json", &tokenizer, &expected("cut-expected.json"));
}

#[test]
fn byte_level_bpe_of_odd_lines_equals_transformers() {
    let tokenizer = Tokenizer::read("bpe.json", &read("bpe.json")).unwrap();
    assert_eq!((tokenizer.rows(), tokenizer.padding()), (900, 1));
    check("bpe.json", &tokenizer, &expected("bpe-expected.json"));
}

/// With the whole vocabulary.
#[test]
#[ignore = "needs all-MiniLM-L6-v2 in HF_HUB_CACHE"]
fn tokens_of_minilm_equal_transformers() {
    let folder = minilm::folder();
    let bytes = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let expected = expected("minilm-expected.json");
    assert_eq!(Some(sha256(&bytes)), expected.sha256, "another tokenizer than the fixture's");
    check("MiniLM", &Tokenizer::read("tokenizer.json", &bytes).unwrap(), &expected);
}

#[test]
fn batches_are_those_that_pytorch_is_timed_on() {
    let lengths: Vec<usize> = (0..20).map(|i| (i * 7) % 11 + 3).collect();
    let want = [[4, 12, 1, 9], [10, 18, 7, 15], [17, 6, 3, 14], [0, 11, 19, 8], [5, 16, 2, 13]];
    assert_eq!(batches(5, 2, &lengths, 4, true), want);
    // Several pools.
    let lengths: Vec<usize> = (0..450).map(|i| (i * 7) % 61 + 3).collect();
    assert_eq!(batches(0, 0, &lengths, 2, true)[..3], [[10, 315], [277, 33], [98, 238]]);
}
