//! What the program says that matrix products take for themselves, against what `gemm` allocates. A
//! program of its own, with one test: it counts what the whole process allocates, and sets the number of
//! rayon's threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gemm::Parallelism;
use vlora::nn::packing::{Processor, Product};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator with the caller's arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Multiplies ones, and returns the most bytes that were allocated meanwhile.
fn counted(p: Product, parallelism: Parallelism) -> usize {
    let (a, b) = (vec![1f32; p.m * p.k], vec![1f32; p.k * p.n]);
    let mut out = vec![0f32; p.m * p.n];
    let strides = |transposed: bool, rows: usize, columns: usize| match transposed {
        // (column, row)
        true => (rows as isize, 1),
        false => (1, columns as isize),
    };
    let (a_column, a_row) = strides(p.a_transposed, p.m, p.k);
    let (b_column, b_row) = strides(p.b_transposed, p.k, p.n);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    // SAFETY: the slices have the sizes that the dimensions and strides address.
    unsafe {
        gemm::gemm(
            p.m,
            p.n,
            p.k,
            out.as_mut_ptr(),
            1,
            p.n as isize,
            false,
            a.as_ptr(),
            a_column,
            a_row,
            b.as_ptr(),
            b_column,
            b_row,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
    let peak = PEAK.load(Relaxed) - before;
    assert!(out.iter().all(|v| *v == p.k as f32));
    peak
}

#[test]
fn products_take_what_is_said() {
    // Beside the buffers: alignment, and how rayon hands out work.
    const SMALL: usize = 16 << 10;
    // As the program has it: this thread is one of the two.
    rayon::ThreadPoolBuilder::new().num_threads(2).use_current_thread().build_global().unwrap();
    let here = Processor::here();
    assert_eq!(here.threads, 2);
    // More rows than two blocks, so that each thread packs into its own buffer.
    let own = Product::new(40, 20 * here.tile.rows + 1, 40).b_t();
    let before = LIVE.load(Relaxed);
    rayon::broadcast(|_| counted(own, Parallelism::None));
    let kept = LIVE.load(Relaxed) - before;
    let off = kept.abs_diff(here.thread_buffers() as usize);
    assert!(off < SMALL, "{kept} bytes are kept, {} said", here.thread_buffers());

    let mut packs = 0;
    for (m, n, k) in [
        (1, 192, 192),
        (8, 10, 256),
        (16, 16, 300),
        (40, 256, 512),
        (64, 64, 64),
        (65, 65, 64),
        (65, 64, 65),
        (100, 130, 700),
        (192, 200, 64),
        (256, 256, 1030),
        (512, 768, 192),
        (576, 192, 4160),
        (768, 192, 513),
        (192, 3072, 40),
        (300, 5000, 30),
    ] {
        let plain = Product::new(m, n, k);
        for product in [plain, plain.a_t(), plain.b_t(), plain.a_t().b_t()] {
            for shared in [false, true] {
                let parallelism = match shared && m * n * k >= 1 << 20 {
                    true => Parallelism::Rayon(0),
                    false => Parallelism::None,
                };
                let (got, said) = (counted(product, parallelism), here.packed(product, shared));
                packs += usize::from(said > 0);
                let off = got.abs_diff(said as usize);
                assert!(off < SMALL, "{product:?}, shared {shared}: {got} counted, {said} said");
            }
        }
    }
    assert!(packs > 40, "{packs} products pack, too few to say anything");
}
