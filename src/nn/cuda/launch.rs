//! Kernel launches: names, grids and arguments.

use candle_core::{DType, Result, Tensor, bail};

/// A kernel's argument.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    /// The address of a contiguous tensor's values.
    Tensor(&'a Tensor),
    Null,
    Int(i32),
    Word(u32),
    Size(u64),
    Float(f32),
}

impl<'a> Arg<'a> {
    /// The tensor's address, or null.
    pub fn maybe(tensor: Option<&'a Tensor>) -> Arg<'a> {
        tensor.map_or(Arg::Null, Arg::Tensor)
    }

    pub fn int(n: usize) -> Arg<'a> {
        Arg::Int(n as i32)
    }

    pub fn flag(on: bool) -> Arg<'a> {
        Arg::Int(i32::from(on))
    }
}

/// The blocks and threads of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub blocks: [usize; 3],
    /// Threads per block.
    pub threads: [usize; 2],
    /// Bytes of dynamic shared memory per block.
    pub shared: usize,
}

/// The usual number of threads per block.
pub const THREADS: usize = 256;

impl Grid {
    /// One thread for each of `count` items.
    pub fn of(count: usize) -> Grid {
        Grid { blocks: [count.div_ceil(THREADS), 1, 1], threads: [THREADS, 1], shared: 0 }
    }

    /// One thread for each of `count` items of an example. Each of the grid's rows has one example, or
    /// several, where there are more than a grid has rows.
    pub fn of_examples(count: usize, examples: usize) -> Grid {
        const MAX_ROWS: usize = 65_535;
        Grid {
            blocks: [count.div_ceil(THREADS), examples.min(MAX_ROWS), 1],
            threads: [THREADS, 1],
            shared: 0,
        }
    }

    /// One warp for each of `rows` rows.
    pub fn of_rows(rows: usize) -> Grid {
        Grid::of(rows * 32)
    }
}

/// The most shared memory per block. Every GPU since Ampere has this much.
pub const MAX_SHARED: usize = 96 << 10;

/// The name of a kernel for values of this type.
pub fn of_type(kernel: &str, dtype: DType) -> Result<String> {
    match dtype {
        DType::F32 => Ok(format!("{kernel}_float")),
        DType::BF16 => Ok(format!("{kernel}_bf16")),
        other => bail!("{kernel}: no kernel for values of type {other:?}"),
    }
}

/// Whether rows of `width` values of these tensors can be loaded 16 bytes at a time.
pub fn in_vectors(width: usize, tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| {
        let size = t.dtype().size_in_bytes();
        let start = t.layout().start_offset();
        (width * size).is_multiple_of(16) && (start * size).is_multiple_of(16)
    })
}

/// Wraps an error of the driver in candle's error type.
#[cfg(feature = "cuda")]
pub fn wrap<E: std::error::Error + Send + Sync + 'static>(error: E) -> candle_core::Error {
    candle_core::Error::wrap(error)
}
