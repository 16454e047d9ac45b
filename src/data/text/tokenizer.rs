//! Tokenises texts with Hugging Face's `tokenizers`. The tokenizer is a base model's
//! `tokenizer.json`, or is trained on the training split.

use std::collections::BTreeSet;
use std::fmt::Display;

use sha2::{Digest, Sha256};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    AddedToken, Encoding, NormalizedString, Normalizer, OffsetReferential, OffsetType,
    PostProcessor, PreTokenizedString, PreTokenizer, Trainer, TruncationDirection,
    TruncationParams, TruncationStrategy,
};

use crate::error::{Error, Fault, Result};
use crate::spec::{TrainedTokenizer, hex};

const PAD: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";
const FIRST: &str = "[CLS]";
const SEPARATOR: &str = "[SEP]";
/// The special tokens. Their ids are 0 to 3.
const SPECIAL: [&str; 4] = [PAD, UNKNOWN, FIRST, SEPARATOR];

/// Prefix of pieces that continue a word, as in BERT's vocabulary.
const GOES_ON: &str = "##";

/// Number of texts that are tokenised together: enough for all threads, few enough for memory.
const CHUNK: usize = 4096;

/// Texts as tokens, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// 0 for tokens of the first text, 1 for those of the second of a pair.
    pub types: Vec<u8>,
    /// The end of each text in `ids`.
    pub ends: Vec<usize>,
    /// Number of texts that were too long and were cut.
    pub cut: usize,
}

impl Encoded {
    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The token ids of a text, and their types.
    pub fn get(&self, text: usize) -> (&[u32], &[u8]) {
        let start = if text == 0 { 0 } else { self.ends[text - 1] };
        let range = start..self.ends[text];
        (&self.ids[range.clone()], &self.types[range])
    }

    /// Number of tokens of a text.
    pub fn length(&self, text: usize) -> usize {
        self.get(text).0.len()
    }
}

/// A tokenizer, with its file's content.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) json: String,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; `name` is its name in errors.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Tokenizer> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| {
            Error::from(
                Fault::new("the tokenizer cannot be read")
                    .source(name)
                    .found(e)
                    .expected("a `tokenizer.json` of Hugging Face's tokenizers")
                    .help(
                        "transformers writes one by \
                 `AutoTokenizer.from_pretrained(…).save_pretrained(…)`",
                    ),
            )
        })?;
        if let ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some_and(|dropout| dropout > 0.0)
        {
            return Err(Fault::new("the tokenizer drops merges at random")
                .source(name)
                .found("model.dropout")
                .expected("none: a text would have other tokens in each run")
                .into());
        }
        // It was parsed as JSON, so it is UTF-8.
        Ok(Tokenizer { inner, json: String::from_utf8_lossy(bytes).into_owned() })
    }

    /// Trains a tokenizer on `texts`, which must be those of the training split. The same texts in
    /// the same order give the same tokenizer, with any number of threads.
    pub fn train<'t>(
        spec: &TrainedTokenizer,
        texts: impl Iterator<Item = &'t str> + Clone + Send,
    ) -> Result<Tokenizer> {
        let inner = match spec {
            TrainedTokenizer::WordPiece { vocabulary, lowercase } => {
                word_piece(*vocabulary, *lowercase, texts)
            }
            TrainedTokenizer::ByteLevelBpe { vocabulary } => byte_level_bpe(*vocabulary, texts),
        };
        let failed = |e: &dyn Display| {
            Error::from(Fault::failed(format!("training the tokenizer failed: {e}")))
        };
        let inner = inner.map_err(|e| failed(&e))?;
        let json = inner.to_string(true).map_err(|e| failed(&e))?;
        Ok(Tokenizer { inner, json })
    }

    /// The special tokens of those that the program trains, by id: padding, the unknown word, and the tokens
    /// in front of a text and behind it.
    pub const SPECIAL: [&str; 4] = SPECIAL;

    /// The same, but special tokens that stand in a text are text.
    pub fn with_special_tokens_as_text(mut self) -> Tokenizer {
        self.inner.set_encode_special_tokens(true);
        self
    }

    /// The library's tokenizer.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The content of its `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// SHA-256 of the content of its `tokenizer.json`.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.json))
    }

    /// Whether both make the same tokens of every text. The files may be written differently, and
    /// their settings for truncation and padding are ignored.
    pub fn is_same_as(&self, other: &Tokenizer) -> bool {
        let parts = |tokenizer: &Tokenizer| {
            // The library writes both in the same way; older files spell some parts differently.
            let written = tokenizer.inner.to_string(false).ok()?;
            let mut json: serde_json::Value = serde_json::from_str(&written).ok()?;
            let parts = json.as_object_mut()?;
            parts.remove("truncation");
            parts.remove("padding");
            Some(json)
        };
        self.json == other.json || parts(self).is_some_and(|own| Some(own) == parts(other))
    }

    /// Rows that an embedding needs: the highest token id plus one.
    pub fn rows(&self) -> usize {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// The id of the padding token; 0 if the tokenizer has none.
    pub fn padding(&self) -> u32 {
        ["[PAD]", "<pad>"].into_iter().find_map(|pad| self.inner.token_to_id(pad)).unwrap_or(0)
    }

    /// Whether it begins each text with a special token.
    pub fn begins_with_special(&self) -> bool {
        let encoded = self.inner.encode_fast("a", true);
        encoded.is_ok_and(|text| text.get_special_tokens_mask().first() == Some(&1))
    }

    /// Tokenises texts and adds the tokenizer's special tokens. A text is cut to `max_tokens`
    /// tokens, special ones included. In a pair the longer text is cut first.
    pub fn encode(&self, texts: &Texts, max_tokens: usize) -> Result<Encoded> {
        let failed = |e: &dyn Display| {
            Error::from(Fault::new("the tokenizer cannot encode a text").found(e))
        };
        // Texts are tokenised first and cut afterwards. If the library cuts, it cuts each text of a
        // pair before it compares them, and so may not cut the longer one.
        let (mut whole, mut fits) = (self.inner.clone(), self.inner.clone());
        let cut = TruncationParams {
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        let special = fits
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(texts.second.is_some()));
        if special >= max_tokens {
            return Err(Fault::new("there is no room for a token of a text")
                .within("data.max_tokens")
                .found(max_tokens)
                .expected(format!("more than the {special} special tokens around each text"))
                .into());
        }
        whole.with_padding(None);
        whole.with_truncation(None).map_err(|e| failed(&e))?;
        fits.with_padding(None);
        fits.with_truncation(Some(cut)).map_err(|e| failed(&e))?;
        let tokens = |texts: &[String]| {
            let inputs = texts.iter().map(String::as_str).collect();
            whole.encode_batch_fast::<&str>(inputs, false).map_err(|e| failed(&e))
        };
        let mut encoded = Encoded::default();
        for start in (0..texts.len()).step_by(CHUNK) {
            let end = texts.len().min(start + CHUNK);
            let first = tokens(&texts.first[start..end])?;
            let mut second = match texts.second {
                Some(second) => tokens(&second[start..end])?,
                None => Vec::new(),
            }
            .into_iter();
            for first in first {
                let second = second.next().map(|mut second| {
                    second.set_type_ids(vec![1; second.len()]);
                    second
                });
                let length = first.len() + second.as_ref().map_or(0, Encoding::len) + special;
                encoded.cut += usize::from(length > max_tokens);
                let one = fits.post_process(first, second, true).map_err(|e| failed(&e))?;
                encoded.ids.extend_from_slice(one.get_ids());
                // No model has 256 types (`spec/validate/model.rs`), so the highest byte stands for all beyond.
                let kind = |kind: &u32| u8::try_from(*kind).unwrap_or(u8::MAX);
                encoded.types.extend(one.get_type_ids().iter().map(kind));
                // An empty text without special tokens has no token, but the model needs one.
                if one.is_empty() {
                    encoded.ids.push(self.padding());
                    encoded.types.push(0);
                }
                encoded.ends.push(encoded.ids.len());
            }
        }
        Ok(encoded)
    }
}

/// Texts, or pairs of texts.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'t> {
    pub first: &'t [String],
    /// The second texts of pairs, as many as `first`.
    pub second: Option<&'t [String]>,
}

impl<'t> Texts<'t> {
    pub fn len(&self) -> usize {
        self.first.len()
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

fn special(token: &&str) -> AddedToken {
    AddedToken::from(token.to_string(), true)
}

/// Makes the tokenizer put BERT's special tokens around texts.
pub fn around(tokenizer: &mut tokenizers::Tokenizer) -> tokenizers::Result<()> {
    tokenizer.add_special_tokens(SPECIAL.iter().map(special))?;
    let number = |token: &str| (token.to_string(), tokenizer.token_to_id(token).unwrap_or(0));
    let processor = BertProcessing::new(number(SEPARATOR), number(FIRST));
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// The normalised words of a text, as training counts them. No token crosses a word boundary.
pub fn words(tokenizer: &tokenizers::Tokenizer, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut normalized)?;
    }
    let mut words = PreTokenizedString::from(normalized);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut words)?;
    }
    let words = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(words.into_iter().map(|(word, _, _)| word.to_string()).collect())
}

/// Trains BERT's tokenizer, which splits words into the longest known pieces.
fn word_piece<'t>(
    vocabulary: usize,
    lowercase: bool,
    texts: impl Iterator<Item = &'t str> + Clone + Send,
) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut tokenizer = tokenizers::Tokenizer::new(WordPiece::default());
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    // The library numbers the letters that continue a word in the order of a hash map, which
    // differs in each process, and breaks ties by these numbers. As special tokens they have a
    // fixed order.
    let mut letters = BTreeSet::new();
    for text in texts.clone() {
        for word in words(&tokenizer, text)? {
            letters.extend(word.chars().skip(1));
        }
    }
    let letters = letters.into_iter().map(|c| AddedToken::from(format!("{GOES_ON}{c}"), true));
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .continuing_subword_prefix(GOES_ON.to_string())
        .special_tokens(SPECIAL.iter().map(special).chain(letters).collect())
        .build();
    trainer.feed(texts, |text| words(&tokenizer, text))?;
    let mut model = WordPiece::default();
    trainer.train(&mut model)?;
    tokenizer.with_model(model);
    around(&mut tokenizer)?;
    Ok(tokenizer)
}

/// Trains GPT-2's tokenizer, which joins pairs of bytes, the most frequent first. It can represent
/// every text.
fn byte_level_bpe<'t>(
    vocabulary: usize,
    texts: impl Iterator<Item = &'t str> + Send,
) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIAL.iter().map(special).collect())
        .build();
    trainer.feed(texts, |text| words(&tokenizer, text))?;
    let mut model = BPE::default();
    trainer.train(&mut model)?;
    tokenizer.with_model(model);
    around(&mut tokenizer)?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 6] = [
        "A quiet film, and a moving one.",
        "Quite the worst film of the year!",
        "the film moves quietly, quietly, quietly",
        "",
        "Ein großer Film — 素晴らしい映画 🎬",
        "naïve café, naïve cafés",
    ];

    fn train(spec: &TrainedTokenizer) -> Tokenizer {
        Tokenizer::train(spec, LINES.iter().copied()).unwrap()
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    fn encode(tokenizer: &Tokenizer, texts: &[&str], most: usize) -> Encoded {
        let first = owned(texts);
        tokenizer.encode(&Texts { first: &first, second: None }, most).unwrap()
    }

    fn kinds() -> [TrainedTokenizer; 2] {
        [
            TrainedTokenizer::WordPiece { vocabulary: 120, lowercase: true },
            TrainedTokenizer::ByteLevelBpe { vocabulary: 300 },
        ]
    }

    #[test]
    fn training_again_gives_the_same_file() {
        for kind in kinds() {
            let first = train(&kind);
            for _ in 0..5 {
                assert_eq!(train(&kind).json(), first.json(), "{kind:?}");
            }
            let read = Tokenizer::read("it", first.json().as_bytes()).unwrap();
            assert_eq!(encode(&read, &LINES, 64), encode(&first, &LINES, 64), "{kind:?}");
        }
    }

    #[test]
    fn special_tokens_have_the_lowest_ids_and_surround_texts() {
        for kind in kinds() {
            let tokenizer = train(&kind);
            assert_eq!(tokenizer.padding(), 0);
            let encoded = encode(&tokenizer, &LINES, 64);
            assert_eq!(encoded.len(), LINES.len());
            for (i, line) in LINES.iter().enumerate() {
                let (ids, types) = encoded.get(i);
                assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3), "{kind:?}: {line}");
                assert!(ids[1..ids.len() - 1].iter().all(|id| *id > 3 || *id == 1));
                assert!(types.iter().all(|t| *t == 0));
            }
            // An empty text has only special tokens.
            assert_eq!(encoded.get(3).0, [2, 3]);
            assert!(encoded.ids.iter().all(|id| (*id as usize) < tokenizer.rows()));
            let most = match kind {
                TrainedTokenizer::WordPiece { vocabulary, .. } => vocabulary,
                TrainedTokenizer::ByteLevelBpe { vocabulary } => vocabulary,
            };
            assert!(tokenizer.rows() <= most, "{} of {most}", tokenizer.rows());
        }
    }

    /// All bytes are in the vocabulary, so there is no unknown token.
    #[test]
    fn byte_level_bpe_represents_every_text() {
        let tokenizer = train(&kinds()[1]);
        let encoded = encode(&tokenizer, &["\u{0}\u{7f} Ω 𝕏 \u{202e}", "日本"], 64);
        assert!(encoded.ids.iter().all(|id| *id != 1), "{encoded:?}");
    }

    #[test]
    fn long_texts_are_cut_and_counted() {
        let tokenizer = train(&kinds()[0]);
        let whole = encode(&tokenizer, &LINES, 64);
        let longest = (0..LINES.len()).map(|i| whole.length(i)).max().unwrap();
        assert_eq!(whole.cut, 0);
        assert_eq!(encode(&tokenizer, &LINES, longest), whole);
        let cut = encode(&tokenizer, &LINES, 6);
        let long = (0..LINES.len()).filter(|i| whole.length(*i) > 6).count();
        assert_eq!(cut.cut, long);
        for i in 0..LINES.len() {
            let ((short, _), (all, _)) = (cut.get(i), whole.get(i));
            assert_eq!(short.len(), all.len().min(6));
            // The first tokens and the separator are kept.
            let kept = short.len() - 1;
            assert_eq!((&short[..kept], short[kept]), (&all[..kept], 3));
        }
    }

    #[test]
    fn pairs_have_two_types() {
        let tokenizer = train(&kinds()[0]);
        let (first, second) = (owned(&["a film", ""]), owned(&["the worst film of the year", "a"]));
        let texts = Texts { first: &first, second: Some(&second) };
        let encoded = tokenizer.encode(&texts, 64).unwrap();
        for i in 0..2 {
            let (ids, types) = encoded.get(i);
            let separators: Vec<usize> = (0..ids.len()).filter(|j| ids[*j] == 3).collect();
            let [between, end] = separators[..] else { panic!("{ids:?}") };
            assert_eq!(end, ids.len() - 1);
            assert!(types[..=between].iter().all(|t| *t == 0));
            assert!(types[between + 1..].iter().all(|t| *t == 1));
        }
        // Of a pair the longer text is cut first.
        let short = tokenizer.encode(&texts, encoded.length(0) - 2).unwrap();
        assert_eq!(short.cut, 1);
        let types = |e: &Encoded, t: u8| e.get(0).1.iter().filter(|kind| **kind == t).count();
        assert_eq!(types(&short, 0), types(&encoded, 0));
    }

    #[test]
    fn the_error_names_a_file_that_is_no_tokenizer() {
        for bytes in [&b"{}"[..], b"not json", b"\xff\xfe"] {
            let error = Tokenizer::read("hub:a/b/tokenizer.json", bytes).unwrap_err().to_string();
            assert!(error.starts_with("hub:a/b/tokenizer.json: the tokenizer cannot be read"));
        }
    }
}
