//! What the configs of several models have in common: ranges, heads, and fields that change nothing.

use std::ops::RangeInclusive;

use super::fields::Fields;
use crate::error::Result;

// Ranges far beyond any real model. A damaged number is reported before memory is allocated for it.
pub const LAYERS: RangeInclusive<usize> = 1..=4096;
pub const WIDTHS: RangeInclusive<usize> = 1..=1 << 20;
pub const ROWS: RangeInclusive<usize> = 1..=1 << 24;

/// Reads the number of heads, which must divide the width.
pub fn heads(fields: &Fields, name: &str, width: (&str, usize)) -> Result<usize> {
    let heads = fields.whole(name, WIDTHS)?;
    if width.1.is_multiple_of(heads) {
        return Ok(heads);
    }
    Err(fields
        .fault(name, "the model is not supported")
        .found(heads)
        .expected(format!("a divisor of {}, {}", width.0, width.1))
        .into())
}

/// Fields that do not change what a model computes. They are about other heads, training
/// (the spec sets dropout and initialisation), output formats of transformers, text generation, and
/// the file's origin.
pub const HARMLESS: [&str; 79] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_stride",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "length_penalty",
    "license",
    "max_length",
    "min_length",
    "model_name",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "pooler_act",
    "pooler_output_size",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "classifier_dropout",
    "drop_path_rate",
    "feature_extractor_type",
    "image_processor_type",
    "language",
    "library_name",
    "loss_type",
    "pipeline_tag",
    "processor_class",
    "tags",
    "use_auth_token",
    "xla_device",
];
