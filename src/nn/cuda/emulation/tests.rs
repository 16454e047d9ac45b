use std::ffi::c_void;
use std::fs;
use std::sync::OnceLock;

use candle_core::Result;
use half::bf16;

use super::buffer::Buffer;
use super::launch::{Emulator, Order, launch, with_order};

const SOURCE: &str = include_str!("tests.cu");

const ORDERS: [Order; 4] =
    [Order::Ascending, Order::Descending, Order::Permuted(1), Order::Permuted(2)];

fn emulator() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| compile(SOURCE).unwrap())
}

fn compile(source: &str) -> std::result::Result<Emulator, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tests.cu");
    fs::write(&path, source).unwrap();
    Emulator::compile(&path)
}

/// An error's message without the backtrace that candle may add.
fn message_of(result: Result<()>) -> String {
    result.unwrap_err().to_string().lines().next().unwrap_or_default().to_owned()
}

fn arg<T>(value: &mut T) -> *mut c_void {
    std::ptr::from_mut(value).cast()
}

/// Launches one block of `kernel(input, output, count)`.
fn run(kernel: &str, threads: u32, shared: usize, input: &Buffer, output: &Buffer) -> Result<()> {
    let (mut x, mut y) = (input.pointer(), output.pointer());
    let mut count = (input.bytes() / 4) as u32;
    let args = &mut [arg(&mut x), arg(&mut y), arg(&mut count)];
    emulator().launch(kernel, [1, 1, 1], [threads, 1, 1], shared, args)
}

fn failure(kernel: &str, threads: u32, shared: usize) -> String {
    let input = Buffer::from_slice(&vec![1f32; threads as usize]).unwrap();
    let output = Buffer::poisoned(input.bytes()).unwrap();
    message_of(run(kernel, threads, shared, &input, &output))
}

#[test]
fn a_block_sums_through_shuffles_and_shared_memory() {
    for threads in [1, 5, 32, 33, 77, 256, 1000, 1024] {
        for count in [1, 31, 1000, 4097] {
            let values: Vec<f32> = (0..count).map(|i| ((i * 37) % 101) as f32).collect();
            let input = Buffer::from_slice(&values).unwrap();
            for order in ORDERS {
                let output = Buffer::poisoned(4).unwrap();
                with_order(order, || run("block_sum", threads, 128, &input, &output)).unwrap();
                let sum = output.to_vec::<f32>().unwrap();
                assert_eq!(sum, [values.iter().sum::<f32>()], "{threads} {count} {order:?}");
            }
        }
    }
}

#[test]
fn every_block_and_thread_has_its_index() {
    for order in ORDERS {
        let (grid, block) = ([2, 3, 2], [5, 3, 4]);
        let output = Buffer::from_slice(&vec![0u32; 12 * 60]).unwrap();
        let mut y = output.pointer();
        let launched =
            with_order(order, || emulator().launch("indices", grid, block, 0, &mut [arg(&mut y)]));
        launched.unwrap();
        assert_eq!(output.to_vec::<u32>().unwrap(), vec![1; 12 * 60], "{order:?}");
    }
}

#[test]
fn shuffles_match_cuda() {
    let input = Buffer::from_slice(&(0..64u32).collect::<Vec<_>>()).unwrap();
    let output = Buffer::poisoned(64 * 5 * 4).unwrap();
    run("shuffles", 64, 0, &input, &output).unwrap();
    let all = output.to_vec::<u32>().unwrap();
    for thread in 0..64 {
        let (warp, lane) = (thread / 32 * 32, thread % 32);
        let expected = [
            warp + (lane ^ 5),
            if lane + 3 < 32 { thread + 3 } else { thread },
            if lane >= 2 { thread - 2 } else { thread },
            warp + 7,
            // Within groups of eight lanes.
            warp + lane / 8 * 8 + 1,
        ];
        assert_eq!(all[thread as usize * 5..][..5], expected, "{thread}");
    }
}

#[test]
fn divergence_is_an_error_not_a_hang() {
    for order in ORDERS {
        with_order(order, || {
            let message = failure("leaves_before_barrier", 40, 0);
            assert!(
                message.starts_with(
                    "kernel leaves_before_barrier: threads diverged at __syncthreads (tests.cu:"
                ) && message.ends_with("39 of the block's 40 threads wait there, 1 have finished"),
                "{message}"
            );
            let message = failure("half_shuffles", 40, 0);
            assert!(message.contains("16 of the 32 lanes of warp 0 take part"), "{message}");
            let message = failure("two_barriers", 64, 0);
            assert!(
                message.contains("threads diverged at __syncthreads: some wait at"),
                "{message}"
            );
            let message = failure("narrow_mask", 32, 0);
            assert!(message.contains("mask 0xffff, which leaves out lanes"), "{message}");
        });
    }
    // The threads that are still waiting do not disturb later launches.
    let input = Buffer::from_slice(&[1f32; 100]).unwrap();
    let output = Buffer::poisoned(4).unwrap();
    run("block_sum", 96, 128, &input, &output).unwrap();
    assert_eq!(output.to_vec::<f32>().unwrap(), [100.]);
}

#[test]
fn shared_memory_is_guarded_and_poisoned() {
    let message = failure("fills_shared", 40, 156);
    assert!(message.contains("wrote past its shared memory: 0 bytes behind"), "{message}");
    let message = failure("fills_shared", 40, 1 << 20);
    assert!(message.contains("asks for 1048576 bytes of shared memory"), "{message}");
    let message = failure("fills_static", 40, 0);
    assert!(message.contains("index 32 is outside of a 'float"), "{message}");
    let input = Buffer::from_slice(&[1f32; 8]).unwrap();
    let output = Buffer::poisoned(8 * 2 * 4).unwrap();
    let (mut x, mut y, mut count) = (input.pointer(), output.pointer(), 8u32);
    let args = &mut [arg(&mut x), arg(&mut y), arg(&mut count)];
    emulator().launch("reads_unwritten", [3, 1, 1], [8, 1, 1], 32, args).unwrap();
    let read = output.to_vec::<f32>().unwrap();
    // Static arrays are poisoned only where the emulator itself needs no thread-local.
    let from = if cfg!(target_arch = "x86_64") { 0 } else { 8 };
    assert!(read[from..].iter().all(|value| value.is_nan()));
}

#[test]
fn writes_outside_of_buffers_are_found() {
    let input = Buffer::from_slice(&[1f32; 100]).unwrap();
    let output = Buffer::poisoned(400).unwrap();
    run("doubles_all_threads", 100, 0, &input, &output).unwrap();
    assert_eq!(output.to_vec::<f32>().unwrap(), [2.; 100]);
    let message = message_of(run("doubles_all_threads", 128, 0, &input, &output));
    assert_eq!(
        message,
        "kernel doubles_all_threads wrote outside of an allocation of 400 bytes: 0 bytes behind its end"
    );
    drop(output);
    // In place: it writes back what it read from the guard.
    let message = message_of(run("doubles_all_threads", 128, 0, &input, &input));
    assert!(message.contains("wrote outside of an allocation of 400 bytes"), "{message}");
    drop(input);

    let input = Buffer::from_slice(&[1f32; 100]).unwrap();
    let output = Buffer::poisoned(400).unwrap();
    let message = message_of(run("copies_before", 1, 0, &input, &output));
    assert!(message.ends_with("4 bytes in front of its start"), "{message}");
}

#[test]
fn misaligned_accesses_are_found() {
    let message = failure("misaligned", 1, 0);
    assert!(message.contains("misaligned access to a '"), "{message}");
    assert!(message.contains("the rest by 16 is 4, by thread (0, 0, 0)"), "{message}");
}

#[test]
fn a_missing_barrier_is_found_by_another_order() {
    let input = Buffer::from_slice(&(0..64).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    let turned = |kernel, order| {
        let output = Buffer::poisoned(256).unwrap();
        with_order(order, || run(kernel, 64, 256, &input, &output)).unwrap();
        output.to_vec::<u32>().unwrap()
    };
    let right = turned("turns", Order::Ascending);
    assert!(ORDERS.into_iter().all(|order| turned("turns", order) == right));
    assert_ne!(
        turned("turns_without_barrier", Order::Ascending),
        turned("turns_without_barrier", Order::Descending)
    );
}

#[test]
fn launches_that_cuda_refuses_are_refused() {
    let refused = |grid, block, args: &mut [*mut c_void]| {
        message_of(emulator().launch("indices", grid, block, 0, args))
    };
    let mut y = std::ptr::null_mut::<c_void>();
    let y = arg(&mut y);
    assert_eq!(refused([1; 3], [1; 3], &mut []), "kernel indices: takes 1 arguments and got 0");
    assert!(refused([0, 1, 1], [1; 3], &mut [y]).contains("zero"));
    assert!(refused([1; 3], [1025, 1, 1], &mut [y]).contains("larger than 1024"));
    assert!(refused([1; 3], [1, 1, 65], &mut [y]).contains("deeper than 64"));
    assert!(refused([1, 65536, 1], [1; 3], &mut [y]).contains("larger than 2^31-1"));
}

#[test]
fn missing_kernels_and_failed_compilations_are_errors() {
    let error = message_of(emulator().launch("absent", [1; 3], [1; 3], 0, &mut []));
    assert_eq!(error, "kernel absent: no EXPORT names it");
    assert!(launch("absent", [1; 3], [1; 3], 0, &mut []).is_err());
    let error = compile("int f() { return missing; }").err().unwrap();
    assert!(error.contains("does not compile:\n") && error.contains("missing"), "{error}");
}

#[test]
fn bfloat16_rounds_like_cuda() {
    let words: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    let input = Buffer::from_slice(&words).unwrap();
    let output = Buffer::poisoned(words.len() * 4).unwrap();
    let (mut x, mut y, mut count) = (input.pointer(), output.pointer(), words.len() as u32);
    let args = &mut [arg(&mut x), arg(&mut y), arg(&mut count)];
    emulator().launch("widen", [256, 1, 1], [256, 1, 1], 0, args).unwrap();
    let bits = output.to_vec::<u32>().unwrap();
    assert!((0..=u16::MAX).zip(&bits).all(|(word, &bits)| bits == u32::from(word) << 16));

    // All 65,536 upper halves with lower halves around the rounding boundary, and random values.
    let mut values: Vec<f32> = Vec::new();
    for word in 0..=u16::MAX {
        for low in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
            values.push(f32::from_bits(u32::from(word) << 16 | low));
        }
    }
    let mut state = 1u64;
    values.extend((0..1 << 20).map(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        f32::from_bits((state >> 32) as u32)
    }));
    values.resize(values.len().next_multiple_of(256), 0.);
    let input = Buffer::from_slice(&values).unwrap();
    let output = Buffer::poisoned(values.len() * 2).unwrap();
    let (mut x, mut y, mut count) = (input.pointer(), output.pointer(), values.len() as u32);
    let args = &mut [arg(&mut x), arg(&mut y), arg(&mut count)];
    emulator().launch("narrow", [count / 256, 1, 1], [256, 1, 1], 0, args).unwrap();
    for (&value, rounded) in values.iter().zip(output.to_vec::<bf16>().unwrap()) {
        let expected = if value.is_nan() { 0x7FFF } else { bf16::from_f32(value).to_bits() };
        assert_eq!(rounded.to_bits(), expected, "{value:e} {:x}", value.to_bits());
    }
}

/// Measures launches: `cargo test --release --lib emulation -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn ten_barriers() {
    let input = Buffer::from_slice(&[1f32; 64 * 256]).unwrap();
    let output = Buffer::poisoned(input.bytes()).unwrap();
    for kernel in ["ten_barriers", "doubles_all_threads"] {
        for order in ORDERS {
            let (mut x, mut y, mut count) = (input.pointer(), output.pointer(), 64 * 256u32);
            let args = &mut [arg(&mut x), arg(&mut y), arg(&mut count)];
            let start = std::time::Instant::now();
            for _ in 0..10 {
                with_order(order, || {
                    emulator().launch(kernel, [64, 1, 1], [256, 1, 1], 1024, args).unwrap();
                });
            }
            println!("{kernel}, {order:?}: {:?}", start.elapsed() / 10);
        }
    }
}
