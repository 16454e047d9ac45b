//! What Transformers are built of. Each part has two functions of one shape: `forward` computes, and
//! `operations` says what that takes, from the same fields.

mod attention;
mod block;
mod embeddings;
mod encoder_layer;
mod mlp;
mod norm;

pub use attention::{Attention, PackedSelfAttention, Sizes};
pub use block::{BlockSizes, PreNormBlock};
pub use embeddings::{TokenEmbeddings, Tokens};
pub use encoder_layer::{PostNormLayer, PostNormSizes};
pub use mlp::{Activation, Mlp};
pub use norm::Norm;
