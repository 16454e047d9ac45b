//! The tokenised texts of one split, with their labels.

use std::sync::Arc;

use super::tokenizer::Encoded;

/// Texts as tokens, and their labels.
#[derive(Clone, Debug)]
pub struct TextSplit {
    /// Shared by the parts of one split.
    encoded: Arc<Encoded>,
    /// Indices of this split's texts; None means all.
    rows: Option<Vec<u32>>,
    /// Labels of this split's texts.
    labels: Vec<u32>,
}

impl TextSplit {
    /// A split of the texts in `rows`, or of all. `labels` are those of all texts.
    pub(super) fn new(encoded: Arc<Encoded>, labels: &[u32], rows: Option<Vec<u32>>) -> TextSplit {
        let labels = match &rows {
            Some(rows) => rows.iter().map(|row| labels[*row as usize]).collect(),
            None => labels.to_vec(),
        };
        TextSplit { encoded, rows, labels }
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    fn row(&self, text: usize) -> usize {
        self.rows.as_ref().map_or(text, |rows| rows[text] as usize)
    }

    /// The token ids of a text, and for each the number (0 or 1) of its text in a pair.
    pub fn get(&self, text: usize) -> (&[u32], &[u8]) {
        self.encoded.get(self.row(text))
    }

    /// Number of tokens of a text.
    pub fn length(&self, text: usize) -> usize {
        self.encoded.length(self.row(text))
    }

    /// Number of tokens of each text.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|text| self.length(text)).collect()
    }

    /// Number of tokens of all texts.
    pub fn tokens(&self) -> u64 {
        (0..self.len()).map(|text| self.length(text) as u64).sum()
    }

    /// Labels of the texts.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    pub fn label(&self, text: usize) -> u32 {
        self.labels[text]
    }

    /// The first `count` texts, or all if there are fewer.
    pub fn first(&self, count: usize) -> TextSplit {
        let rows = (0..self.len().min(count)).map(|text| self.row(text) as u32).collect();
        let labels = self.labels.iter().take(count).copied().collect();
        TextSplit { encoded: self.encoded.clone(), rows: Some(rows), labels }
    }
}
