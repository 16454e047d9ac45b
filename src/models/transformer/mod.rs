//! The parts of Transformers. Each part has two functions: `forward` computes, and `operations` lists
//! the operations of that from the same fields.

mod attention;
mod block;
mod embeddings;
mod encoder_layer;
mod mlp;
mod norm;
mod residual;

pub use attention::{Attention, KeysAndValues, PackedSelfAttention, Sizes};
pub use block::{BlockNames, BlockSizes, PreNormBlock};
pub use embeddings::{TokenEmbeddings, Tokens};
pub use encoder_layer::{PostNormLayer, PostNormSizes};
pub use mlp::{Activation, Mlp};
pub use norm::Norm;
pub use residual::ResidualLinear;
