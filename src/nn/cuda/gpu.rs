//! The real backend: a GPU through its driver. Compiled only with the feature `cuda`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{DType, Device, Result, Shape, Storage, Tensor, bail};
use cudarc::driver::sys as driver;
use cudarc::driver::{
    CudaEvent, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, LaunchConfig,
    PushKernelArg,
};
use cudarc::nvrtc::Ptx;

use super::counters::Counters;
use super::cublas::{Key, Outcome, Products, alignment};
use super::launch::{Arg, Grid, MAX_SHARED, wrap};
use super::product::{ByColumns, bias_launch, product_launch, takes_bias};
use super::readback::{PinnedMemory, QueuedCopy};

/// The kernels, compiled for Hopper, and as PTX, which the driver compiles for other GPUs at first use.
const KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// Shared memory that a kernel may use without setting an attribute.
const SHARED: usize = 48 << 10;

/// A device with the kernels loaded.
pub struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    pinned: Arc<Mutex<PinnedMemory>>,
    module: Arc<CudaModule>,
    /// Functions by name, and whether each may use more than [`SHARED`].
    functions: Mutex<HashMap<String, (CudaFunction, bool)>>,
    products: Mutex<Products>,
    /// While timing: the name of each kernel and product, with the events before and after it.
    timed: Mutex<Option<Vec<(String, CudaEvent, CudaEvent)>>>,
    /// Whether float32 products may use TF32.
    tf32: AtomicBool,
    launches: AtomicU64,
    multiplications: AtomicU64,
    /// Products that cuBLASLt refused.
    refused: AtomicU64,
}

/// The GPU of a device, created at its first use.
pub fn of(device: &CudaDevice) -> Result<Arc<Gpu>> {
    static ALL: OnceLock<Mutex<HashMap<DeviceId, Arc<Gpu>>>> = OnceLock::new();
    let all = ALL.get_or_init(Mutex::default);
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = all.get(&device.id()) {
        return Ok(gpu.clone());
    }
    let gpu = Arc::new(Gpu::new(device)?);
    all.insert(device.id(), gpu.clone());
    Ok(gpu)
}

fn of_device(device: &Device) -> Result<Option<Arc<Gpu>>> {
    match device {
        Device::Cuda(device) => of(device).map(Some),
        _ => Ok(None),
    }
}

/// Loads the kernels, and sets whether float32 products on this device may use TF32.
pub fn configure(device: &Device, tf32: bool) -> Result<()> {
    if let Some(gpu) = of_device(device)? {
        gpu.tf32.store(tf32, Ordering::Relaxed);
    }
    Ok(())
}

/// How much work a device got so far; zeros if it is not a GPU.
pub fn counters(device: &Device) -> Result<Counters> {
    Ok(of_device(device)?.map_or_else(Counters::default, |gpu| Counters {
        launches: gpu.launches.load(Ordering::Relaxed),
        products: gpu.multiplications.load(Ordering::Relaxed),
        refused: gpu.refused.load(Ordering::Relaxed),
    }))
}

/// Starts or stops timing each kernel and product of a device's GPU.
pub fn time_kernels(device: &Device, on: bool) -> Result<()> {
    if let Some(gpu) = of_device(device)? {
        *gpu.timed.lock().unwrap_or_else(PoisonError::into_inner) = on.then(Vec::new);
    }
    Ok(())
}

/// The measurements so far: names and seconds. Waits for the GPU.
pub fn kernel_times(device: &Device) -> Result<Vec<(String, f64)>> {
    let Some(gpu) = of_device(device)? else { return Ok(Vec::new()) };
    let mut timed = gpu.timed.lock().unwrap_or_else(PoisonError::into_inner);
    let all = timed.as_mut().map(std::mem::take).unwrap_or_default();
    all.into_iter()
        .map(|(name, from, to)| {
            let milliseconds = from.elapsed_ms(&to).map_err(wrap)?;
            Ok((name, f64::from(milliseconds) / 1e3))
        })
        .collect()
}

/// Queues the copy of a scalar from a GPU, to be read later; None if it is not on a GPU.
pub fn queue_copy(scalar: &Tensor) -> Result<Option<QueuedCopy>> {
    match of_device(scalar.device())? {
        Some(gpu) => {
            let from = gpu.address(scalar)?;
            QueuedCopy::of(&gpu.pinned, &gpu.stream, scalar, from).map(Some)
        }
        None => Ok(None),
    }
}

/// The peak, in bytes, of memory held by tensors on a device's GPU since [`reset_peak`], over all
/// streams; None if the device is not a GPU.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    pool_bytes(device, driver::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// Reads a number of bytes from the statistics of a device's memory pool.
fn pool_bytes(device: &Device, attribute: driver::CUmemPool_attribute) -> Option<u64> {
    let mut bytes = 0u64;
    with_pool(device, |pool| {
        // SAFETY: the attributes read here are 64-bit numbers.
        unsafe { driver::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()) }
    })?;
    Some(bytes)
}

/// Bytes of a device's GPU that tensors may use: the free memory that its driver reports, and memory of
/// freed tensors that the pool keeps.
pub fn free_bytes(device: &Device) -> Option<u64> {
    use driver::CUmemPool_attribute::{
        CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT as RESERVED, CU_MEMPOOL_ATTR_USED_MEM_CURRENT as USED,
    };

    let kept = pool_bytes(device, RESERVED)?.saturating_sub(pool_bytes(device, USED)?);
    // `pool_bytes` has bound the device's context to this thread.
    let (free, _) = cudarc::driver::result::mem_get_info().ok()?;
    Some(free as u64 + kept)
}

/// Resets the peak.
pub fn reset_peak(device: &Device) {
    let attribute = driver::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    let mut zero = 0u64;
    // SAFETY: as above. Zero is the only value it can be set to.
    let reset =
        |pool| unsafe { driver::cuMemPoolSetAttribute(pool, attribute, (&raw mut zero).cast()) };
    with_pool(device, reset);
}

fn with_pool(
    device: &Device,
    f: impl FnOnce(driver::CUmemoryPool) -> driver::CUresult,
) -> Option<()> {
    let Device::Cuda(device) = device else { return None };
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().ok()?;
    let ordinal = stream.context().cu_device();
    let mut pool = std::ptr::null_mut();
    // SAFETY: the driver writes the pool's handle, and the device came from the driver.
    let found = unsafe { driver::cuDeviceGetDefaultMemPool(&raw mut pool, ordinal) };
    let ok = |result| (result == driver::CUresult::CUDA_SUCCESS).then_some(());
    ok(found)?;
    ok(f(pool))
}

impl Gpu {
    fn new(device: &CudaDevice) -> Result<Gpu> {
        let stream = device.cuda_stream();
        let module =
            stream.context().load_module(Ptx::from_binary(KERNELS.to_vec())).map_err(wrap)?;
        let products = Products::new(&stream)?;
        Ok(Gpu {
            device: device.clone(),
            pinned: Arc::new(Mutex::new(PinnedMemory::new(&stream))),
            stream,
            module,
            functions: Mutex::default(),
            products: Mutex::new(products),
            timed: Mutex::default(),
            tf32: AtomicBool::new(false),
            launches: AtomicU64::new(0),
            multiplications: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    pub fn device(&self) -> Device {
        Device::Cuda(self.device.clone())
    }

    pub fn empty(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        // SAFETY: the kernel or product that the tensor is made for writes all of it before anything
        // reads it.
        unsafe { Tensor::empty(shape, dtype, &self.device()) }
    }

    pub fn address(&self, tensor: &Tensor) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((from, _)) = layout.contiguous_offsets() else {
            bail!("a kernel was given a tensor that is not contiguous")
        };
        let Storage::Cuda(storage) = &*storage else {
            bail!("a kernel was given a tensor of another device")
        };
        let start = match tensor.dtype() {
            DType::F32 => self.start(storage.as_cuda_slice::<f32>()?),
            DType::BF16 => self.start(storage.as_cuda_slice::<half::bf16>()?),
            DType::U32 => self.start(storage.as_cuda_slice::<u32>()?),
            DType::U8 => self.start(storage.as_cuda_slice::<u8>()?),
            DType::I64 => self.start(storage.as_cuda_slice::<i64>()?),
            other => bail!("a kernel was given values of type {other:?}"),
        };
        Ok(start + (from * tensor.dtype().size_in_bytes()) as u64)
    }

    /// All work of a device is queued on one stream, so there is nothing to wait for.
    fn start<T>(&self, slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(&self.stream).0
    }

    fn function(&self, kernel: &str, shared: usize) -> Result<CudaFunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if !functions.contains_key(kernel) {
            let function = self.module.load_function(kernel).map_err(wrap)?;
            functions.insert(kernel.to_string(), (function, false));
        }
        let Some((function, asked)) = functions.get_mut(kernel) else {
            bail!("there is no kernel {kernel}")
        };
        if shared > SHARED && !*asked {
            let most =
                driver::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, MAX_SHARED as i32).map_err(wrap)?;
            *asked = true;
        }
        Ok(function.clone())
    }

    pub fn launch(&self, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        /// An argument in the form that the driver takes.
        enum Slot {
            Address(u64),
            Int(i32),
            Word(u32),
            Float(f32),
        }
        let function = self.function(kernel, grid.shared)?;
        let slots = args
            .iter()
            .map(|arg| {
                Ok(match arg {
                    Arg::Tensor(tensor) => Slot::Address(self.address(tensor)?),
                    Arg::Null => Slot::Address(0),
                    Arg::Int(v) => Slot::Int(*v),
                    Arg::Word(v) => Slot::Word(*v),
                    Arg::Size(v) => Slot::Address(*v),
                    Arg::Float(v) => Slot::Float(*v),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut launch = self.stream.launch_builder(&function);
        for slot in &slots {
            match slot {
                Slot::Address(v) => launch.arg(v),
                Slot::Int(v) => launch.arg(v),
                Slot::Word(v) => launch.arg(v),
                Slot::Float(v) => launch.arg(v),
            };
        }
        let [x, y, z] = grid.blocks.map(|n| n as u32);
        let [across, down] = grid.threads.map(|n| n as u32);
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (across, down, 1),
            shared_mem_bytes: grid.shared as u32,
        };
        // SAFETY: the arguments are those of the kernel, in order. Tests run each kernel by the same
        // calls.
        self.timed(|| kernel.to_string(), || unsafe { launch.launch(config) }.map_err(wrap))?;
        self.launches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `work`, which queues one kernel or product. While timing, records an event before and after.
    fn timed<R>(
        &self,
        name: impl FnOnce() -> String,
        work: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        // The lock is held so that another thread's work is not timed with it.
        let mut timed = self.timed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = timed.as_mut() else {
            drop(timed);
            return work();
        };
        let now = || {
            let flags = driver::CUevent_flags::CU_EVENT_DEFAULT;
            self.stream.record_event(Some(flags)).map_err(wrap)
        };
        let from = now()?;
        let result = work()?;
        // Before the name is made, so that its time is not counted as the GPU's.
        let to = now()?;
        times.push((name(), from, to));
        Ok(result)
    }

    pub fn multiply(&self, p: &ByColumns, to: &Tensor) -> Result<()> {
        let tf32 = self.tf32.load(Ordering::Relaxed);
        let of = |t: &Tensor| Ok::<_, candle_core::Error>((self.address(t)?, t.dtype()));
        let (a, b, d) = (of(p.a.tensor)?, of(p.b.tensor)?, of(to)?);
        let c = p.c.map(of).transpose()?;
        let bias = p.bias.map(of).transpose()?;
        let key = Key {
            sizes: [p.m, p.n, p.k],
            transposed: [p.a.transposed, p.b.transposed],
            stored: [(p.a.rows, p.a.columns), (p.b.rows, p.b.columns)],
            types: [a.1, d.1],
            added: c.is_some(),
            bias: bias.is_some(),
            tf32,
            alignment: [a.0, b.0, c.unwrap_or(d).0, d.0, bias.unwrap_or(d).0].map(alignment),
        };
        self.stream.context().bind_to_thread().map_err(wrap)?;
        let addresses = [a.0, b.0, c.unwrap_or(d).0, d.0];
        self.multiplications.fetch_add(1, Ordering::Relaxed);
        let run = |key: &Key, bias| {
            let mut products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
            self.timed(|| p.name(to), || products.run(key, addresses, bias, p.scale))
        };
        let fused = bias.map(|b| b.0).filter(|address| takes_bias(*address));
        if run(&Key { bias: fused.is_some(), ..key }, fused)? == Outcome::Done {
            return match (p.bias, fused) {
                (Some(bias), None) => self.launch_bias(p, bias, to),
                _ => Ok(()),
            };
        }
        // For unaligned rows there may be no algorithm that also adds a bias, or none at all.
        if let (Some(bias), Some(_)) = (p.bias, fused)
            && run(&Key { bias: false, ..key }, None)? == Outcome::Done
        {
            return self.launch_bias(p, bias, to);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (kernel, grid, args) = product_launch(p, to)?;
        self.launch(&kernel, grid, &args)
    }

    fn launch_bias(&self, p: &ByColumns, bias: &Tensor, to: &Tensor) -> Result<()> {
        let (kernel, grid, args) = bias_launch(bias, to, p.m)?;
        self.launch(&kernel, grid, &args)
    }

    pub fn tf32(&self) -> bool {
        self.tf32.load(Ordering::Relaxed)
    }
}
