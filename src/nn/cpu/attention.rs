//! Multi-head self-attention that reads heads in place.

use super::elementwise::{exp, lane_sum, largest, vectorised};
use super::memory::{by_rows, by_rows_with};
use super::packing::{Processor, Product};
use super::product::{Matrix, product};
use crate::nn::descriptors::AttentionSizes;

/// Query rows whose scores are taken together; scores are never larger than this times the keys.
const QUERIES: usize = 128;

/// What backward needs of forward.
pub enum Kept {
    /// The weights, \[batch, heads, queries, tokens\].
    Weights(Vec<f32>),
    /// The logarithm of each row's sum of exponentials, \[batch, heads, queries\].
    LogSums(Vec<f32>),
}

impl AttentionSizes {
    /// Values a token has in qkv.
    fn row(&self) -> usize {
        3 * self.width()
    }

    fn width(&self) -> usize {
        self.heads * self.d
    }

    /// Where q (0), k (1) or v (2) of a head starts in a token's row.
    fn start(&self, part: usize, head: usize) -> usize {
        (part * self.heads + head) * self.d
    }

    fn part<'a>(&self, qkv: &'a [f32], part: usize, head: usize, from: usize) -> Matrix<'a> {
        Matrix::rows(&qkv[from * self.row() + self.start(part, head)..], self.row())
    }

    fn scale(&self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }

    /// Tokens from the first on that a query of a sequence sees.
    fn seen(&self, sequence: usize, query: usize) -> usize {
        let length = self.lengths.as_ref().map_or(self.tokens, |l| l[sequence].min(self.tokens));
        if self.causal { length.min(query + 1) } else { length }
    }

    /// Weights are kept where they are no larger than q, k and v themselves; elsewhere they are
    /// computed again from one number a row.
    fn keeps_weights(&self) -> bool {
        self.tokens <= 3 * self.d
    }

    /// The most bytes that [`backward`](AttentionSizes::backward) holds at once over a batch, beside what it
    /// reads and makes: of each sequence that is worked on two blocks of scores, and what products of
    /// them pack.
    pub fn backward_scratch(&self, batch: usize, on: &Processor) -> u64 {
        let (n, d, count) = (self.tokens, self.d, self.queries.min(QUERIES));
        let products = [
            Product::new(count, n, d).b_t(),
            Product::new(count, d, n),
            Product::new(n, d, count).a_t(),
        ];
        let packed = products.into_iter().map(|p| on.packed(p, false)).max().unwrap_or(0);
        let scores = 2 * (count * n * size_of::<f32>()) as u64;
        on.threads.min(batch) as u64 * (scores + packed)
    }

    /// out = softmax(q kᵀ / √d) v a head: qkv \[batch, tokens, 3·heads·d\] →
    /// \[batch, queries, heads·d\].
    pub fn forward(&self, qkv: &[f32], keep: bool) -> (Vec<f32>, Option<Kept>) {
        let (n, m, width) = (self.tokens, self.queries, self.width());
        let batch = qkv.len() / (n * self.row());
        let keep_weights = keep && self.keeps_weights();
        let rows = if keep_weights { self.heads * m * n } else { self.heads * m };
        let mut all_kept = vec![0f32; if keep { batch * rows } else { 0 }];
        let parts: Vec<&mut [f32]> = match keep {
            true => all_kept.chunks_mut(rows).collect(),
            false => (0..batch).map(|_| Default::default()).collect(),
        };
        let (values, _) = by_rows_with(batch, m * width, 1, parts, |sequence, kept, out| {
            let out = out.zeros();
            let qkv = &qkv[sequence * n * self.row()..][..n * self.row()];
            let mut scratch = vec![0f32; if keep_weights { 0 } else { m.min(QUERIES) * n }];
            for head in 0..self.heads {
                for from in (0..m).step_by(QUERIES) {
                    let count = QUERIES.min(m - from);
                    let at = head * m + from;
                    // Weights, and where the logarithm of each row's sum goes, if anywhere.
                    let (p, log_sums): (&mut [f32], &mut [f32]) = match keep_weights {
                        true => (&mut kept[at * n..][..count * n], &mut []),
                        false if keep => (&mut scratch[..count * n], &mut kept[at..at + count]),
                        false => (&mut scratch[..count * n], &mut []),
                    };
                    self.scores(qkv, head, from, p);
                    for (i, row) in p.chunks_exact_mut(n).enumerate() {
                        let log_sum = softmax(row, self.seen(sequence, from + i));
                        if let Some(kept) = log_sums.get_mut(i) {
                            *kept = log_sum;
                        }
                    }
                    let out = &mut out[from * width + head * self.d..];
                    let (p, v) = (Matrix::rows(p, n), self.part(qkv, 2, head, 0));
                    product((count, self.d, n), out, width, 0.0, 1.0, p, v, false);
                }
            }
            (out, ())
        });
        let kept = match keep_weights {
            true => Kept::Weights(all_kept),
            false => Kept::LogSums(all_kept),
        };
        (values, keep.then_some(kept))
    }

    /// q kᵀ / √d of the queries from `from` on.
    fn scores(&self, qkv: &[f32], head: usize, from: usize, out: &mut [f32]) {
        let n = self.tokens;
        let (q, k) = (self.part(qkv, 0, head, from), self.part(qkv, 1, head, 0).t());
        product((out.len() / n, n, self.d), out, n, 0.0, self.scale(), q, k, false);
    }

    /// The gradient of qkv.
    ///
    /// With P the softmax and dP = g vᵀ: dv = Pᵀ g, dS = P ∘ (dP − rowsum(dP ∘ P)),
    /// dq = dS k / √d, dk = dSᵀ q / √d.
    pub fn backward(&self, qkv: &[f32], kept: &Kept, g: &[f32]) -> Vec<f32> {
        let (n, m, width, row) = (self.tokens, self.queries, self.width(), self.row());
        let (d_qkv, _) = by_rows(qkv.len() / (n * row), n * row, 1, |sequence, d_qkv| {
            let qkv = &qkv[sequence * n * row..][..n * row];
            let g = &g[sequence * m * width..][..m * width];
            let block = m.min(QUERIES) * n;
            let (mut again, mut ds) = (vec![0f32; block], vec![0f32; block]);
            for head in 0..self.heads {
                for from in (0..m).step_by(QUERIES) {
                    let count = QUERIES.min(m - from);
                    let at = (sequence * self.heads + head) * m + from;
                    let p: &[f32] = match kept {
                        Kept::Weights(weights) => &weights[at * n..][..count * n],
                        Kept::LogSums(sums) => {
                            let p = &mut again[..count * n];
                            self.scores(qkv, head, from, p);
                            for (i, row) in p.chunks_exact_mut(n).enumerate() {
                                weights(row, self.seen(sequence, from + i), sums[at + i]);
                            }
                            p
                        }
                    };
                    let ds = &mut ds[..count * n];
                    let g = Matrix::rows(&g[from * width + head * self.d..], width);
                    let v = self.part(qkv, 2, head, 0).t();
                    product((count, n, self.d), ds, n, 0.0, 1.0, g, v, false);
                    score_gradient(ds, p, n);
                    let (p, ds) = (Matrix::rows(p, n), Matrix::rows(ds, n));
                    // Keys and values sum over blocks of queries; a block has its queries alone.
                    let keep = if from == 0 { 0.0 } else { 1.0 };
                    let (q, k) = (self.part(qkv, 0, head, from), self.part(qkv, 1, head, 0));
                    let scale = self.scale();
                    let mut part = |which: usize, rows: usize, keep, scale, a, b, (c, k)| {
                        let out = &mut d_qkv[rows * row + self.start(which, head)..];
                        product((c, self.d, k), out, row, keep, scale, a, b, false);
                    };
                    part(0, from, 0.0, scale, ds, k, (count, n));
                    part(1, 0, keep, scale, ds.t(), q, (n, count));
                    part(2, 0, keep, 1.0, p.t(), g, (n, count));
                }
            }
        });
        d_qkv
    }
}

/// Softmax of the first `seen` values, zeros behind; returns the logarithm of the sum of
/// exponentials.
fn softmax(row: &mut [f32], seen: usize) -> f32 {
    let (row, unseen) = row.split_at_mut(seen);
    unseen.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            let max = largest(row);
            for v in row.iter_mut() {
                *v = exp(*v - max);
            }
            let sum = lane_sum(row.len(), |i| row[i]);
            let scale = 1.0 / sum;
            for v in row.iter_mut() {
                *v *= scale;
            }
            max + sum.ln()
        },
    )
}

/// Scores → weights, by the logarithm of their sum.
fn weights(row: &mut [f32], seen: usize, log_sum: f32) {
    let (row, unseen) = row.split_at_mut(seen);
    unseen.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            for v in row.iter_mut() {
                *v = exp(*v - log_sum);
            }
        },
    );
}

/// dP → dS in place, a row at a time.
fn score_gradient(ds: &mut [f32], p: &[f32], width: usize) {
    vectorised(
        #[inline(always)]
        || {
            for (ds, p) in ds.chunks_exact_mut(width).zip(p.chunks_exact(width)) {
                let mixed = lane_sum(width, |i| ds[i] * p[i]);
                for i in 0..width {
                    ds[i] = p[i] * (ds[i] - mixed);
                }
            }
        },
    );
}
