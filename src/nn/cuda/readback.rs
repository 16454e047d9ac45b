//! Numbers on their way from a GPU to the program. Compiled with the feature `cuda` alone.
//!
//! A copy into ordinary memory is queued after all work that the GPU was given before, and so would
//! wait for steps that have only just begun. On machines whose GPU reads such memory itself, it may
//! still be under way when the call returns. Here the copy of each number is queued right after its
//! step, into page-locked memory, and an event after that: reading waits for that event alone.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Result, Tensor, bail};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};

use super::launch::wrap;

/// How many numbers a chunk of memory holds.
const CHUNK: usize = 1024;

/// Page-locked memory, in places of one float32.
pub struct Places {
    context: Arc<CudaContext>,
    chunks: Vec<NonNull<f32>>,
    free: Vec<NonNull<f32>>,
}

// SAFETY: plain memory, whose places are handed out to one user at a time.
unsafe impl Send for Places {}

impl Places {
    pub fn new(stream: &Arc<CudaStream>) -> Places {
        Places { context: stream.context().clone(), chunks: Vec::new(), free: Vec::new() }
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
        // SAFETY: the chunk's own places.
        unsafe { chunk.as_ptr().write_bytes(0, CHUNK) };
        // SAFETY: within the chunk.
        self.free.extend((1..CHUNK).map(|i| unsafe { chunk.add(i) }));
        Ok(chunk)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_err() {
            return;
        }
        // Copies that nobody waited for may be under way.
        let _ = result::ctx::synchronize();
        for chunk in &self.chunks {
            // SAFETY: it came from `malloc_host`, and nothing writes to it any more.
            let _ = unsafe { result::free_host(chunk.as_ptr().cast::<c_void>()) };
        }
    }
}

/// A float32 whose copy from the GPU is queued.
pub struct Copied {
    places: Arc<Mutex<Places>>,
    place: NonNull<f32>,
    done: CudaEvent,
}

// SAFETY: the place is this value's alone.
unsafe impl Send for Copied {}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Copied")
    }
}

fn locked(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    // A place is taken or given back whole, whatever else panicked.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copied {
    /// Queues the copy of a scalar at the address `from`, behind everything that the stream has.
    pub fn of(
        places: &Arc<Mutex<Places>>,
        stream: &Arc<CudaStream>,
        scalar: &Tensor,
        from: u64,
    ) -> Result<Copied> {
        if scalar.elem_count() != 1 || scalar.dtype() != DType::F32 {
            bail!(
                "one float32 is read at a time, not {:?} of {:?}",
                scalar.shape(),
                scalar.dtype()
            );
        }
        let place = locked(places).take()?;
        let copy = || {
            stream.context().bind_to_thread().map_err(wrap)?;
            // SAFETY: a place of one float32, which lives as long as the GPU and is not read before the
            // event; what it is copied from is freed in the stream's order.
            unsafe {
                let to = std::slice::from_raw_parts_mut(place.as_ptr(), 1);
                result::memcpy_dtoh_async(to, from, stream.cu_stream()).map_err(wrap)?;
            }
            stream.record_event(None).map_err(wrap)
        };
        match copy() {
            Ok(done) => Ok(Copied { places: places.clone(), place, done }),
            Err(error) => {
                locked(places).free.push(place);
                Err(error)
            }
        }
    }

    /// Waits for the copy, and for nothing that was queued after it.
    pub fn value(&self) -> Result<f32> {
        self.done.synchronize().map_err(wrap)?;
        // SAFETY: the copy into the place is over.
        Ok(unsafe { self.place.as_ptr().read_volatile() })
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // A later copy into the same place comes after this one on the same stream.
        locked(&self.places).free.push(self.place);
    }
}
