//! Memory for kernels with guard bytes around it, which every launch checks.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::NonNull;

use candle_core::{Result, WithDType, bail};

/// Guard bytes before and after a buffer. A whole block's vectors past the end still fall into them.
const GUARD: usize = 16 * 1024;

/// The alignment of `cudaMalloc`.
const ALIGN: usize = 256;

thread_local! {
    static LIVE: RefCell<Vec<Zone>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy)]
struct Zone {
    start: NonNull<u8>,
    bytes: usize,
    seed: usize,
}

impl Zone {
    fn layout(bytes: usize) -> Result<Layout> {
        match Layout::from_size_align(bytes + 2 * GUARD, ALIGN) {
            Ok(layout) => Ok(layout),
            Err(_) => bail!("a buffer of {bytes} bytes is too large"),
        }
    }

    /// A guard's byte. Every float and bfloat16 made of them is a signalling NaN. So a kernel that reads
    /// there computes NaN, and if it writes that back in place the bits differ. Guards also differ
    /// between allocations, so copying one guard over another is detected.
    fn guard_byte(self, index: usize) -> u8 {
        if index % 2 == 1 { 0xFF } else { 0x80 | (1 + (index / 2 * 7 + self.seed * 13) % 63) as u8 }
    }

    fn guards(self) -> impl Iterator<Item = usize> {
        (0..GUARD).chain(GUARD + self.bytes..2 * GUARD + self.bytes)
    }

    /// The distance of the first broken guard byte from the buffer: from its end, or negative if it is
    /// before its start.
    fn broken(self) -> Option<isize> {
        // SAFETY: the allocation spans both guards and lives while its zone is listed.
        let intact = |&index: &usize| unsafe {
            self.start.as_ptr().add(index).read() == self.guard_byte(index)
        };
        let index = self.guards().find(|index| !intact(index))?;
        let outside = index as isize - GUARD as isize;
        Some(if outside < 0 { outside } else { outside - self.bytes as isize })
    }
}

/// An error if a kernel wrote outside of any of this thread's buffers.
pub(super) fn check(kernel: &str) -> Result<()> {
    LIVE.with_borrow(|live| {
        for zone in live {
            let Some(outside) = zone.broken() else { continue };
            let side = if outside < 0 { "in front of its start" } else { "behind its end" };
            bail!(
                "kernel {kernel} wrote outside of an allocation of {} bytes: {} bytes {side}",
                zone.bytes,
                outside.unsigned_abs(),
            );
        }
        Ok(())
    })
}

/// Guarded memory that kernels read and write.
pub struct Buffer {
    zone: Zone,
}

impl Buffer {
    /// Memory filled with 0xFF, which is NaN as floats, so values that a kernel does not write are
    /// noticed.
    pub fn poisoned(bytes: usize) -> Result<Self> {
        let layout = Zone::layout(bytes)?;
        // SAFETY: the guards make the size positive.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        thread_local!(static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
        let seed = COUNT.get();
        COUNT.set(seed.wrapping_add(1));
        let zone = Zone { start, bytes, seed: seed % 63 };
        // SAFETY: all within the allocation.
        unsafe {
            start.as_ptr().add(GUARD).write_bytes(0xFF, bytes);
            for index in zone.guards() {
                start.as_ptr().add(index).write(zone.guard_byte(index));
            }
        }
        LIVE.with_borrow_mut(|live| live.push(zone));
        Ok(Self { zone })
    }

    pub fn from_slice<T: WithDType>(values: &[T]) -> Result<Self> {
        let buffer = Self::poisoned(size_of_val(values))?;
        // SAFETY: the buffer has the values' size, and the values are plain numbers.
        unsafe {
            values
                .as_ptr()
                .cast::<u8>()
                .copy_to_nonoverlapping(buffer.pointer().cast(), buffer.bytes());
        }
        Ok(buffer)
    }

    /// Aligned to 256 bytes.
    pub fn pointer(&self) -> *mut c_void {
        // SAFETY: within the allocation.
        unsafe { self.zone.start.as_ptr().add(GUARD).cast() }
    }

    pub fn bytes(&self) -> usize {
        self.zone.bytes
    }

    pub fn to_vec<T: WithDType>(&self) -> Result<Vec<T>> {
        if !self.bytes().is_multiple_of(size_of::<T>()) {
            bail!("a buffer of {} bytes does not hold whole {:?}", self.bytes(), T::DTYPE);
        }
        let count = self.bytes() / size_of::<T>();
        // SAFETY: the buffer was fully written when it was created, it is aligned, and any bits are a
        // valid number.
        Ok(unsafe { std::slice::from_raw_parts(self.pointer().cast::<T>(), count) }.to_vec())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A thread that is ending may already have dropped its list.
        let _ = LIVE.try_with(|live| {
            live.borrow_mut().retain(|zone| zone.start != self.zone.start);
        });
        if let Ok(layout) = Zone::layout(self.zone.bytes) {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.zone.start.as_ptr(), layout) };
        }
    }
}
