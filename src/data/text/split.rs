//! The tokenised texts of one split, with their labels.

use std::sync::Arc;

use super::tokenizer::Encoded;

/// Texts as tokens, and their labels.
#[derive(Clone, Debug)]
pub struct TextSplit {
    /// Shared by the parts of one split.
    encoded: Arc<Encoded>,
    /// Which of the texts are this split's; None is all.
    rows: Option<Vec<u32>>,
    /// Of this split's texts.
    labels: Vec<u32>,
}

impl TextSplit {
    /// Those `rows` of the texts, or all; `labels` are of all.
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

    /// The tokens of a text, and which text of a pair each is of.
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

    /// The first texts, so many or all where there are fewer.
    pub fn first(&self, count: usize) -> TextSplit {
        let rows = (0..self.len().min(count)).map(|text| self.row(text) as u32).collect();
        let labels = self.labels.iter().take(count).copied().collect();
        TextSplit { encoded: self.encoded.clone(), rows: Some(rows), labels }
    }
}
