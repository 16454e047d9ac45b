//! The threads that operations on the CPU share their work among.

use std::env;
use std::num::NonZero;
use std::thread::available_parallelism;

/// Makes the calling thread, which trains, one of the threads of rayon's pool. A thread outside the pool would
/// hand every operation over to it and sleep, which takes a tenth of the time of a small model's step.
///
/// Does nothing if there would be no other thread: the one that makes batches may wait for the pool, while this one
/// waits for a batch. Nor if the pool is already there.
pub fn join_thread_pool() {
    // The same rule as rayon's.
    let asked = env::var("RAYON_NUM_THREADS").ok().and_then(|count| count.parse().ok());
    let threads = match asked {
        None | Some(0) => available_parallelism().map_or(1, NonZero::get),
        Some(count) => count,
    };
    if threads > 1 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
        // The only error is that there is a pool; the program then works as it would without this.
        let _ = pool.build_global();
    }
}
