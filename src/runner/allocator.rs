//! The program's allocator: it counts the bytes that are allocated, and keeps what was freed.
//!
//! Counted at the allocator, not as resident pages: what an earlier run's pages left behind does
//! not count, so runs of one process compare. Data that are read count; code and stacks do not.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// An allocator that counts what `A` hands out. The program installs it as its global one.
pub struct Counting<A>(pub A);

fn grow(size: usize) {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    // Most allocations are below the peak and need no second atomic write.
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call goes to `A` with the caller's arguments; counting touches no memory of it.
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

/// Has mimalloc, where it is the allocator, keep what was freed for the next tensor of the size: a
/// training step frees and asks for gigabytes, and pages given back to the system come again one
/// fault at a time. What the environment says of these options goes before.
pub fn keep_freed_memory() {
    // `purge_delay` (never) and `arena_reserve` (in KiB), by their places in the mimalloc.h of the
    // version that Cargo.toml pins. What is reserved is address space; it becomes memory as it is
    // used.
    const OPTIONS: [(libmimalloc_sys::mi_option_t, i32); 2] = [(15, -1), (23, 8 << 20)];
    for (option, value) in OPTIONS {
        // SAFETY: sets a number among mimalloc's options, which may be done at any time.
        unsafe { libmimalloc_sys::mi_option_set_default(option, value.into()) };
    }
}

/// Starts a new measurement from what is allocated now.
pub fn reset_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

/// The most bytes allocated at once since [`reset_peak`]; None where [`Counting`] is not
/// installed.
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
    fn counts_what_lives_at_once() {
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
        // While the block grows, the old and the new one live.
        assert_eq!(peak_bytes(), Some((start + (4 << 20)) as u64));
        reset_peak();
        assert_eq!(PEAK.load(Relaxed), start);
    }
}
