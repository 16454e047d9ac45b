//! Emulated kernels and matrix products on candle's CPU tensors.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::time::Instant;

use candle_core::{CpuStorage, DType, Result, Shape, Storage, Tensor, bail};

use super::buffer::Buffer;
use super::launch::launch;
use crate::nn::cuda::counters::Counters;
use crate::nn::cuda::launch::{Arg, Grid};
use crate::nn::cuda::product::{ByColumns, Stored};

thread_local! {
    static COUNTERS: Cell<Counters> = Cell::default();
    static ON: Cell<bool> = const { Cell::new(false) };
    static TIMES: RefCell<Option<Vec<(String, f64)>>> = const { RefCell::new(None) };
}

/// How much work this thread gave the emulation.
pub fn counters() -> Counters {
    COUNTERS.get()
}

/// Starts or stops timing this thread's work in the emulation.
pub fn time(on: bool) {
    TIMES.set(on.then(Vec::new));
}

/// The measurements since [`time`] or the last call.
pub fn times() -> Vec<(String, f64)> {
    TIMES.with_borrow_mut(|times| times.as_mut().map(std::mem::take)).unwrap_or_default()
}

fn timed<R>(name: impl FnOnce() -> String, work: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = work();
    TIMES.with_borrow_mut(|times| {
        if let Some(times) = times {
            times.push((name(), started.elapsed().as_secs_f64()));
        }
    });
    result
}

/// Whether this thread's operations are emulated.
pub fn is_on() -> bool {
    ON.get()
}

/// Runs `work`. In it, this thread's operations on CPU tensors emulate those of a GPU.
pub fn emulated<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
    let _restore = Restore(ON.replace(true));
    work()
}

/// A tensor of NaN, so that values that a kernel does not write are noticed.
pub fn empty(shape: Shape, dtype: DType) -> Result<Tensor> {
    match dtype {
        DType::F32 | DType::BF16 => {
            Tensor::full(f32::NAN, shape, &candle_core::Device::Cpu)?.to_dtype(dtype)
        }
        other => bail!("no new tensors of type {other:?}"),
    }
}

/// The address and the number of bytes of a contiguous tensor's values.
fn place(tensor: &Tensor) -> Result<(*mut u8, usize)> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("a kernel was given a tensor that is not contiguous")
    };
    let Storage::Cpu(storage) = &*storage else { bail!("not on the CPU") };
    let start: *const u8 = match storage {
        CpuStorage::F32(v) => v.as_ptr().cast(),
        CpuStorage::BF16(v) => v.as_ptr().cast(),
        CpuStorage::U32(v) => v.as_ptr().cast(),
        CpuStorage::U8(v) => v.as_ptr().cast(),
        CpuStorage::I64(v) => v.as_ptr().cast(),
        _ => bail!("a kernel was given values of type {:?}", tensor.dtype()),
    };
    let size = tensor.dtype().size_in_bytes();
    // SAFETY: the layout is within the storage.
    Ok((unsafe { start.add(from * size) }.cast_mut(), (to - from) * size))
}

pub fn address(tensor: &Tensor) -> Result<u64> {
    Ok(place(tensor)?.0 as u64)
}

/// Runs a kernel on guarded copies of its tensors, and copies them back.
pub fn run(kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
    COUNTERS.with(|c| c.set(Counters { launches: c.get().launches + 1, ..c.get() }));
    enum Slot {
        Word(u64),
        Half(u32),
    }
    let mut copies: Vec<(Buffer, *mut u8)> = Vec::new();
    let mut slots = Vec::new();
    for arg in args {
        slots.push(match arg {
            Arg::Tensor(tensor) => {
                let (start, bytes) = place(tensor)?;
                // SAFETY: a tensor's values, which live during this call.
                let values = unsafe { std::slice::from_raw_parts(start, bytes) };
                let buffer = Buffer::from_slice(values)?;
                let address = buffer.pointer() as u64;
                copies.push((buffer, start));
                Slot::Word(address)
            }
            Arg::Null => Slot::Word(0),
            Arg::Size(v) => Slot::Word(*v),
            Arg::Int(v) => Slot::Half(*v as u32),
            Arg::Word(v) => Slot::Half(*v),
            Arg::Float(v) => Slot::Half(v.to_bits()),
        });
    }
    let mut pointers: Vec<*mut c_void> = slots
        .iter_mut()
        .map(|slot| match slot {
            Slot::Word(v) => std::ptr::from_mut(v).cast(),
            Slot::Half(v) => std::ptr::from_mut(v).cast(),
        })
        .collect();
    let [across, down] = grid.threads.map(|n| n as u32);
    let blocks = grid.blocks.map(|n| n as u32);
    timed(
        || kernel.to_string(),
        || launch(kernel, blocks, [across, down, 1], grid.shared, &mut pointers),
    )?;
    for (buffer, to) in copies {
        // SAFETY: the tensor's own memory, which nothing else reads now. The buffer has its size.
        unsafe {
            to.copy_from_nonoverlapping(buffer.pointer().cast(), buffer.bytes());
        }
    }
    Ok(())
}

/// Computes a product from the arguments that cuBLASLt would get: column-major matrices. Sums are float64.
pub fn multiply(p: &ByColumns, to: &Tensor) -> Result<()> {
    timed(|| p.name(to), || multiplied(p, to))
}

fn multiplied(p: &ByColumns, to: &Tensor) -> Result<()> {
    COUNTERS.with(|c| c.set(Counters { products: c.get().products + 1, ..c.get() }));
    let values = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (a, b) = (values(p.a.tensor)?, values(p.b.tensor)?);
    let c = p.c.map(values).transpose()?;
    let bias = p.bias.map(values).transpose()?;
    let shape = |s: &Stored| if s.transposed { (s.columns, s.rows) } else { (s.rows, s.columns) };
    if shape(&p.a) != (p.m, p.k) || shape(&p.b) != (p.k, p.n) {
        bail!("factors {:?} and {:?} of [{}, {}]", shape(&p.a), shape(&p.b), p.m, p.n);
    }
    let at = |s: &Stored, values: &[f32], row: usize, column: usize| {
        let (row, column) = if s.transposed { (column, row) } else { (row, column) };
        f64::from(values[column * s.rows + row])
    };
    let mut d = vec![0f32; p.m * p.n];
    for column in 0..p.n {
        for row in 0..p.m {
            let mut sum = 0f64;
            for k in 0..p.k {
                sum += at(&p.a, &a, row, k) * at(&p.b, &b, k, column);
            }
            sum *= f64::from(p.scale);
            let place = column * p.m + row;
            sum += c.as_ref().map_or(0.0, |c| f64::from(c[place]));
            sum += bias.as_ref().map_or(0.0, |bias| f64::from(bias[row]));
            d[place] = sum as f32;
        }
    }
    let result = Tensor::from_vec(d, to.shape(), to.device())?.to_dtype(to.dtype())?;
    let ((from, bytes), (to, room)) = (place(&result)?, place(to)?);
    if bytes != room {
        bail!("a product of {bytes} bytes into {room}");
    }
    // SAFETY: the memory of two tensors of the same size.
    unsafe { to.copy_from_nonoverlapping(from, bytes) };
    Ok(())
}
