//! The memory that matrix products take besides their operands, in closed form, for any processor.
//!
//! The `gemm` crate packs blocks of the operands into buffers. Their sizes depend on the vector unit
//! and on the sizes of the caches. There are two kinds of buffers:
//!
//! - Each thread that has ever multiplied keeps a buffer as large as its second cache.
//! - A product may hold buffers for whole blocks of an operand until it is over.
//!
//! The rules are those of `gemm` 0.19 (`gemm-common`, `src/gemm.rs` and `src/cache.rs`). Tests compare
//! the buffers' sizes with what it allocates on the machine that runs them, and the sizes of blocks with
//! its own function.

use gemm_common::cache::CACHE_INFO;

/// Bytes per value.
const FLOAT: usize = 4;
/// The least multiply–adds of a product that is spread over threads. For smaller products, starting
/// other threads costs more than it saves.
pub const WORTH_SHARING: usize = 1 << 20;

/// A cache of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of data that one core has in it; 0 if there is no such cache.
    pub bytes: usize,
    pub ways: usize,
    pub line_bytes: usize,
}

/// The tile of a result that one call of the innermost kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Values per vector.
    pub lanes: usize,
    pub rows: usize,
    pub columns: usize,
    /// Whether small products whose operands are both contiguous along the sum have a kernel that packs
    /// nothing.
    pub dots: bool,
}

impl Tile {
    pub const AVX512: Tile = Tile { lanes: 16, rows: 64, columns: 6, dots: true };
    pub const FMA: Tile = Tile { lanes: 8, rows: 16, columns: 6, dots: true };
    pub const NEON: Tile = Tile { lanes: 4, rows: 16, columns: 4, dots: false };
    pub const SCALAR: Tile = Tile { lanes: 1, rows: 2, columns: 4, dots: false };

    /// The tile of the kernels that `gemm` chooses on this machine.
    fn here() -> Tile {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Tile::AVX512;
            }
            if is_x86_feature_detected!("fma") {
                return Tile::FMA;
            }
            Tile::SCALAR
        }
        #[cfg(target_arch = "aarch64")]
        {
            Tile::NEON
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            Tile::SCALAR
        }
    }
}

/// The properties of a processor that decide how much memory products take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Threads that work at once.
    pub threads: usize,
    pub tile: Tile,
    /// The first, second and third cache.
    pub caches: [Cache; 3],
}

/// A product a b of a \[m, k\] and b \[k, n\]. Each is a row-major matrix or the transpose of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a_transposed: bool,
    pub b_transposed: bool,
}

impl Product {
    /// A product of two row-major matrices.
    pub fn new(m: usize, n: usize, k: usize) -> Product {
        Product { m, n, k, a_transposed: false, b_transposed: false }
    }

    pub fn a_t(self) -> Product {
        Product { a_transposed: true, ..self }
    }

    pub fn b_t(self) -> Product {
        Product { b_transposed: true, ..self }
    }
}

/// The sizes of the blocks that operands are cut into. `gemm` sees a row-major product as its transpose,
/// so its rows are our columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

impl Processor {
    /// This machine, with the caches as `gemm` reads them.
    pub fn here() -> Processor {
        Processor {
            threads: rayon::current_num_threads(),
            tile: Tile::here(),
            caches: CACHE_INFO.map(|c| Cache {
                bytes: c.cache_bytes,
                ways: c.associativity,
                line_bytes: c.cache_line_bytes,
            }),
        }
    }

    /// Bytes of the buffers that threads keep once they have multiplied. The thread that trains is one of the
    /// pool's (`runner::start_thread_pool`). A pool of one thread is apart from it, which makes two.
    pub fn thread_buffers(&self) -> u64 {
        (self.threads.max(2) * self.caches[1].bytes) as u64
    }

    /// The most bytes that the products of `tasks` equal tasks hold at once, one product per task.
    pub fn packed_by_tasks(&self, tasks: usize, product: Product) -> u64 {
        self.threads.min(tasks) as u64 * self.packed(product, false)
    }

    /// Bytes of the buffers that a product holds until it is over. `shared` says whether it may be
    /// spread over threads.
    pub fn packed(&self, product: Product, shared: bool) -> u64 {
        let Product { m, n, k, a_transposed, b_transposed } = product;
        // gemm's result is the transpose of ours, so its first factor is our second.
        let (rows, columns) = (n, m);
        // Whether an operand is contiguous along the sum.
        let (first_along_sum, second_along_sum) = (b_transposed, !a_transposed);
        let dots = self.tile.dots && first_along_sum && second_along_sum && rows * columns <= 256;
        // Outer products and products with a vector have their own kernels.
        if rows <= 1 || columns <= 1 || k <= 2 || dots {
            return 0;
        }
        let mut blocks = self.blocks(rows, columns, k);
        if blocks.columns == 0 {
            let shared = shared && m * n * k >= WORTH_SHARING;
            blocks.columns = match shared {
                true => columns.next_multiple_of(self.tile.columns),
                false => 128 * self.tile.columns,
            };
        }
        let threshold = if cfg!(target_arch = "aarch64") || !second_along_sum { 2 } else { 128 };
        let packs_second = rows > threshold * self.tile.rows;
        let packs_first =
            rows <= 2 * blocks.rows && (!rows.is_multiple_of(self.tile.lanes) || first_along_sum);
        let second = blocks.columns / self.tile.columns * self.tile.columns;
        let first = rows.next_multiple_of(self.tile.rows);
        let of = |packs: bool, width: usize| if packs { width * blocks.depth * FLOAT } else { 0 };
        (of(packs_second, second) + of(packs_first, first)) as u64
    }

    /// The blocks of a product with these rows, columns and terms, as gemm sees it. They have 0 columns
    /// if no third cache is known.
    pub fn blocks(&self, rows: usize, columns: usize, terms: usize) -> Blocks {
        let [_, second, third] = self.caches;
        let tile = self.tile;
        // The number of equal parts of at most `most`; at least one.
        let parts = |whole: usize, most: usize| whole.div_ceil(most.max(1)).max(1);
        if rows <= 64 && columns <= 64 {
            let depth = terms.min(512);
            return Blocks {
                rows: second.bytes / FLOAT / depth / tile.rows * tile.rows,
                columns: columns.next_multiple_of(tile.columns),
                depth,
            };
        }
        let depth = terms.div_ceil(parts(terms, self.deepest().min(terms)));
        // The part of the second cache that a panel of the second operand leaves, less one way.
        let ways = second.ways.max(2);
        let panel = (tile.columns * depth * FLOAT).div_ceil((second.bytes / ways).max(1));
        let left = ways.saturating_sub(1 + panel).max(1);
        let most = left * second.bytes / (ways * FLOAT * depth) / tile.rows * tile.rows;
        let block = rows.div_ceil(parts(rows, most) * tile.rows) * tile.rows;
        let columns = match third.bytes {
            0 => 0,
            bytes => {
                let ways = third.ways.max(2);
                let most = (ways - 1) * bytes / ways / (FLOAT * depth);
                let most = most / tile.columns * tile.columns;
                columns.div_ceil(parts(columns, most) * tile.columns) * tile.columns
            }
        };
        Blocks { rows: block.min(8 * tile.rows), columns, depth }
    }

    /// The number of terms for which the first cache holds panels of both operands, at least 512.
    fn deepest(&self) -> usize {
        let first = self.caches[0];
        let (line, ways) = (first.line_bytes.max(64), first.ways.max(2));
        // Bytes per way.
        let way = first.bytes.max(32 << 10) / (line * ways) * line;
        let row = self.tile.rows * FLOAT;
        let common = greatest_common_divisor(row, way);
        let step = way / common;
        let taken = row / common + self.tile.columns * step * FLOAT / way;
        (step * (ways / taken).next_power_of_two()).max(512)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn cache(bytes: usize, ways: usize) -> Cache {
        Cache { bytes, ways, line_bytes: 64 }
    }

    /// An Intel Xeon with AVX-512, caches of 48 KiB and 2 MiB per core, and a large third cache.
    const XEON: Processor = Processor {
        threads: 2,
        tile: Tile::AVX512,
        caches: [
            Cache { bytes: 48 * KIB, ways: 12, line_bytes: 64 },
            Cache { bytes: 2048 * KIB, ways: 16, line_bytes: 64 },
            Cache { bytes: 105 * 1024 * KIB, ways: 15, line_bytes: 64 },
        ],
    };

    #[test]
    fn blocks_are_those_of_gemm_on_this_machine() {
        let here = Processor::here();
        for tile in [here.tile, Tile::AVX512, Tile::FMA, Tile::NEON, Tile::SCALAR] {
            let processor = Processor { tile, ..here };
            for rows in [65, 96, 192, 577, 768, 3072, 4096] {
                for columns in [1, 40, 65, 200, 512, 3000, 40_000] {
                    for terms in [3, 40, 64, 511, 512, 513, 768, 4160, 33_280] {
                        let want = gemm_common::cache::kernel_params(
                            rows,
                            columns,
                            terms,
                            tile.rows,
                            tile.columns,
                            FLOAT,
                        );
                        let got = processor.blocks(rows, columns, terms);
                        let want = Blocks { rows: want.mc, columns: want.nc, depth: want.kc };
                        assert_eq!(got, want, "{tile:?} {rows} {columns} {terms}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_thread_keeps_a_buffer_of_the_second_caches_size() {
        assert_eq!(XEON.thread_buffers(), 2 * 2048 * 1024);
        for (threads, buffers) in [(1, 2), (64, 64)] {
            let other = Processor { threads, ..XEON };
            assert_eq!(other.thread_buffers(), buffers * 2048 * 1024);
        }
    }

    /// The gradient of a 192 × 192 weight over 64 · 65 tokens. Its 4,160 terms are cut into nine parts of
    /// 463, as parts may have 512 at most. The operand that is not contiguous along the sum is packed for
    /// all 192 columns.
    #[test]
    fn a_weights_gradient_packs_one_operand() {
        let product = Product::new(192, 192, 4160).a_t();
        assert_eq!(XEON.blocks(192, 192, 4160).depth, 463);
        assert_eq!(XEON.packed(product, true), 4 * 463 * 192);
        // Without a third cache: all columns if the product is shared, else 128 tiles.
        let none = Processor { caches: [XEON.caches[0], XEON.caches[1], cache(0, 0)], ..XEON };
        assert_eq!(none.packed(product, true), 4 * 463 * 192);
        assert_eq!(none.packed(product, false), 4 * 463 * 128 * 6);
        // Packing pays only with at least three tiles of rows.
        assert_eq!(XEON.packed(Product::new(192, 128, 4160).a_t(), true), 0);
    }

    #[test]
    fn operands_in_a_suitable_layout_are_not_packed() {
        // x W, both row-major: rows of W are whole vectors.
        assert_eq!(XEON.packed(Product::new(512, 768, 192), false), 0);
        // 200 is not a multiple of 16 values: the few rows are packed once, in whole tiles of 64.
        assert_eq!(XEON.packed(Product::new(512, 200, 192), false), 4 * 256 * 192);
        // x Wᵀ: the few rows of W are packed once.
        assert_eq!(XEON.packed(Product::new(512, 192, 192).b_t(), false), 4 * 192 * 192);
        // Products with vectors, outer products, and a few dot products pack nothing.
        for none in [Product::new(1, 192, 192), Product::new(512, 1, 192).a_t()] {
            assert_eq!(XEON.packed(none, false), 0);
        }
        assert_eq!(XEON.packed(Product::new(512, 192, 2).b_t(), false), 0);
        assert_eq!(XEON.packed(Product::new(10, 16, 192).b_t(), false), 0);
        // At most as many tasks run at once as there are threads.
        let product = Product::new(512, 192, 192).b_t();
        assert_eq!(XEON.packed_by_tasks(9, product), 2 * XEON.packed(product, false));
        assert_eq!(XEON.packed_by_tasks(1, product), XEON.packed(product, false));
    }
}
