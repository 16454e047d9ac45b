//! Matrix products on a GPU by cuBLASLt, and a cache of the algorithms that it chose. Compiled only with
//! the feature `cuda`.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;

use candle_core::{DType, Result};
use cudarc::cublaslt::{result as lt, sys};
use cudarc::driver::sys::CUdevice_attribute;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};

use super::launch::wrap;
use super::product::wants_divided_sums;

/// The size that cuBLAS recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// How many algorithms cuBLASLt may propose for each kind of product.
const CANDIDATES: usize = 8;

/// The largest power of two up to 256 that divides an address, as a shift.
pub fn alignment(address: u64) -> u8 {
    address.trailing_zeros().min(8) as u8
}

/// A kind of product: everything that the choice of an algorithm depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// m, n, k.
    pub sizes: [usize; 3],
    pub transposed: [bool; 2],
    pub stored: [(usize, usize); 2],
    /// Types of the factors and of the result.
    pub types: [DType; 2],
    pub added: bool,
    pub bias: bool,
    pub tf32: bool,
    /// Alignments of a, b, c, d and the bias, as shifts.
    pub alignment: [u8; 5],
}

/// A cuBLASLt handle with the algorithms that it chose.
pub struct Products {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    /// Number of the GPU's multiprocessors.
    processors: usize,
    chosen: HashMap<Key, Chosen>,
}

/// The outcome of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// There is no algorithm for it.
    NoAlgorithm,
}

// SAFETY: cuBLASLt's handles and descriptors may be used from any thread, one thread at a time.
unsafe impl Send for Products {}

struct Chosen {
    operation: sys::cublasLtMatmulDesc_t,
    /// Layouts of a, b, c, d.
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    /// The best one is last. Refused ones are removed. Empty if there is none.
    algorithms: Vec<sys::cublasLtMatmulAlgo_t>,
}

/// Whether a status says that this algorithm cannot compute this product, and that nothing was started.
fn is_refusal(status: sys::cublasStatus_t) -> bool {
    use sys::cublasStatus_t as Status;
    matches!(
        status,
        Status::CUBLAS_STATUS_NOT_SUPPORTED
            | Status::CUBLAS_STATUS_INVALID_VALUE
            | Status::CUBLAS_STATUS_ARCH_MISMATCH
    )
}

impl Products {
    pub fn new(stream: &Arc<CudaStream>) -> Result<Products> {
        stream.context().bind_to_thread().map_err(wrap)?;
        let handle = lt::create_handle().map_err(wrap)?;
        // SAFETY: only cuBLASLt reads and writes the workspace.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE) }.map_err(wrap)?;
        let count = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let processors = stream.context().attribute(count).map_err(wrap)?.max(1) as usize;
        let (stream, chosen) = (stream.clone(), HashMap::new());
        Ok(Products { handle, workspace, stream, processors, chosen })
    }

    /// Queues d = scale · op(a) op(b) \[+ c\] \[+ bias\], given the addresses of a, b, c and d.
    pub fn run(
        &mut self,
        key: &Key,
        [a, b, c, d]: [u64; 4],
        bias: Option<u64>,
        scale: f32,
    ) -> Result<Outcome> {
        if !self.chosen.contains_key(key) {
            let chosen = self.choose(key, bias)?;
            self.chosen.insert(*key, chosen);
        }
        let Some(chosen) = self.chosen.get_mut(key) else { return Ok(Outcome::NoAlgorithm) };
        let beta = if key.added { 1f32 } else { 0f32 };
        let pointer = |address: u64| address as *const c_void;
        let [la, lb, lc, ld] = chosen.layouts;
        if let Some(bias) = bias {
            let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            // SAFETY: the attribute's value is an address.
            unsafe { set(chosen.operation, attribute, &bias) }?;
        }
        let workspace = self.workspace.device_ptr(&self.stream).0 as *mut c_void;
        // SAFETY: the addresses are those of tensors with the sizes and types of the layouts, on this
        // stream's device. The tensors outlive the call, and the stream frees memory in order.
        let run = |algorithm: &sys::cublasLtMatmulAlgo_t| unsafe {
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
                algorithm,
                workspace,
                WORKSPACE,
                self.stream.cu_stream() as sys::cudaStream_t,
            )
        };
        // Refusals depend only on the kind of product. So all products of a kind use the same
        // algorithm, and bits are reproducible.
        while let Some(algorithm) = chosen.algorithms.last() {
            match run(algorithm) {
                Ok(()) => return Ok(Outcome::Done),
                Err(lt::CublasError(status)) if is_refusal(status) => {
                    chosen.algorithms.pop();
                }
                Err(error) => return Err(wrap(error)),
            }
        }
        Ok(Outcome::NoAlgorithm)
    }

    /// The algorithms that cuBLASLt expects to be fastest. If the product's sums should be divided,
    /// those that divide sums come first.
    fn choose(&self, key: &Key, bias: Option<u64>) -> Result<Chosen> {
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
        // SAFETY: each attribute gets a value of its type, and cuBLASLt writes at most the requested
        // number of results.
        let mut algorithms = unsafe {
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
            // If a sum is divided among blocks, its parts must be float32 and added in order. Other
            // schemes round them to the result's type, or add them in any order.
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
            let mut found = [const { MaybeUninit::<Found>::uninit() }; CANDIDATES];
            let mut count = 0;
            let status = sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                operation,
                a,
                b,
                c,
                d,
                preference,
                CANDIDATES as i32,
                found.as_mut_ptr().cast(),
                &raw mut count,
            );
            let _ = lt::destroy_matmul_pref(preference);
            match status.result() {
                Ok(()) => {}
                Err(lt::CublasError(status)) if is_refusal(status) => count = 0,
                Err(error) => return Err(wrap(error)),
            }
            let found = found.iter().take(count.max(0) as usize).map(|f| f.assume_init());
            let fit = found.filter(|f| f.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
            fit.map(|f| f.algo).collect::<Vec<_>>()
        };
        if wants_divided_sums(key.sizes, self.processors) {
            // The sort is stable, so the fastest stay first in each of the two groups.
            algorithms.sort_by_key(|algorithm| !divides_sums(algorithm));
        }
        algorithms.reverse();
        Ok(Chosen { operation, layouts, algorithms })
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        for chosen in self.chosen.values() {
            // SAFETY: created by `choose`, and not used after this.
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

type Found = sys::cublasLtMatmulHeuristicResult_t;

/// Whether an algorithm divides each sum among several blocks. The requested scheme adds the parts in
/// order.
fn divides_sums(algorithm: &sys::cublasLtMatmulAlgo_t) -> bool {
    let attribute = sys::cublasLtMatmulAlgoConfigAttributes_t::CUBLASLT_ALGO_CONFIG_SPLITK_NUM;
    let (mut parts, mut written) = (0i32, 0usize);
    // SAFETY: the attribute is a 32-bit number.
    let status = unsafe {
        sys::cublasLtMatmulAlgoConfigGetAttribute(
            algorithm,
            attribute,
            (&raw mut parts).cast(),
            size_of::<i32>(),
            &raw mut written,
        )
    };
    status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS && parts > 1
}

/// # Safety
/// The attribute must take a value of type `V`.
unsafe fn set<V>(
    operation: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &V,
) -> Result<()> {
    let at = std::ptr::from_ref(value).cast();
    // SAFETY: the caller guarantees it.
    unsafe { lt::set_matmul_desc_attribute(operation, attribute, at, size_of::<V>()) }.map_err(wrap)
}
