//! Size of the encoder-decoder Transformer (arXiv 1706.03762), dense and as VLoRA, in closed
//! form.
//!
//! An encoder layer holds self-attention (W_in \[3d, d\], W_out \[d, d\], their biases), an MLP of
//! hidden width f and two norms; a decoder layer cross-attention and a third norm besides.
//! Neither embeddings nor an output layer are counted, as in `torch.nn.Transformer`.

/// Shape of the two stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderDecoder {
    pub dim: u64,
    /// Hidden width of the MLPs.
    pub hidden: u64,
    pub encoder_layers: u64,
    pub decoder_layers: u64,
    /// A norm behind the encoder, and one behind the decoder.
    pub final_norms: (bool, bool),
}

/// Compounds in both stacks: self-attention and MLP matrices are targets, cross-attention is not
/// (the authors' default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackIncrements {
    /// Layers a compound; divides the layers of both stacks.
    pub compound_size: u64,
    pub rank: u64,
}

impl EncoderDecoder {
    /// Parameters; None for `vlora` is the dense model.
    pub fn parameters(&self, vlora: Option<StackIncrements>) -> u64 {
        let EncoderDecoder { dim, hidden, .. } = *self;
        let shapes = [(3 * dim, dim), (dim, dim), (hidden, dim), (dim, hidden)];
        let dense: u64 = shapes.iter().map(|(output, input)| output * input).sum();
        let matrices = |layers: u64| match vlora {
            None => layers * dense,
            Some(v) => {
                let pair: u64 =
                    shapes.iter().map(|(output, input)| v.rank * (output + input)).sum();
                let bases = layers / v.compound_size;
                bases * dense + (layers - bases) * pair
            }
        };
        let biases: u64 = shapes.iter().map(|(output, _)| output).sum();
        let cross = 4 * dim * dim + 4 * dim;
        let norm = 2 * dim;
        let (encoder, decoder) = (self.encoder_layers, self.decoder_layers);
        let final_norms = u64::from(self.final_norms.0) + u64::from(self.final_norms.1);
        matrices(encoder)
            + encoder * (biases + 2 * norm)
            + matrices(decoder)
            + decoder * (biases + cross + 3 * norm)
            + final_norms * norm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counted by PyTorch 2.15 (`torch.nn.Transformer()`) and by the authors' package
    /// (`TransformerVLoRA()`: 2 × 3 layers each side, rank 2, no norm behind the encoder).
    #[test]
    fn counts_are_pytorchs_and_the_authors() {
        let base = EncoderDecoder {
            dim: 512,
            hidden: 2048,
            encoder_layers: 6,
            decoder_layers: 6,
            final_norms: (true, true),
        };
        assert_eq!(base.parameters(None), 44_140_544);
        let authors = EncoderDecoder { final_norms: (false, true), ..base };
        let increments = StackIncrements { compound_size: 3, rank: 2 };
        assert_eq!(authors.parameters(Some(increments)), 19_104_768);
    }
}
