//! The tokens of a text: its characters, its bytes, or the pieces of a tokenizer.
//!
//! All three are written as a `tokenizer.json` of Hugging Face's tokenizers, which makes the same tokens.
//! Characters and bytes are made of a text directly, which is some hundred times as fast.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;

use super::documents::Document;
use crate::data::text::Tokenizer;
use crate::error::{Error, Fault, Result};

/// Matches every character, in the regular expressions of Rust and of Python's tokenizers.
const ANY: &str = r"[\s\S]";

/// A tokenizer of text to be modelled.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The number of each character.
    Characters(HashMap<char, u32>),
    /// A byte's number is its value.
    Bytes,
    Pieces,
}

/// A text as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    /// How many bytes of the text each token stands for, up to where the next begins. Their sum is the
    /// text's length, unless no document has a token.
    pub bytes: Vec<u32>,
}

impl Tokens {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn push(&mut self, id: u32, bytes: usize) {
        self.ids.push(id);
        self.bytes.push(bytes as u32);
    }
}

impl Vocabulary {
    /// The characters of a text, in the order of their code points.
    pub fn of_characters(documents: &[Document]) -> Result<Vocabulary> {
        let all: BTreeSet<char> =
            documents.iter().flat_map(|document| document.text.chars()).collect();
        let numbers: HashMap<char, u32> = all.into_iter().zip(0..).collect();
        let vocabulary = numbers.iter().map(|(c, id)| (c.to_string(), *id)).collect();
        let model = WordLevel::builder().vocab(vocabulary).build().map_err(made)?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        let pattern = SplitPattern::Regex(ANY.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(made)?;
        tokenizer.with_pre_tokenizer(Some(split));
        tokenizer.with_decoder(Some(Fuse::new()));
        let tokenizer = Tokenizer::of(tokenizer)?;
        Ok(Vocabulary { tokenizer, kind: Kind::Characters(numbers) })
    }

    /// The 256 bytes.
    pub fn of_bytes() -> Result<Vocabulary> {
        let letters = byte_letters();
        let vocabulary: [(String, u32); 256] =
            std::array::from_fn(|byte| (letters[byte].to_string(), byte as u32));
        let model =
            BPE::builder().vocab_and_merges(vocabulary, Vec::new()).build().map_err(made)?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));
        Ok(Vocabulary { tokenizer: Tokenizer::of(tokenizer)?, kind: Kind::Bytes })
    }

    /// A tokenizer that was read or trained. One that this program wrote for characters or bytes is known
    /// again.
    pub fn of(tokenizer: Tokenizer) -> Vocabulary {
        let json: Value = serde_json::from_str(tokenizer.json()).unwrap_or_default();
        let kind = characters_of(&json)
            .map(Kind::Characters)
            .or_else(|| is_of_bytes(&json).then_some(Kind::Bytes));
        Vocabulary { tokenizer, kind: kind.unwrap_or(Kind::Pieces) }
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Rows that an embedding needs: the highest token id plus one.
    pub fn rows(&self) -> usize {
        match &self.kind {
            Kind::Characters(numbers) => numbers.len(),
            Kind::Bytes => 256,
            Kind::Pieces => self.tokenizer.rows(),
        }
    }

    /// Whether each row of the embedding stands for a token that the text can have.
    pub fn is_exact(&self) -> bool {
        !matches!(self.kind, Kind::Pieces)
    }

    /// What a token is called.
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Characters(_) => "characters",
            Kind::Bytes => "bytes",
            Kind::Pieces => "tokens",
        }
    }

    /// Tokenises documents one after the other. Errors if a text has a character that is not among the
    /// tokens.
    pub fn encode(&self, documents: &[Document]) -> Result<Tokens> {
        let mut tokens = Tokens::default();
        let whole = match self.kind {
            Kind::Pieces => Some(self.tokenizer.without_truncation()?),
            Kind::Characters(_) | Kind::Bytes => None,
        };
        // Bytes of documents without a token. The next token stands for them, too.
        let mut before = 0;
        for document in documents {
            let text = &document.text;
            match &self.kind {
                Kind::Characters(numbers) => {
                    for (at, c) in text.char_indices() {
                        let Some(id) = numbers.get(&c) else {
                            let line = document.line + text[..at].matches('\n').count();
                            return Err(self.unknown(c).source(&document.place).line(line).into());
                        };
                        tokens.push(*id, c.len_utf8());
                    }
                }
                Kind::Bytes => text.bytes().for_each(|byte| tokens.push(u32::from(byte), 1)),
                Kind::Pieces => {
                    let Some(whole) = &whole else { continue };
                    let at = |fault: Fault| fault.source(&document.place);
                    let (ids, mut begins) = whole.encode(text).map_err(|e| e.map_fault(at))?;
                    // The first token stands for all from the beginning on, the last up to the end.
                    if let Some(first) = begins.first_mut() {
                        *first = 0;
                    }
                    begins.push(text.len());
                    // Tokens may overlap. None begins before the one in front of it.
                    let mut latest = 0;
                    for begin in &mut begins {
                        latest = latest.max(*begin);
                        *begin = latest;
                    }
                    if ids.is_empty() {
                        before += text.len();
                    }
                    for (id, pair) in ids.into_iter().zip(begins.windows(2)) {
                        tokens.push(id, pair[1] - pair[0] + std::mem::take(&mut before));
                    }
                }
            }
        }
        if let Some(last) = tokens.bytes.last_mut() {
            *last += before as u32;
        }
        Ok(tokens)
    }

    /// The tokens of a text that a model is to continue.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let document = Document::alone(text, "the prompt");
        let unknown = |fault: Fault| fault.only_help("leave it out");
        Ok(self.encode(&[document]).map_err(|error| error.map_fault(unknown))?.ids)
    }

    /// The text of tokens. Bytes that are no UTF-8 become the replacement character.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.text(ids)
    }

    fn unknown(&self, c: char) -> Fault {
        Fault::new("a character is not among the tokens")
            .found(format!("{c:?}, U+{:04X}", u32::from(c)))
            .expected(format!("one of the {} characters of the training text", self.rows()))
            .help("`tokenizer: bytes` and `tokenizer: {train: byte-level-bpe}` know every text")
    }
}

fn made(e: impl std::fmt::Display) -> Error {
    Fault::failed(format!("making the tokenizer failed: {e}")).into()
}

/// The letter that stands for each byte in byte-level tokenizers, as in GPT-2: the printable ones
/// themselves, the others from U+0100 on.
fn byte_letters() -> [char; 256] {
    let mut others = '\u{100}'..;
    let mut letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        // There are 68 of them.
        _ => others.next().unwrap_or_default(),
    };
    let mut letters = ['\0'; 256];
    letters.iter_mut().zip(0..=255).for_each(|(entry, byte)| *entry = letter(byte));
    letters
}

/// The tokens of a `tokenizer.json` with their numbers.
fn numbers(json: &Value) -> Option<Vec<(&String, u64)>> {
    let tokens = json["model"]["vocab"].as_object()?;
    tokens.iter().map(|(token, id)| Some((token, id.as_u64()?))).collect()
}

/// The numbers of the characters of a `tokenizer.json` as [`Vocabulary::of_characters`] writes it.
fn characters_of(json: &Value) -> Option<HashMap<char, u32>> {
    let (model, split) = (&json["model"], &json["pre_tokenizer"]);
    let is_of_characters = model["type"] == "WordLevel"
        && split["type"] == "Split"
        && split["pattern"]["Regex"] == ANY
        && split["behavior"] == "Isolated"
        && json["normalizer"].is_null()
        && json["added_tokens"].as_array().is_none_or(Vec::is_empty);
    let numbers = numbers(json).filter(|_| is_of_characters)?;
    let single = |(token, id): &(&String, u64)| {
        let mut all = token.chars();
        let only = all.next().filter(|_| all.next().is_none())?;
        Some((only, u32::try_from(*id).ok()?))
    };
    let characters: HashMap<char, u32> = numbers.iter().map(single).collect::<Option<_>>()?;
    let ids: BTreeSet<u32> = characters.values().copied().collect();
    ids.into_iter().eq(0..characters.len() as u32).then_some(characters)
}

/// Whether a `tokenizer.json` is as [`Vocabulary::of_bytes`] writes it.
fn is_of_bytes(json: &Value) -> bool {
    let letters = byte_letters();
    let is_byte = |(token, id): &(&String, u64)| {
        let letter = usize::try_from(*id).ok().and_then(|id| letters.get(id));
        letter.is_some_and(|letter| token.chars().eq([*letter]))
    };
    json["model"]["type"] == "BPE"
        && json["pre_tokenizer"]["type"] == "ByteLevel"
        && json["pre_tokenizer"]["add_prefix_space"] == false
        && json["normalizer"].is_null()
        && json["added_tokens"].as_array().is_none_or(Vec::is_empty)
        && json["model"]["merges"].as_array().is_some_and(Vec::is_empty)
        && numbers(json).is_some_and(|all| all.len() == 256 && all.iter().all(is_byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::TrainedTokenizer;

    const TEXT: &str = "First — naïve café,\n\n  日本 🎬\tend\r\n";

    fn documents(text: &str) -> Vec<Document> {
        let mut document = Document::alone(text, "a.txt");
        document.line = 3;
        vec![document]
    }

    fn trained() -> Vocabulary {
        let spec = TrainedTokenizer::ByteLevelBpe { vocabulary: 270 };
        Vocabulary::of(Tokenizer::train(&spec, std::iter::once(TEXT)).unwrap())
    }

    fn all() -> [Vocabulary; 3] {
        let documents = documents(TEXT);
        let characters = Vocabulary::of_characters(&documents).unwrap();
        [characters, Vocabulary::of_bytes().unwrap(), trained()]
    }

    /// What is written as `tokenizer.json` makes the same tokens by the library, and is known again.
    #[test]
    fn the_written_tokenizer_makes_the_same_tokens() {
        for vocabulary in all() {
            let tokens = vocabulary.encode(&documents(TEXT)).unwrap();
            let (ids, _) = vocabulary.tokenizer.without_truncation().unwrap().encode(TEXT).unwrap();
            assert_eq!(tokens.ids, ids, "{}", vocabulary.unit());
            assert!(tokens.ids.iter().all(|id| (*id as usize) < vocabulary.rows()));
            let json = vocabulary.tokenizer.json().as_bytes();
            let read = Vocabulary::of(Tokenizer::read("it", json).unwrap());
            assert_eq!((read.unit(), read.rows()), (vocabulary.unit(), vocabulary.rows()));
            assert_eq!(read.encode(&documents(TEXT)).unwrap(), tokens);
        }
    }

    #[test]
    fn a_text_comes_back_and_each_byte_is_counted_once() {
        for vocabulary in all() {
            let tokens = vocabulary.encode(&documents(TEXT)).unwrap();
            assert_eq!(vocabulary.text(&tokens.ids).unwrap(), TEXT, "{}", vocabulary.unit());
            assert_eq!(tokens.bytes.iter().sum::<u32>() as usize, TEXT.len());
            assert_eq!(tokens.bytes.len(), tokens.len());
        }
        let bytes = all()[1].encode(&documents("aé")).unwrap();
        assert_eq!(bytes.ids, [97, 195, 169]);
    }

    #[test]
    fn characters_are_numbered_by_code_point() {
        let vocabulary = Vocabulary::of_characters(&documents("cab\na")).unwrap();
        assert_eq!(vocabulary.encode(&documents("\nabc")).unwrap().ids, [0, 1, 2, 3]);
        let error = vocabulary.encode(&documents("a\nb\u{df}")).unwrap_err().to_string();
        assert!(error.starts_with("a.txt:4: a character is not among the tokens"), "{error}");
        assert!(error.contains("'ß', U+00DF") && error.contains("the 4 characters"), "{error}");
    }
}
