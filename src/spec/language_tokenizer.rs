//! The tokenizer of a language model. YAML has two forms: a name, or a mapping that says what is read or
//! trained.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema::{LanguageTokenizer, TokenizerSpec};

const CHARACTERS: &str = "characters";
const BYTES: &str = "bytes";
/// What can be given, as messages list it.
const FORMS: &[&str] =
    &[CHARACTERS, BYTES, "{train: byte-level-bpe}", "{hub: owner/name}", "{path: folder}"];

impl Serialize for LanguageTokenizer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LanguageTokenizer::Characters => serializer.serialize_str(CHARACTERS),
            LanguageTokenizer::Bytes => serializer.serialize_str(BYTES),
            LanguageTokenizer::Pieces(tokenizer) => tokenizer.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LanguageTokenizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LanguageTokenizer, D::Error> {
        struct TokenizerVisitor;
        impl<'de> Visitor<'de> for TokenizerVisitor {
            type Value = LanguageTokenizer;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("`characters`, `bytes`, or a mapping with hub, path or train")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<LanguageTokenizer, E> {
                match name {
                    CHARACTERS => Ok(LanguageTokenizer::Characters),
                    BYTES => Ok(LanguageTokenizer::Bytes),
                    other => Err(E::unknown_variant(other, FORMS)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LanguageTokenizer, A::Error> {
                let tokenizer = TokenizerSpec::deserialize(MapAccessDeserializer::new(map));
                tokenizer.map(LanguageTokenizer::Pieces)
            }
        }
        deserializer.deserialize_any(TokenizerVisitor)
    }
}
