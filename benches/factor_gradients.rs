//! Times the two ways to the gradients of a weight's low-rank factors, thin products and a projection of the
//! whole matrix's gradient, at the shapes of three Transformers. The constants of `src/nn/cpu/thin.rs` come
//! from it. Run: `cargo bench --profile release --bench factor_gradients [-- SECONDS]`.
//!
//! A way's time is that of a backward pass of a linear layer, less that of the same pass without gradients of
//! factors. The three passes take turns, so that a machine that slows down favours none. `work` is the ratio of
//! multiply–adds, thin over projected. `time` is that of their times. So `time / work` is what one
//! multiply–add of a thin product costs beside one of the other way. `GFLOP/s` is the rate of the thin products.

#![allow(clippy::expect_used)]

use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use vlora::nn::ops::{self, Epilogue, Weights};
use vlora::nn::{Init, LowRank, Variable};
use vlora::random::{Purpose, Stream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// (name, tokens of a batch, output, input)
const SHAPES: [(&str, usize, usize, usize); 9] = [
    ("width 64, 17 tokens, batch 64", 1088, 64, 64),
    ("", 1088, 192, 64),
    ("", 1088, 256, 64),
    ("width 192, 65 tokens, batch 64", 4160, 192, 192),
    ("", 4160, 576, 192),
    ("", 4160, 768, 192),
    ("width 768, 197 tokens, batch 8", 1576, 768, 768),
    ("", 1576, 2304, 768),
    ("", 1576, 3072, 768),
];

fn leaf(shape: &[usize], name: &str) -> Variable {
    let mut stream = Stream::new(0, Purpose::Init, name);
    let values = Init::Normal { std: 0.1 }.values(shape.iter().product(), &mut stream);
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu);
    Variable::leaf(tensor.expect("a tensor of the benchmark's shape"))
}

/// Seconds of the backward pass of a linear layer on x \[n, in\].
fn backward(x: &Variable, matrix: &Variable, pair: &LowRank, project: bool) -> Result<f64> {
    let weights = Weights { matrix, products: std::slice::from_ref(pair), project };
    let y = ops::mean(&ops::linear(x, weights, None, Epilogue::None)?)?;
    let started = Instant::now();
    drop(y.backward(1.0)?);
    Ok(started.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    vlora::runner::keep_freed_memory();
    vlora::runner::start_thread_pool().expect("threads");
    // cargo adds `--bench`.
    let seconds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1.0);
    println!("{} threads", rayon::current_num_threads());
    println!(
        "{:14} {:>4}  {:>9}  {:>9}  {:>9}  {:>6}  {:>6}  {:>9}",
        "out × in", "rank", "thin", "GFLOP/s", "projected", "work", "time", "time/work"
    );
    for (name, n, output, input) in SHAPES {
        if !name.is_empty() {
            println!("{name}");
        }
        let x = leaf(&[n, input], "x");
        let matrix = leaf(&[output, input], "matrix").detach();
        for rank in [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128] {
            if rank >= output.min(input) {
                continue;
            }
            let pair =
                LowRank { a: leaf(&[rank, input], "a"), b: leaf(&[rank, output], "b"), scale: 0.5 };
            let constant = pair.detach();
            let mut times = [const { Vec::new() }; 2];
            let started = Instant::now();
            while started.elapsed().as_secs_f64() < seconds || times[0].len() < 5 {
                let without = backward(&x, &matrix, &constant, false)?;
                times[0].push(backward(&x, &matrix, &pair, false)? - without);
                times[1].push(backward(&x, &matrix, &pair, true)? - without);
            }
            let [thin, projected] = times.map(median);
            let work = 2.0 * (n * rank * (input + output)) as f64
                / ((n + 2 * rank) * input * output) as f64;
            let time = thin / projected;
            let rate = 4e-9 * (n * rank * (input + output)) as f64 / thin;
            println!(
                "{:14} {rank:4}  {:6.2} ms  {rate:9.1}  {:6.2} ms  {work:6.2}  {time:6.2}  {:9.2}",
                format!("{output} × {input}"),
                1e3 * thin,
                1e3 * projected,
                time / work
            );
        }
    }
    Ok(())
}
