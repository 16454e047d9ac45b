//! Number of parameters of the encoder-decoder Transformer (arXiv 1706.03762), dense and with VLoRA,
//! in closed form.
//!
//! An encoder layer has self-attention (W_in \[3d, d\], W_out \[d, d\], their biases), an MLP of
//! hidden width f, and two norms. A decoder layer also has cross-attention and a third norm.
//! Embeddings and an output layer are not counted, as in `torch.nn.Transformer`.

/// Shape of the two stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderDecoder {
    pub dim: u64,
    /// Hidden width of the MLPs.
    pub hidden: u64,
    pub encoder_layers: u64,
    pub decoder_layers: u64,
    /// Whether a norm follows the encoder, and whether one follows the decoder.
    pub final_norms: (bool, bool),
}

/// Compounds in both stacks. Targets are the matrices of self-attention and MLP, not those of
/// cross-attention (the authors' default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackIncrements {
    /// Layers per compound. It must divide the number of layers of both stacks.
    pub compound_size: u64,
    pub rank: u64,
}

impl EncoderDecoder {
    /// Number of parameters. `vlora` is None for the dense model.
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
    /// (`TransformerVLoRA()`: 2 × 3 layers per stack, rank 2, no norm after the encoder).
    #[test]
    fn counts_match_pytorch_and_the_authors_package() {
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
