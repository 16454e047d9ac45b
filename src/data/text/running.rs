//! Running text by a tokenizer: no special tokens around it, and nothing is cut.

use std::fmt::Display;

use super::tokenizer::Tokenizer;
use crate::error::{Error, Fault, Result};

impl Tokenizer {
    /// Wraps a tokenizer that the program made.
    pub fn of(inner: tokenizers::Tokenizer) -> Result<Tokenizer> {
        let json = inner.to_string(true).map_err(|e| failed("writing the tokenizer", &e))?;
        Ok(Tokenizer { inner, json })
    }

    /// The tokens of a text, and where each begins in it, in bytes. Where several tokens come of one
    /// character, all but the first begin behind it or with it, as the tokenizer says.
    pub fn running(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        let mut whole = self.inner.clone();
        whole.with_padding(None);
        whole.with_truncation(None).map_err(|e| failed("tokenising", &e))?;
        let encoded = whole.encode(text, false).map_err(|e| failed("tokenising", &e))?;
        let begins = encoded.get_offsets().iter().map(|(begin, _)| *begin).collect();
        Ok((encoded.get_ids().to_vec(), begins))
    }

    /// The text of tokens. Bytes that are no UTF-8 become the replacement character.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| failed("putting the tokens together", &e))
    }
}

fn failed(what: &str, e: &dyn Display) -> Error {
    Fault::failed(format!("{what} failed: {e}")).into()
}
