//! The parts of Transformers. Each part has two functions: `forward` computes, and `operations` lists
//! the operations of that from the same fields.

mod attention;
mod block;
mod embeddings;
mod encoder_layer;
mod mlp;
mod norm;
mod placed_norm;
mod pytorch_layers;
mod residual;

pub use attention::{Attention, KvCache, PackedSelfAttention, Sizes};
pub use block::{BlockNames, BlockSizes, PreNormBlock};
pub use embeddings::{TokenEmbeddings, Tokens};
pub use encoder_layer::{PostNormLayer, PostNormSizes};
pub use mlp::{Activation, Mlp};
pub use norm::Norm;
pub use placed_norm::PlacedNorm;
pub use pytorch_layers::{DecoderLayer, EncoderLayer, LayerSizes};
pub use residual::ResidualLinear;
