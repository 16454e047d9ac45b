//! The program's allocator. It counts allocated bytes and keeps freed memory for reuse.
//!
//! Bytes are counted at the allocator instead of as resident pages. Pages left over from an earlier
//! run do not count, so runs of one process are comparable. Data in memory count; code and stacks
//! do not.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// An allocator that counts the bytes that `A` allocates. The program installs it globally.
pub struct Counting<A>(pub A);

fn grow(size: usize) {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    // Most allocations are below the peak and need no second atomic write.
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call goes to `A` with the caller's arguments; counting does not touch its memory.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { self.0.realloc(block, layout, size) }
    }
}

/// Makes mimalloc, if it is the allocator, keep freed memory for the next tensor of the same size.
/// A training step frees and allocates gigabytes; pages returned to the system come back one page
/// fault at a time. Environment variables for these options take precedence.
pub fn keep_freed_memory() {
    // `purge_delay` (never) and `arena_reserve` (in KiB), by their index in the mimalloc.h of the
    // version that Cargo.toml pins. The reserve is address space; it becomes memory only when used.
    const OPTIONS: [(libmimalloc_sys::mi_option_t, i32); 2] = [(15, -1), (23, 8 << 20)];
    for (option, value) in OPTIONS {
        // SAFETY: this only sets a mimalloc option, which is allowed at any time.
        unsafe { libmimalloc_sys::mi_option_set_default(option, value.into()) };
    }
}

/// Starts a new measurement at the current number of allocated bytes.
pub fn reset_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

/// Peak of allocated bytes since [`reset_peak`]; None if [`Counting`] is not installed.
pub fn peak_bytes() -> Option<u64> {
    match PEAK.load(Relaxed) {
        0 => None,
        peak => Some(peak as u64),
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    #[test]
    fn peak_counts_bytes_that_exist_at_once() {
        let counting = Counting(System);
        let layout = Layout::from_size_align(1 << 20, 8).unwrap();
        let larger = Layout::from_size_align(3 << 20, 8).unwrap();
        reset_peak();
        let start = LIVE.load(Relaxed);
        // SAFETY: each block is released once, with the layout it has.
        unsafe {
            let a = counting.alloc(layout);
            let b = counting.alloc_zeroed(layout);
            counting.dealloc(a, layout);
            let b = counting.realloc(b, layout, larger.size());
            counting.dealloc(b, larger);
        }
        assert_eq!(LIVE.load(Relaxed), start);
        // While the block grows, both the old and the new one exist.
        assert_eq!(peak_bytes(), Some((start + (4 << 20)) as u64));
        reset_peak();
        assert_eq!(PEAK.load(Relaxed), start);
    }
}
