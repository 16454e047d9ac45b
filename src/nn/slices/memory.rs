//! Access to tensors as slices, and new vectors written in parallel.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use super::blocks::CHUNK;
use super::elementwise::add_to;

/// Whether the fused operations support these tensors: float32 values or u32 ids on the CPU.
pub fn takes(tensors: &[&Tensor]) -> bool {
    let takes = |t: &&Tensor| t.device().is_cpu() && matches!(t.dtype(), DType::F32 | DType::U32);
    tensors.iter().all(takes)
}

/// A tensor of values in row-major order, on the device of `like`.
pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), like.device())
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&values[from..to]),
        None => bail!("a fused operation needs contiguous input"),
    }
}

/// Calls `f` with the values of each tensor, in row-major order.
pub fn with_all<R>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> Result<R>) -> Result<R> {
    let contiguous: Vec<Tensor> = tensors.iter().map(|t| t.contiguous()).collect::<Result<_>>()?;
    let guards: Vec<_> = contiguous.iter().map(Tensor::storage_and_layout).collect();
    let values = guards
        .iter()
        .map(|(storage, layout)| match &**storage {
            Storage::Cpu(storage) => slice(storage, layout),
            _ => bail!("a fused CPU operation met a tensor of another device"),
        })
        .collect::<Result<Vec<_>>>()?;
    f(&values)
}

/// The same for a fixed number of tensors.
pub fn with_values<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    with_all(&tensors, |values| {
        let mut all: [&[f32]; N] = [&[]; N];
        all.copy_from_slice(values);
        f(all)
    })
}

/// Calls `f` with the values of a contiguous tensor on the CPU, which it may change in place.
pub fn with_values_mut(t: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    /// candle gives an operation the storage through a shared reference, hence the `RefCell`.
    struct Change<F>(RefCell<Option<F>>);

    impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Change<F> {
        fn name(&self) -> &'static str {
            "change"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let CpuStorage::F32(values) = storage else {
                bail!("only float32 is changed in place")
            };
            let Some((from, to)) = layout.contiguous_offsets() else {
                bail!("only contiguous values are changed in place")
            };
            self.0.take().map_or(Ok(()), |f| f(&mut values[from..to]))
        }
    }

    t.inplace_op1(&Change(RefCell::new(Some(f))))
}

/// A block of uninitialised memory.
pub struct Unwritten<'a>(pub(in crate::nn) &'a mut [MaybeUninit<f32>]);

impl<'a> Unwritten<'a> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Fills the block with zeros. This is cheap just before the block is written, since it stays in
    /// cache.
    pub fn zeros(self) -> &'a mut [f32] {
        self.0.fill(MaybeUninit::new(0.0));
        // SAFETY: every value was just written.
        unsafe { self.written() }
    }

    /// The same on several threads.
    pub fn shared_zeros(self) -> &'a mut [f32] {
        self.0.par_chunks_mut(CHUNK).for_each(|part| {
            part.fill(MaybeUninit::new(0.0));
        });
        // SAFETY: every value was just written.
        unsafe { self.written() }
    }

    /// Fills the block with the first of `values`.
    pub fn filled_with(self, values: &[f32]) -> &'a mut [f32] {
        self.0.write_copy_of_slice(&values[..self.0.len()])
    }

    /// Fills the block with the first of the values of all parts, one after another.
    pub fn filled_with_parts<'p>(self, parts: impl Iterator<Item = &'p [f32]>) -> &'a mut [f32] {
        let mut at = 0;
        for part in parts {
            let size = part.len().min(self.0.len() - at);
            self.0[at..at + size].write_copy_of_slice(&part[..size]);
            at += size;
        }
        assert_eq!(at, self.0.len(), "fewer values than the block has");
        // SAFETY: every value was just written.
        unsafe { self.written() }
    }

    /// # Safety
    /// Every value must have been written.
    pub(in crate::nn) unsafe fn written(self) -> &'a mut [f32] {
        // SAFETY: the caller guarantees it; a MaybeUninit has its value's layout.
        unsafe { &mut *(std::ptr::from_mut(self.0) as *mut [f32]) }
    }
}

/// Makes a row-major matrix. `f` writes it in blocks of `block` rows, in parallel. `f` gets a block's
/// first row number and its values, which are zeros. Also returns `f`'s results in the order of blocks.
pub fn by_rows<R: Send>(
    rows: usize,
    width: usize,
    block: usize,
    f: impl Fn(usize, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    let parts = vec![(); rows.div_ceil(block.max(1))];
    by_rows_with(rows, width, block, parts, |row, (), values| {
        let values = values.zeros();
        let result = f(row, values);
        (values, result)
    })
}

/// The same without results, but `f` gets the block uninitialised and must return it fully written.
pub fn by_rows_unwritten(
    rows: usize,
    width: usize,
    block: usize,
    f: impl for<'a> Fn(usize, Unwritten<'a>) -> &'a mut [f32] + Sync,
) -> Vec<f32> {
    let parts = vec![(); rows.div_ceil(block.max(1))];
    let (values, _) =
        by_rows_with(rows, width, block, parts, |row, (), values| (f(row, values), ()));
    values
}

/// The same, but `f` also gets the block's element of `parts`, which has one per block, and has a result.
pub fn by_rows_with<T: Send, R: Send>(
    rows: usize,
    width: usize,
    block: usize,
    parts: Vec<T>,
    f: impl for<'a> Fn(usize, T, Unwritten<'a>) -> (&'a mut [f32], R) + Sync,
) -> (Vec<f32>, Vec<R>) {
    let block = block.max(1);
    assert_eq!(parts.len(), rows.div_ceil(block), "one part per block");
    let mut values = Vec::with_capacity(rows * width);
    let (mut rest, mut blocks) = (spare(&mut values, rows * width), Vec::new());
    for part in parts {
        let (chunk, after) = rest.split_at_mut(rest.len().min(block * width));
        blocks.push((part, chunk));
        rest = after;
    }
    let one = |(i, (part, chunk)): (usize, (T, &mut [MaybeUninit<f32>]))| {
        let (place, len) = (chunk.as_ptr().cast::<f32>(), chunk.len());
        let (written, result) = f(i * block, part, Unwritten(chunk));
        // Only if `f` returned the block itself is all of it written.
        assert!(std::ptr::eq(written.as_ptr(), place) && written.len() == len);
        result
    };
    let results = match blocks.len() {
        // A single task needs no other thread.
        ..=1 => blocks.into_iter().enumerate().map(one).collect(),
        _ => blocks.into_par_iter().enumerate().map(one).collect(),
    };
    // SAFETY: the blocks are all of the first rows · width values, and each was returned written.
    unsafe { values.set_len(rows * width) };
    (values, results)
}

/// Like [`by_rows_with`], for two matrices of the same shape at once.
pub fn two_by_rows(
    rows: usize,
    width: usize,
    block: usize,
    f: impl for<'a, 'b> Fn(usize, Unwritten<'a>, Unwritten<'b>) -> (&'a mut [f32], &'b mut [f32]) + Sync,
) -> [Vec<f32>; 2] {
    let mut second = Vec::with_capacity(rows * width);
    let size = (block * width).max(1);
    let parts: Vec<_> = spare(&mut second, rows * width).chunks_mut(size).collect();
    let (first, _) = by_rows_with(rows, width, block, parts, |row, part, a| {
        let (place, len) = (part.as_ptr().cast::<f32>(), part.len());
        let (a, b) = f(row, a, Unwritten(part));
        assert!(std::ptr::eq(b.as_ptr(), place) && b.len() == len);
        (a, ())
    });
    // SAFETY: the parts are all of the first rows · width values, and each was returned written.
    unsafe { second.set_len(rows * width) };
    [first, second]
}

/// The first `n` elements of an empty vector's capacity.
fn spare(values: &mut Vec<f32>, n: usize) -> &mut [MaybeUninit<f32>] {
    &mut values.spare_capacity_mut()[..n]
}

/// Adds up the blocks' sums, each of `width` values, in order.
pub fn total(blocks: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut blocks = blocks.into_iter();
    let mut sum = blocks.next().unwrap_or_else(|| vec![0f32; width]);
    let rest: Vec<_> = blocks.collect();
    sum.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sum)| {
        for block in &rest {
            add_to(sum, &block[i * CHUNK..][..sum.len()]);
        }
    });
    sum
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn rows_are_written_once_and_results_come_in_order() {
        for (rows, width, block) in [(0, 3, 2), (1, 1, 64), (7, 3, 2), (65, 5, 64), (3, 0, 2)] {
            let (values, firsts) = by_rows(rows, width, block, |row, part| {
                for (i, v) in part.iter_mut().enumerate() {
                    assert_eq!(*v, 0.0);
                    *v = (row * width + i) as f32;
                }
                row
            });
            let want: Vec<f32> = (0..rows * width).map(|i| i as f32).collect();
            assert_eq!(values, want);
            assert_eq!(firsts, (0..rows.div_ceil(block)).map(|i| i * block).collect::<Vec<_>>());
        }
    }

    #[test]
    fn values_change_in_place() {
        let t = Tensor::new(&[1f32, 2.], &Device::Cpu).unwrap();
        with_values_mut(&t, |v| {
            v[1] = 5.0;
            Ok(())
        })
        .unwrap();
        assert_eq!(t.to_vec1::<f32>().unwrap(), [1., 5.]);
        let strided = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap().t().unwrap();
        assert!(with_values_mut(&strided, |_| Ok(())).is_err());
    }
}
