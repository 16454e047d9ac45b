//! The threads that operations on the CPU share their work among.

use std::env;
use std::num::NonZero;
use std::thread::available_parallelism;

use crate::error::{Fault, Result};

/// Starts rayon's pool with the calling thread, which trains, as one of its threads. A thread outside the
/// pool hands every operation over to it and sleeps meanwhile. That takes a tenth of the time of a small
/// model's step.
///
/// There must be no pool yet. If there would be no other thread, nothing is done: the thread that makes
/// batches may wait for the pool, while this one waits for a batch.
pub fn start_thread_pool() -> Result<()> {
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    let threads = match env::var(VARIABLE).as_deref() {
        Err(_) | Ok("" | "0") => available_parallelism().map_or(1, NonZero::get),
        Ok(value) => value.parse().map_err(|_| {
            Fault::new("not a number of threads")
                .within(VARIABLE)
                .found(format!("`{value}`"))
                .expected("a whole number; 0, or no such variable, for one on each processor")
        })?,
    };
    if threads < 2 {
        return Ok(());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    pool.build_global().map_err(|error| {
        Fault::failed(format!("{threads} threads cannot be started: {error}"))
            .help("RAYON_NUM_THREADS=1 takes fewer")
            .into()
    })
}
