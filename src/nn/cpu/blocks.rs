//! How work is divided among threads. The sizes are fixed, so that the order of sums does not depend
//! on the number of threads.

/// Values that an element-wise task works on.
pub const CHUNK: usize = 1 << 14;

/// Rows that a task works on where a row takes a few passes.
pub const BLOCK: usize = 64;
