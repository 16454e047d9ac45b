//! Reads numbers from a GPU without waiting for later work. Compiled only with the feature `cuda`.
//!
//! A copy into ordinary memory, made when a number is read, would wait for all work queued until then,
//! including later steps. And on machines whose GPU accesses such memory directly, the call may return
//! before the copy is over. So here the copy of each number is queued right after its step, into
//! page-locked memory, followed by an event. Reading waits only for that event.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Result, Tensor, bail};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};

use super::launch::wrap;

/// Numbers per chunk of memory.
const CHUNK: usize = 1024;

/// Page-locked memory, handed out in places of one float32.
pub struct PinnedMemory {
    context: Arc<CudaContext>,
    chunks: Vec<NonNull<f32>>,
    free: Vec<NonNull<f32>>,
}

// SAFETY: plain memory. Each place has one user at a time.
unsafe impl Send for PinnedMemory {}

impl PinnedMemory {
    pub fn new(stream: &Arc<CudaStream>) -> PinnedMemory {
        PinnedMemory { context: stream.context().clone(), chunks: Vec::new(), free: Vec::new() }
    }

    fn take(&mut self) -> Result<NonNull<f32>> {
        if let Some(place) = self.free.pop() {
            return Ok(place);
        }
        self.context.bind_to_thread().map_err(wrap)?;
        // SAFETY: allocates memory, which lives until `drop`.
        let chunk = unsafe { result::malloc_host(CHUNK * size_of::<f32>(), 0) }.map_err(wrap)?;
        let Some(chunk) = NonNull::new(chunk.cast::<f32>()) else {
            bail!("the driver gave no memory to read numbers into")
        };
        self.chunks.push(chunk);
        // SAFETY: the chunk has this many places.
        unsafe { chunk.as_ptr().write_bytes(0, CHUNK) };
        // SAFETY: within the chunk.
        self.free.extend((1..CHUNK).map(|i| unsafe { chunk.add(i) }));
        Ok(chunk)
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_err() {
            return;
        }
        // Copies that nobody waited for may still be running.
        let _ = result::ctx::synchronize();
        for chunk in &self.chunks {
            // SAFETY: it came from `malloc_host`, and nothing writes to it any more.
            let _ = unsafe { result::free_host(chunk.as_ptr().cast::<c_void>()) };
        }
    }
}

/// A float32 whose copy from the GPU is queued.
pub struct QueuedCopy {
    pinned: Arc<Mutex<PinnedMemory>>,
    place: NonNull<f32>,
    done: CudaEvent,
}

// SAFETY: no other value uses the place.
unsafe impl Send for QueuedCopy {}

impl std::fmt::Debug for QueuedCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("QueuedCopy")
    }
}

fn locked(pinned: &Mutex<PinnedMemory>) -> MutexGuard<'_, PinnedMemory> {
    // The lists of places stay consistent even if a thread panicked.
    pinned.lock().unwrap_or_else(PoisonError::into_inner)
}

impl QueuedCopy {
    /// Queues the copy of a scalar at the address `from`, after all earlier work of the stream.
    pub fn of(
        pinned: &Arc<Mutex<PinnedMemory>>,
        stream: &Arc<CudaStream>,
        scalar: &Tensor,
        from: u64,
    ) -> Result<QueuedCopy> {
        if scalar.elem_count() != 1 || scalar.dtype() != DType::F32 {
            bail!(
                "one float32 is read at a time, not {:?} of {:?}",
                scalar.shape(),
                scalar.dtype()
            );
        }
        let place = locked(pinned).take()?;
        let copy = || {
            stream.context().bind_to_thread().map_err(wrap)?;
            // SAFETY: the place holds one float32, lives as long as the GPU, and is not read before the
            // event. The stream frees the source in order.
            unsafe {
                let to = std::slice::from_raw_parts_mut(place.as_ptr(), 1);
                result::memcpy_dtoh_async(to, from, stream.cu_stream()).map_err(wrap)?;
            }
            stream.record_event(None).map_err(wrap)
        };
        match copy() {
            Ok(done) => Ok(QueuedCopy { pinned: pinned.clone(), place, done }),
            Err(error) => {
                locked(pinned).free.push(place);
                Err(error)
            }
        }
    }

    /// Waits for the copy, but for nothing that was queued after it.
    pub fn value(&self) -> Result<f32> {
        self.done.synchronize().map_err(wrap)?;
        // SAFETY: the copy into the place is over.
        Ok(unsafe { self.place.as_ptr().read_volatile() })
    }
}

impl Drop for QueuedCopy {
    fn drop(&mut self) {
        // A later copy into the same place is queued after this one on the same stream.
        locked(&self.pinned).free.push(self.place);
    }
}
