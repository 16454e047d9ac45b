//! The real machine: a GPU through its driver and cuBLASLt. Compiled with the feature `cuda` alone.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{DType, Device, Result, Shape, Storage, Tensor, bail};
use cudarc::cublaslt::{result as lt, sys};
use cudarc::driver::sys as driver;
use cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;

use super::machine::{Arg, Grid};
use super::product::ByColumns;
use crate::nn::device::Counters;

/// The kernels: compiled for Hopper, and for other GPUs as the driver compiles at their first use.
const KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// cuBLAS's own advice for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Shared memory that a kernel may take without asking.
const SHARED: usize = 48 << 10;

/// A device with the kernels loaded.
pub struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    /// With whether each may take more than [`SHARED`].
    functions: Mutex<HashMap<String, (CudaFunction, bool)>>,
    products: Mutex<Products>,
    /// Float32 products may be done in TF32.
    tf32: AtomicBool,
    launches: AtomicU64,
    multiplications: AtomicU64,
}

fn wrap<E: std::error::Error + Send + Sync + 'static>(error: E) -> candle_core::Error {
    candle_core::Error::wrap(error)
}

/// The GPU of a device, made at its first use.
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

/// Loads the kernels, and says whether float32 products on this device may be done in TF32.
pub fn configure(device: &Device, tf32: bool) -> Result<()> {
    if let Some(gpu) = of_device(device)? {
        gpu.tf32.store(tf32, Ordering::Relaxed);
    }
    Ok(())
}

/// What was asked of a device so far; zeros for one that is no GPU.
pub fn counters(device: &Device) -> Result<Counters> {
    Ok(of_device(device)?.map_or_else(Counters::default, |gpu| Counters {
        launches: gpu.launches.load(Ordering::Relaxed),
        products: gpu.multiplications.load(Ordering::Relaxed),
    }))
}

/// The most bytes that tensors on a device's GPU have held at once since [`reset_peak`], over all
/// streams; None for one that is no GPU.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    pool_bytes(device, driver::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// A number of bytes that the pool of a device's tensors tells.
fn pool_bytes(device: &Device, attribute: driver::CUmemPool_attribute) -> Option<u64> {
    let mut bytes = 0u64;
    with_pool(device, |pool| {
        // SAFETY: the attributes that are asked for are 64-bit numbers.
        unsafe { driver::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()) }
    })?;
    Some(bytes)
}

/// Bytes of a device's GPU that tensors may take: what no program has, as its driver tells, and what
/// this one keeps of freed ones.
pub fn free_bytes(device: &Device) -> Option<u64> {
    use driver::CUmemPool_attribute::{
        CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT as RESERVED, CU_MEMPOOL_ATTR_USED_MEM_CURRENT as USED,
    };

    let kept = pool_bytes(device, RESERVED)?.saturating_sub(pool_bytes(device, USED)?);
    // The pool's context is this thread's now.
    let (free, _) = cudarc::driver::result::mem_get_info().ok()?;
    Some(free as u64 + kept)
}

/// Forgets the peak so far.
pub fn reset_peak(device: &Device) {
    let attribute = driver::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    let mut zero = 0u64;
    // SAFETY: as above; zero is the one value that it can be set to.
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
    // SAFETY: the driver writes the pool's handle, and the device is one that it gave.
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
            stream,
            module,
            functions: Mutex::default(),
            products: Mutex::new(products),
            tf32: AtomicBool::new(false),
            launches: AtomicU64::new(0),
            multiplications: AtomicU64::new(0),
        })
    }

    pub fn device(&self) -> Device {
        Device::Cuda(self.device.clone())
    }

    pub fn empty(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        // SAFETY: every tensor made here is written whole by the kernel or product it is made for
        // before anything reads it.
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

    /// Everything on a device is asked for on its one stream, so there is nothing to wait for.
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
            function.set_attribute(most, super::attention::SHARED as i32).map_err(wrap)?;
            *asked = true;
        }
        Ok(function.clone())
    }

    pub fn launch(&self, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        /// As the driver takes them.
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
        // SAFETY: the arguments are the kernel's, in its order; tests run each kernel by the same calls.
        unsafe { launch.launch(config) }.map_err(wrap)?;
        self.launches.fetch_add(1, Ordering::Relaxed);
        Ok(())
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
            products.run(key, addresses, bias, p.scale)
        };
        match run(&key, bias.map(|b| b.0))? {
            Ran::Done => Ok(()),
            // Rows that are aligned to nothing may have no algorithm that adds a bias, too.
            Ran::None if key.bias => match run(&Key { bias: false, ..key }, None)? {
                Ran::Done => self.launch_bias(p, to),
                Ran::None => bail!("cuBLASLt has no algorithm for the product {key:?}"),
            },
            Ran::None => bail!("cuBLASLt has no algorithm for the product {key:?}"),
        }
    }

    fn launch_bias(&self, p: &ByColumns, to: &Tensor) -> Result<()> {
        let Some(bias) = p.bias else { return Ok(()) };
        let (kernel, grid, args) = super::product::bias_launch(bias, to, p.m)?;
        self.launch(&kernel, grid, &args)
    }

    pub fn tf32(&self) -> bool {
        self.tf32.load(Ordering::Relaxed)
    }
}

/// The largest power of two up to 256 that divides an address, as a shift.
fn alignment(address: u64) -> u8 {
    address.trailing_zeros().min(8) as u8
}

/// What a product's algorithm depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// m, n, k.
    sizes: [usize; 3],
    transposed: [bool; 2],
    stored: [(usize, usize); 2],
    /// Of the factors and the result.
    types: [DType; 2],
    added: bool,
    bias: bool,
    tf32: bool,
    /// Of a, b, c, d and the bias.
    alignment: [u8; 5],
}

/// cuBLASLt with the algorithms that it chose.
struct Products {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    /// None where there is no algorithm.
    chosen: HashMap<Key, Option<Chosen>>,
}

/// What became of a product.
enum Ran {
    Done,
    /// There is no algorithm for it.
    None,
}

// SAFETY: cuBLASLt's handles and descriptors may be used from any thread, by one at a time.
unsafe impl Send for Products {}

struct Chosen {
    operation: sys::cublasLtMatmulDesc_t,
    /// Of a, b, c, d.
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Products {
    fn new(stream: &Arc<CudaStream>) -> Result<Products> {
        stream.context().bind_to_thread().map_err(wrap)?;
        let handle = lt::create_handle().map_err(wrap)?;
        // SAFETY: a workspace's content is cuBLASLt's own matter.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE) }.map_err(wrap)?;
        Ok(Products { handle, workspace, stream: stream.clone(), chosen: HashMap::new() })
    }

    /// d = scale · op(a) op(b) \[+ c\] \[+ bias\]; addresses of a, b, c and d.
    fn run(
        &mut self,
        key: &Key,
        [a, b, c, d]: [u64; 4],
        bias: Option<u64>,
        scale: f32,
    ) -> Result<Ran> {
        if !self.chosen.contains_key(key) {
            let chosen = self.choose(key, bias)?;
            self.chosen.insert(*key, chosen);
        }
        let Some(Some(chosen)) = self.chosen.get(key) else { return Ok(Ran::None) };
        let beta = if key.added { 1f32 } else { 0f32 };
        let pointer = |address: u64| address as *const c_void;
        let [la, lb, lc, ld] = chosen.layouts;
        // SAFETY: addresses are of tensors of the sizes and types that the layouts say, on this
        // stream's device, and outlive the call; the stream orders what is freed later.
        unsafe {
            if let Some(bias) = bias {
                set(
                    chosen.operation,
                    sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                    &bias,
                )?;
            }
            lt::matmul(
                self.handle,
                chosen.operation,
                (&raw const scale).cast(),
                (&raw const beta).cast(),
                pointer(a),
                la,
                pointer(b),
                lb,
                pointer(c),
                lc,
                d as *mut c_void,
                ld,
                &raw const chosen.algorithm,
                self.workspace.device_ptr(&self.stream).0 as *mut c_void,
                WORKSPACE,
                self.stream.cu_stream() as sys::cudaStream_t,
            )
        }
        .map_err(wrap)?;
        Ok(Ran::Done)
    }

    /// The algorithm that cuBLASLt expects to be the fastest; None where it has none.
    fn choose(&self, key: &Key, bias: Option<u64>) -> Result<Option<Chosen>> {
        use sys::cublasLtMatmulDescAttributes_t as Of;
        use sys::cublasLtMatmulPreferenceAttributes_t as Preferred;
        let float = sys::cudaDataType::CUDA_R_32F;
        let of_type = |dtype| match dtype {
            DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
            _ => float,
        };
        let compute = match key.tf32 && key.types[0] == DType::F32 {
            true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let [factors, result] = key.types.map(of_type);
        let layout = |dtype, rows: usize, columns: usize| {
            lt::create_matrix_layout(dtype, rows as u64, columns as u64, rows as i64).map_err(wrap)
        };
        let [m, n, _] = key.sizes;
        let [(a_rows, a_columns), (b_rows, b_columns)] = key.stored;
        let layouts = [
            layout(factors, a_rows, a_columns)?,
            layout(factors, b_rows, b_columns)?,
            layout(result, m, n)?,
            layout(result, m, n)?,
        ];
        let operation = lt::create_matmul_desc(compute, float).map_err(wrap)?;
        let preference = lt::create_matmul_pref().map_err(wrap)?;
        // SAFETY: each attribute is given a value of its own type.
        let algorithm = unsafe {
            for (attribute, transposed) in [
                (Of::CUBLASLT_MATMUL_DESC_TRANSA, key.transposed[0]),
                (Of::CUBLASLT_MATMUL_DESC_TRANSB, key.transposed[1]),
            ] {
                // CUBLAS_OP_N and CUBLAS_OP_T.
                set(operation, attribute, &i32::from(transposed))?;
            }
            if let Some(bias) = bias {
                let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
                set(operation, Of::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
                set(operation, Of::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
            }
            let prefer = |attribute, bytes: &[u8]| {
                let (at, size) = (bytes.as_ptr().cast(), bytes.len());
                lt::set_matmul_pref_attribute(preference, attribute, at, size).map_err(wrap)
            };
            let workspace = Preferred::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            prefer(workspace, &WORKSPACE.to_ne_bytes())?;
            // Where a sum is divided among blocks, its parts are float32 and added in their order.
            // Other schemes round them to the result's type, or add them as they come.
            let scheme = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
            let schemes = Preferred::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
            prefer(schemes, &(scheme as u32).to_ne_bytes())?;
            for (attribute, shift) in [
                (Preferred::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignment[0]),
                (Preferred::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignment[1]),
                (Preferred::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignment[2]),
                (Preferred::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignment[3]),
            ] {
                prefer(attribute, &(1u32 << shift).to_ne_bytes())?;
            }
            let [a, b, c, d] = layouts;
            let handle = self.handle;
            let found = lt::get_matmul_algo_heuristic(handle, operation, a, b, c, d, preference);
            let _ = lt::destroy_matmul_pref(preference);
            match found {
                Ok(found) => Some(found.algo),
                Err(lt::CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => None,
                Err(error) => return Err(wrap(error)),
            }
        };
        Ok(algorithm.map(|algorithm| Chosen { operation, layouts, algorithm }))
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        for chosen in self.chosen.values().flatten() {
            // SAFETY: made by `choose`, and not used after this.
            unsafe {
                let _ = lt::destroy_matmul_desc(chosen.operation);
                for layout in chosen.layouts {
                    let _ = lt::destroy_matrix_layout(layout);
                }
            }
        }
        // SAFETY: as above.
        let _ = unsafe { lt::destroy_handle(self.handle) };
    }
}

/// # Safety
/// The attribute must take a value of type `V`.
unsafe fn set<V>(
    operation: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &V,
) -> Result<()> {
    let at = std::ptr::from_ref(value).cast();
    // SAFETY: as the caller says.
    unsafe { lt::set_matmul_desc_attribute(operation, attribute, at, size_of::<V>()) }.map_err(wrap)
}
