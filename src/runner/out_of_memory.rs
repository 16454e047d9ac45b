//! Error messages for a GPU without enough memory.

use crate::error::{Fault, plain};
use crate::models::training_memory::memory;
use crate::size::bytes;
use crate::spec::{DeviceKind, RunSpec};
use crate::tasks::{BatchSize, definition};
use crate::train::TrainError;

/// Why training failed. `free`: bytes of GPU memory that were free before training, besides the
/// data kept there. `jobs`: the number of runs that shared the GPU.
pub fn reason(error: &TrainError, run: &RunSpec, free: Option<u64>, jobs: usize) -> Fault {
    match is_out_of_memory_of(error) {
        true if jobs > 1 => out_of_memory(run, free)
            .help(format!("{jobs} runs shared the GPU; fewer --jobs leave more for each")),
        true => out_of_memory(run, free),
        false => error.fault(),
    }
}

/// Whether training failed because the GPU ran out of memory.
pub fn is_out_of_memory_of(error: &TrainError) -> bool {
    error.of_tensors().is_some_and(is_out_of_memory)
}

/// Whether an operation failed because the GPU ran out of memory. Each CUDA library has its own
/// name for this error.
fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let text = plain(error).to_lowercase();
    ["cuda_error_out_of_memory", "out of memory", "status_alloc_failed"]
        .iter()
        .any(|part| text.contains(part))
}

fn out_of_memory(run: &RunSpec, free: Option<u64>) -> Fault {
    let has = free.map_or("what the GPU has free".into(), |free| {
        let held = definition(run.task).work_unit().plural;
        format!("{}, which the GPU had free beside {held}", bytes(free))
    });
    let fault = Fault::failed("the GPU ran out of memory in training");
    let needs = |run: &RunSpec| bytes(memory(run, DeviceKind::Cuda).peak);
    if let BatchSize::Tokens(tokens) = definition(run.task).batch_size(run) {
        return fault
            .found(format!("batches of up to {tokens} tokens, which take about {}", needs(run)))
            .expected(format!("at most {has}"))
            .help(
                "fewer tokens a batch by data.batch_tokens, and more batches a step by \
                 training.accumulation",
            );
    }
    let (batch, accumulation) = (run.training.batch_size, run.training.accumulation);
    let fault = fault.found(format!("batches of {batch}, which take about {}", needs(run)));
    match smaller_batch(run, free) {
        Some(smaller) => {
            let parts = batch * accumulation / smaller;
            let fits = if free.is_some() { "fit, and" } else { "take less, and" };
            let takes = needs(&with_batch(run, smaller));
            fault.expected(format!("at most {has}; batches of {smaller} take about {takes}")).help(
                format!(
                    "--set training.batch_size={smaller} --set training.accumulation={parts} \
                     {fits} each step is still over the same {} examples",
                    batch * accumulation
                ),
            )
        }
        None => {
            let takes = needs(&with_batch(run, 1));
            fault
                .expected(format!("at most {has}; a batch of one takes about {takes}"))
                .help("a smaller model, a GPU with more memory, or one that nothing else uses")
        }
    }
}

/// The largest smaller batch size that fits and divides the examples of a step, so that
/// accumulation gives the same steps. If `free` is unknown, the largest smaller divisor.
fn smaller_batch(run: &RunSpec, free: Option<u64>) -> Option<usize> {
    let step = run.training.batch_size * run.training.accumulation;
    let needed = |batch| memory(&with_batch(run, batch), DeviceKind::Cuda).peak;
    let fits = |batch: &usize| free.is_none_or(|free| needed(*batch) <= free);
    (1..run.training.batch_size).rev().filter(|batch| step.is_multiple_of(*batch)).find(fits)
}

fn with_batch(run: &RunSpec, batch: usize) -> RunSpec {
    let mut run = run.clone();
    run.training.accumulation = run.training.batch_size * run.training.accumulation / batch;
    run.training.batch_size = batch;
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    fn run(batch: usize, accumulation: usize) -> RunSpec {
        let text = format!(
            "task: image-classification\ndata: {{embedded: fashion-mnist-mini}}\n\
             model: {{architecture: vit, image_size: 224, patch_size: 16, classes: 1000, dim: 768, \
             depth: 12, heads: 12}}\nprecision: bf16\ntraining: {{batch_size: {batch}, \
             accumulation: {accumulation}}}\narms: {{baseline: {{}}}}\nseeds: [0]\n"
        );
        let spec = spec::parse(text.as_bytes(), "t.yaml", "t", &[], &|_| 0);
        spec.unwrap().variants.remove(0).spec
    }

    #[test]
    fn the_largest_divisor_that_fits_is_chosen() {
        let step = run(96, 2);
        let needs = |batch| memory(&with_batch(&step, batch), DeviceKind::Cuda).peak;
        // 192 = 64 · 3 = 48 · 4. Memory is compared to the byte.
        for (free, want) in [
            (needs(64), Some(64)),
            (needs(64) - 1, Some(48)),
            (needs(48) + 1, Some(48)),
            (needs(1), Some(1)),
            (needs(1) - 1, None),
        ] {
            assert_eq!(smaller_batch(&step, Some(free)), want);
        }
        // Never the batch size that just failed, even if it should fit by the formula.
        assert_eq!(smaller_batch(&step, Some(u64::MAX)), Some(64));
        assert_eq!(smaller_batch(&step, None), Some(64));
        assert_eq!(smaller_batch(&run(1, 4), None), None);
    }

    #[test]
    fn the_message_names_sizes_and_a_batch_that_fits() {
        let step = run(96, 2);
        let needs = |batch| bytes(memory(&with_batch(&step, batch), DeviceKind::Cuda).peak);
        let free = memory(&with_batch(&step, 48), DeviceKind::Cuda).peak;
        assert_eq!(
            out_of_memory(&step, Some(free)).to_string(),
            format!(
                "the GPU ran out of memory in training\n  \
                 found:    batches of 96, which take about {}\n  \
                 expected: at most {}, which the GPU had free beside images; batches of 48 take about {}\n  \
                 help:     --set training.batch_size=48 --set training.accumulation=4 fit, and each \
                 step is still over the same 192 examples",
                needs(96),
                bytes(free),
                needs(48)
            )
        );
        let unknown = out_of_memory(&step, None).to_string();
        assert!(unknown.contains("at most what the GPU has free; batches of 64"), "{unknown}");
        let hopeless = out_of_memory(&step, Some(1 << 20)).to_string();
        assert!(
            hopeless.contains("1 MiB, which the GPU had free beside images; a batch of one"),
            "{hopeless}"
        );
        assert!(hopeless.contains("a smaller model"), "{hopeless}");
    }

    #[test]
    fn batches_by_tokens_are_told_in_tokens() {
        let text = "task: translation\ndata: {path: x, source_column: de, target_column: en, \
                    tokenizer: {train: words, minimum_count: 1}, \
                    batch_tokens: 4096}\nmodel: {architecture: encoder-decoder, source_vocabulary: 512, \
                    target_vocabulary: 512, dim: 64, depth: 2, heads: 4}\narms: {baseline: {}}\n\
                    seeds: [0]\n";
        let spec = spec::parse(text.as_bytes(), "t.yaml", "t", &[], &|_| 0);
        let message = out_of_memory(&spec.unwrap().variants[0].spec, Some(1 << 20)).to_string();
        assert!(message.contains("batches of up to 4096 tokens, which take about"), "{message}");
        assert!(message.contains("fewer tokens a batch by data.batch_tokens"), "{message}");
        assert!(!message.contains("batch_size"), "{message}");
    }

    #[test]
    fn out_of_memory_errors_of_every_cuda_library_are_recognised() {
        let is = |text: &str| is_out_of_memory(&candle_core::Error::Msg(text.into()));
        assert!(is("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"));
        assert!(is("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"));
        assert!(!is("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)") && !is("shape mismatch"));
        let error = |text: &str| TrainError::Tensor(candle_core::Error::Msg(text.into()));
        let message = |text: &str| reason(&error(text), &run(8, 1), None, 1).to_string();
        assert!(message("CUDA_ERROR_OUT_OF_MEMORY").starts_with("the GPU ran out of memory"));
        assert_eq!(message("shape mismatch"), "tensor operation failed: shape mismatch");
    }
}
