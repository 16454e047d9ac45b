//! Multi-head attention that reads the heads in place.

use super::dropout::row_mask;
use super::packing::{Processor, Product};
use super::product::{Matrix, product};
use crate::nn::descriptors::{AttentionSizes, Dropout, Mask};
use crate::nn::slices::elementwise::{exp, lane_sum, largest, multiply_to, vectorised};
use crate::nn::slices::memory::{by_rows, by_rows_with};

/// Query rows per block. A block's scores are at most this many rows, one value per key.
const QUERIES: usize = 128;

/// The rows of queries, keys or values in memory. Each row has all heads of a token, one after another.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    /// Stride of rows.
    row: usize,
    /// Stride of sequences.
    sequence: usize,
}

impl<'a> Rows<'a> {
    /// The rows of a tensor \[batch, tokens, width\].
    pub fn separate(values: &'a [f32], tokens: usize, width: usize) -> Rows<'a> {
        Rows { values, row: width, sequence: tokens * width }
    }

    /// Queries, keys and values in one tensor, as timm packs them: \[batch, tokens, 3, width\].
    pub fn packed(qkv: &'a [f32], tokens: usize, width: usize) -> [Rows<'a>; 3] {
        let row = 3 * width;
        [0, 1, 2].map(|part| {
            let values = qkv.get(part * width..).unwrap_or_default();
            Rows { values, row, sequence: tokens * row }
        })
    }

    /// One head in a sequence's rows from row `from` on. `start` is the head's first column.
    fn head(self, sequence: usize, start: usize, from: usize) -> Matrix<'a> {
        let at = sequence * self.sequence + from * self.row + start;
        Matrix::rows(&self.values[at..], self.row)
    }
}

/// The memory for one sequence's gradients of queries, keys and values.
enum Gradients<'a> {
    Packed(&'a mut [f32]),
    Separate([&'a mut [f32]; 3]),
}

impl Gradients<'_> {
    /// The rows of one of the three, and their stride.
    fn rows(&mut self, part: usize, width: usize) -> (&mut [f32], usize) {
        match self {
            Gradients::Packed(all) => (&mut all[part * width..], 3 * width),
            Gradients::Separate(all) => (&mut *all[part], width),
        }
    }
}

/// Attention of a batch: its sizes, its mask and the dropout of its weights.
#[derive(Clone, Debug)]
pub struct Attention {
    pub batch: usize,
    pub sizes: AttentionSizes,
    pub mask: Mask,
    pub dropout: Option<Dropout>,
}

/// What the forward pass saves for the backward pass.
pub enum Saved {
    /// The weights before dropout, \[batch, heads, queries, keys\].
    Weights(Vec<f32>),
    /// The logarithm of each row's sum of exponentials, \[batch, heads, queries\].
    LogSums(Vec<f32>),
}

impl AttentionSizes {
    fn scale(self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }

    /// Weights are saved if they are no larger than q, k and v themselves. Otherwise they are computed
    /// again from one number per row.
    fn saves_weights(self) -> bool {
        self.keys <= 3 * self.d
    }

    /// The most bytes that [`Attention::backward`] holds at once over a batch, besides its inputs and
    /// results. For each sequence being processed these are two blocks of scores, a third one with
    /// dropout, and the packed operands of products.
    pub fn backward_scratch(self, batch: usize, dropout: bool, on: &Processor) -> u64 {
        let (n, d, count) = (self.keys, self.d, self.queries.min(QUERIES));
        let products = [
            Product::new(count, n, d).b_t(),
            Product::new(count, d, n),
            Product::new(n, d, count).a_t(),
        ];
        let packed = products.into_iter().map(|p| on.packed(p, false)).max().unwrap_or(0);
        let blocks = if dropout { 3 } else { 2 };
        let scores = blocks * (count * n * size_of::<f32>()) as u64;
        on.threads.min(batch) as u64 * (scores + packed)
    }
}

/// A block of query rows of a head.
#[derive(Clone, Copy)]
struct Block {
    sequence: usize,
    head: usize,
    /// The first query.
    from: usize,
    /// Number of queries.
    count: usize,
    /// How many keys, from the first on, any of them sees. At least 1.
    seen: usize,
}

impl Attention {
    /// The blocks of a sequence's head that have something to compute.
    fn blocks(&self, sequence: usize, head: usize) -> impl Iterator<Item = Block> + '_ {
        let queries = self.mask.computed(sequence, self.sizes.queries);
        (0..queries).step_by(QUERIES).filter_map(move |from| {
            let count = QUERIES.min(queries - from);
            // Later queries see at least as many keys.
            let seen = self.mask.seen(sequence, from + count - 1, self.sizes.keys);
            (seen > 0).then_some(Block { sequence, head, from, count, seen })
        })
    }

    /// The index of a block's first row among all rows of weights.
    fn row(&self, block: Block) -> usize {
        (block.sequence * self.sizes.heads + block.head) * self.sizes.queries + block.from
    }

    /// out = dropout(softmax(q kᵀ / √d)) v per head: rows of heads·d values → \[batch, queries,
    /// heads·d\]. With `save`, also returns what the backward pass needs.
    pub fn forward(&self, [q, k, v]: [Rows; 3], save: bool) -> (Vec<f32>, Option<Saved>) {
        let AttentionSizes { queries: m, keys: n, heads, d } = self.sizes;
        let (batch, width) = (self.batch, self.sizes.width());
        let save_weights = save && self.sizes.saves_weights();
        let rows = if save_weights { heads * m * n } else { heads * m };
        let mut all_saved = vec![0f32; if save { batch * rows } else { 0 }];
        let parts: Vec<&mut [f32]> = match save {
            true => all_saved.chunks_mut(rows).collect(),
            false => (0..batch).map(|_| Default::default()).collect(),
        };
        let (values, _) = by_rows_with(batch, m * width, 1, parts, |sequence, saved, out| {
            let out = out.zeros();
            let block_len = m.min(QUERIES) * n;
            let mut scratch = vec![0f32; if save_weights { 0 } else { block_len }];
            let mut dropped = vec![0f32; if self.dropout.is_some() { block_len } else { 0 }];
            for head in 0..heads {
                for block in self.blocks(sequence, head) {
                    let Block { from, count, seen, .. } = block;
                    let at = head * m + from;
                    // Memory for the weights, and for the logarithm of each row's sum if that is saved.
                    let (p, log_sums): (&mut [f32], &mut [f32]) = match save_weights {
                        true => (&mut saved[at * n..][..count * n], &mut []),
                        false if save => (&mut scratch[..count * n], &mut saved[at..at + count]),
                        false => (&mut scratch[..count * n], &mut []),
                    };
                    self.scores([q, k], block, p);
                    vectorised(
                        #[inline(always)]
                        || {
                            for (i, row) in p.chunks_exact_mut(n).enumerate() {
                                let visible = self.mask.seen(sequence, from + i, n);
                                let log_sum = softmax(&mut row[..seen], visible);
                                if let Some(saved) = log_sums.get_mut(i) {
                                    *saved = log_sum;
                                }
                            }
                        },
                    );
                    let p = self.after_dropout(block, p, &mut dropped);
                    let out = &mut out[from * width + head * d..];
                    let (p, v) = (Matrix::rows(p, n), v.head(sequence, head * d, 0));
                    product((count, d, seen), out, width, 0.0, 1.0, p, v, false);
                }
            }
            (out, ())
        });
        let saved = match save_weights {
            true => Saved::Weights(all_saved),
            false => Saved::LogSums(all_saved),
        };
        (values, save.then_some(saved))
    }

    /// q kᵀ / √d of a block, \[count, keys\]. Scores of keys that no query sees are not written.
    fn scores(&self, [q, k]: [Rows; 2], block: Block, out: &mut [f32]) {
        let AttentionSizes { keys: n, d, .. } = self.sizes;
        let Block { sequence, head, from, count, seen } = block;
        let (q, k) = (q.head(sequence, head * d, from), k.head(sequence, head * d, 0).t());
        product((count, seen, d), out, n, 0.0, self.sizes.scale(), q, k, false);
    }

    /// The weights after dropout, written to `room`. Without dropout, the weights themselves.
    fn after_dropout<'a>(&self, block: Block, p: &'a [f32], room: &'a mut [f32]) -> &'a [f32] {
        let Some(dropout) = &self.dropout else { return p };
        let n = self.sizes.keys;
        let room = &mut room[..p.len()];
        for (i, (room, p)) in room.chunks_exact_mut(n).zip(p.chunks_exact(n)).enumerate() {
            let room = &mut room[..block.seen];
            self.row_mask(dropout, block, i, room);
            multiply_to(room, p);
        }
        room
    }

    /// Writes the dropout mask of a block's row `i`.
    fn row_mask(&self, dropout: &Dropout, block: Block, i: usize, mask: &mut [f32]) {
        let lane = block.sequence * self.sizes.heads + block.head;
        row_mask(dropout, lane as u32, block.from + i, mask);
    }

    /// The gradient of packed queries, keys and values.
    pub fn packed_gradient(&self, qkv: [Rows; 3], saved: &Saved, g: &[f32]) -> Vec<f32> {
        let tokens = self.sizes.keys * 3 * self.sizes.width();
        let (d_qkv, _) = by_rows(self.batch, tokens, 1, |sequence, d_qkv| {
            self.backward(sequence, qkv, saved, g, Gradients::Packed(d_qkv));
        });
        d_qkv
    }

    /// The gradients of queries, keys and values, in separate vectors.
    pub fn gradients(&self, qkv: [Rows; 3], saved: &Saved, g: &[f32]) -> [Vec<f32>; 3] {
        let (queries, keys) = (self.sizes.queries, self.sizes.keys);
        let width = self.sizes.width();
        let mut d_k = vec![0f32; self.batch * keys * width];
        let mut d_v = vec![0f32; self.batch * keys * width];
        let parts = d_k.chunks_mut(keys * width).zip(d_v.chunks_mut(keys * width)).collect();
        let (d_q, _) =
            by_rows_with(self.batch, queries * width, 1, parts, |sequence, (d_k, d_v), d_q| {
                let d_q = d_q.zeros();
                self.backward(sequence, qkv, saved, g, Gradients::Separate([&mut *d_q, d_k, d_v]));
                (d_q, ())
            });
        [d_q, d_k, d_v]
    }

    /// Computes the gradients of one sequence. `gradients` must hold zeros.
    ///
    /// With P the softmax, M the dropout mask and dP = M ∘ g vᵀ: dv = (M ∘ P)ᵀ g,
    /// dS = P ∘ (dP − rowsum(dP ∘ P)), dq = dS k / √d, dk = dSᵀ q / √d.
    fn backward(
        &self,
        sequence: usize,
        [q, k, v]: [Rows; 3],
        saved: &Saved,
        g: &[f32],
        mut gradients: Gradients,
    ) {
        let AttentionSizes { queries: m, keys: n, heads, d } = self.sizes;
        let (width, scale) = (self.sizes.width(), self.sizes.scale());
        let g = Rows::separate(g, m, width);
        let block_len = m.min(QUERIES) * n;
        let (mut again, mut ds) = (vec![0f32; block_len], vec![0f32; block_len]);
        let mut dropped = vec![0f32; if self.dropout.is_some() { block_len } else { 0 }];
        for head in 0..heads {
            for block in self.blocks(sequence, head) {
                let Block { from, count, seen, .. } = block;
                let at = self.row(block);
                let p: &[f32] = match saved {
                    Saved::Weights(weights) => &weights[at * n..][..count * n],
                    Saved::LogSums(sums) => {
                        let p = &mut again[..count * n];
                        self.scores([q, k], block, p);
                        vectorised(
                            #[inline(always)]
                            || {
                                for (i, row) in p.chunks_exact_mut(n).enumerate() {
                                    let visible = self.mask.seen(sequence, from + i, n);
                                    weights(&mut row[..seen], visible, sums[at + i]);
                                }
                            },
                        );
                        p
                    }
                };
                let start = head * d;
                let ds = &mut ds[..count * n];
                let g = g.head(sequence, start, from);
                let v = v.head(sequence, start, 0).t();
                product((count, seen, d), ds, n, 0.0, 1.0, g, v, false);
                let mixed = match &self.dropout {
                    None => p,
                    Some(dropout) => {
                        let mixed = &mut dropped[..count * n];
                        let rows = mixed.chunks_exact_mut(n).zip(p.chunks_exact(n));
                        for (i, ((mixed, p), ds)) in rows.zip(ds.chunks_exact_mut(n)).enumerate() {
                            let mixed = &mut mixed[..seen];
                            self.row_mask(dropout, block, i, mixed);
                            multiply_to(ds, mixed);
                            multiply_to(mixed, p);
                        }
                        &*mixed
                    }
                };
                score_gradient(ds, p, n, seen);
                let (mixed, ds) = (Matrix::rows(mixed, n), Matrix::rows(ds, n));
                // Gradients of keys and values are summed over blocks of queries. Those of queries are
                // complete after one block.
                let beta = if from == 0 { 0.0 } else { 1.0 };
                let (q, k) = (q.head(sequence, start, from), k.head(sequence, start, 0));
                let mut add = |part: usize, first: usize, beta, alpha, a, b, (rows, terms)| {
                    let (out, row) = gradients.rows(part, width);
                    let out = &mut out[first * row + start..];
                    product((rows, d, terms), out, row, beta, alpha, a, b, false);
                };
                add(0, from, 0.0, scale, ds, k, (count, seen));
                add(1, 0, beta, scale, ds.t(), q, (seen, count));
                add(2, 0, beta, 1.0, mixed.t(), g, (seen, count));
            }
        }
    }
}

/// Softmax of the first `seen` values; the others become zero. Returns the logarithm of the sum of
/// exponentials.
#[inline(always)]
fn softmax(row: &mut [f32], seen: usize) -> f32 {
    let (row, unseen) = row.split_at_mut(seen);
    unseen.fill(0.0);
    let max = largest(row);
    for v in row.iter_mut() {
        *v = exp(*v - max);
    }
    let sum = lane_sum([row], |[v]| v);
    let scale = 1.0 / sum;
    for v in row.iter_mut() {
        *v *= scale;
    }
    max + sum.ln()
}

/// Scores → weights, given the logarithm of the sum of exponentials.
#[inline(always)]
fn weights(row: &mut [f32], seen: usize, log_sum: f32) {
    let (row, unseen) = row.split_at_mut(seen);
    unseen.fill(0.0);
    for v in row.iter_mut() {
        *v = exp(*v - log_sum);
    }
}

/// dP → dS in place, for the first `width` values of rows with stride `row`.
fn score_gradient(ds: &mut [f32], p: &[f32], row: usize, width: usize) {
    vectorised(
        #[inline(always)]
        || {
            for (ds, p) in ds.chunks_exact_mut(row).zip(p.chunks_exact(row)) {
                let (ds, p) = (&mut ds[..width], &p[..width]);
                let mixed = lane_sum([ds, p], |[ds, p]| ds * p);
                for i in 0..width {
                    ds[i] = p[i] * (ds[i] - mixed);
                }
            }
        },
    );
}
