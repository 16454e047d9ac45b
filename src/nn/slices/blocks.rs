//! Block sizes for dividing work among threads. They are fixed, so that the order of sums does not
//! depend on the number of threads.

/// Values per task of an element-wise operation.
pub const CHUNK: usize = 1 << 14;

/// Rows per task of an operation that makes a few passes over each row.
pub const BLOCK: usize = 64;
