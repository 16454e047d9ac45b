//! A tokenizer that adds no special tokens and cuts nothing.

use std::fmt::Display;

use super::tokenizer::Tokenizer;
use crate::error::{Error, Fault, Result};

/// A tokenizer that cuts nothing.
pub struct UntruncatedTokenizer(tokenizers::Tokenizer);

impl UntruncatedTokenizer {
    /// The tokens of a text, and where each begins in it, in bytes. Where several tokens come of one
    /// character, all but the first begin behind it or with it, as the tokenizer says.
    pub fn encode(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        let fault = |e| Error::from(Fault::new("the tokenizer cannot encode a text").found(e));
        let encoded = self.0.encode(text, false).map_err(fault)?;
        let begins = encoded.get_offsets().iter().map(|(begin, _)| *begin).collect();
        Ok((encoded.get_ids().to_vec(), begins))
    }
}

impl Tokenizer {
    /// Wraps a tokenizer that the program made.
    pub fn of(inner: tokenizers::Tokenizer) -> Result<Tokenizer> {
        let json = inner.to_string(true).map_err(|e| failed("writing the tokenizer", &e))?;
        Ok(Tokenizer { inner, json })
    }

    /// The same without truncation and padding. Making it copies the vocabulary, so it is made once for all
    /// documents.
    pub fn without_truncation(&self) -> Result<UntruncatedTokenizer> {
        let mut whole = self.inner.clone();
        whole.with_padding(None);
        whole.with_truncation(None).map_err(|e| failed("tokenising", &e))?;
        Ok(UntruncatedTokenizer(whole))
    }

    /// The text of tokens. Bytes that are no UTF-8 become the replacement character.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| failed("putting the tokens together", &e))
    }
}

fn failed(what: &str, e: &dyn Display) -> Error {
    Fault::failed(format!("{what} failed: {e}")).into()
}
