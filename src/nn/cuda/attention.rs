//! Self-attention.

use candle_core::{DType, Result, Tensor};

use super::backend::CudaBackend;
use super::launch::{Arg, Grid, MOST_SHARED, in_vectors, of_type};
use crate::nn::descriptors::Mask;
use crate::nn::graph::Variable;

/// Head sizes with a kernel.
const SIZES: [usize; 7] = [16, 32, 48, 64, 80, 96, 128];
/// Rows per warp.
const SIDE: usize = 16;
/// The most warps per block. The largest kernel uses 254 registers per thread, and a GPU has enough for
/// this many warps.
const WARPS: usize = 8;

/// Whether there is a kernel for heads of `d` values, and qkv is aligned for it.
pub fn takes_heads(d: usize, qkv: &Tensor) -> bool {
    // A tensor that is not contiguous is copied first, and the copy is aligned.
    SIZES.contains(&d) && (!qkv.is_contiguous() || in_vectors(d, &[qkv]))
}

/// [`crate::nn::ops::self_attention`], for heads that [`takes_heads`] accepts.
pub fn self_attention(
    backend: CudaBackend,
    qkv: &Variable,
    heads: usize,
    queries: usize,
    mask: &Mask,
) -> Result<Variable> {
    let (batch, tokens, width) = qkv.tensor().dims3()?;
    let d = width / 3 / heads;
    let input = qkv.tensor().contiguous()?;
    let lengths = mask
        .lengths
        .as_ref()
        .map(|l| l.iter().map(|l| *l as u32).collect::<Vec<_>>())
        .map(|l| backend.tensor(&l, batch))
        .transpose()?;
    let dims = (batch, tokens, heads, d);
    let attention = Attention { backend, dims, queries, causal: mask.causal, lengths };
    let log_sums = match qkv.is_tracked() {
        true => Some(attention.backend.empty((batch, heads, queries), DType::F32)?),
        false => None,
    };
    let out = attention.forward(&input, log_sums.as_ref())?;
    let kept = out.clone();
    Ok(Variable::computed(out, &[qkv], move |g, sink| {
        let Some(log_sums) = &log_sums else { return Ok(()) };
        sink.add(0, attention.backward(&input, &kept, &g.contiguous()?, log_sums)?)
    }))
}

struct Attention {
    backend: CudaBackend,
    /// Batch, tokens, heads, values per head.
    dims: (usize, usize, usize, usize),
    queries: usize,
    causal: bool,
    lengths: Option<Tensor>,
}

impl Attention {
    /// The last arguments of all kernels.
    fn sizes(&self, tile: usize) -> [Arg<'_>; 7] {
        let (_, tokens, heads, d) = self.dims;
        [
            Arg::int(tokens),
            Arg::int(heads),
            Arg::int(self.queries),
            Arg::flag(self.causal),
            Arg::Float(1.0 / (d as f32).sqrt()),
            Arg::maybe(self.lengths.as_ref()),
            Arg::int(tile),
        ]
    }

    fn kernel(&self, which: &str, dtype: DType) -> Result<String> {
        of_type(&format!("{which}_{}", self.dims.3), dtype)
    }

    fn run(&self, which: &str, dtype: DType, plan: Plan, args: &[Arg]) -> Result<()> {
        let (batch, _, heads, _) = self.dims;
        let grid = Grid {
            blocks: [plan.blocks, heads, batch],
            threads: [32 * plan.warps, 1],
            shared: plan.shared,
        };
        let args: Vec<Arg> = args.iter().copied().chain(self.sizes(plan.tile)).collect();
        self.backend.launch(&self.kernel(which, dtype)?, grid, &args)
    }

    fn forward(&self, qkv: &Tensor, log_sums: Option<&Tensor>) -> Result<Tensor> {
        let (batch, tokens, heads, d) = self.dims;
        let out = self.backend.empty((batch, self.queries, heads * d), qkv.dtype())?;
        let plan = Plan::of(self.queries, tokens, |tile, warps| {
            forward_shared(tile, warps, d, qkv.dtype().size_in_bytes())
        });
        let args = [Arg::Tensor(qkv), Arg::Tensor(&out), Arg::maybe(log_sums)];
        self.run("attention", qkv.dtype(), plan, &args)?;
        Ok(out)
    }

    fn backward(
        &self,
        qkv: &Tensor,
        out: &Tensor,
        g: &Tensor,
        log_sums: &Tensor,
    ) -> Result<Tensor> {
        let (batch, tokens, heads, d) = self.dims;
        let (dtype, size) = (qkv.dtype(), qkv.dtype().size_in_bytes());
        let d_qkv = self.backend.empty(qkv.shape(), dtype)?;
        let dots = self.backend.empty((batch, heads, self.queries), DType::F32)?;
        let plan = Plan::of(tokens, tokens, |tile, warps| queries_shared(tile, warps, d, size));
        let [qkv, log_sums, g] = [qkv, log_sums, g].map(Arg::Tensor);
        let (to, sums) = (Arg::Tensor(&d_qkv), Arg::Tensor(&dots));
        let args = [qkv, Arg::Tensor(out), g, log_sums, sums, to];
        self.run("attention_queries", dtype, plan, &args)?;
        let plan = Plan::of(tokens, self.queries, |tile, warps| keys_shared(tile, warps, d, size));
        self.run("attention_keys", dtype, plan, &[qkv, g, log_sums, sums, to])?;
        Ok(d_qkv)
    }
}

/// Bytes of a block's arrays in shared memory, each rounded up as `Carver` in the kernels does.
/// `parts` are (count, size) of each array.
fn carved(parts: &[(usize, usize)]) -> usize {
    parts.iter().map(|(count, size)| (count * size).next_multiple_of(128)).sum()
}

fn forward_shared(tile: usize, warps: usize, d: usize, size: usize) -> usize {
    let (shared, own) = (tile * (d + 8), warps * SIDE);
    carved(&[
        (shared, size),
        (shared, size),
        (own * (d + 8), size),
        (own * (tile + 4), 4),
        (own * (tile + 8), size),
    ])
}

fn queries_shared(tile: usize, warps: usize, d: usize, size: usize) -> usize {
    let (shared, own) = (tile * (d + 8), warps * SIDE);
    carved(&[
        (shared, size),
        (shared, size),
        (own * (d + 8), size),
        (own * (d + 8), size),
        (own * (SIDE + 4), 4),
        (own * (SIDE + 4), 4),
        (own * (tile + 8), size),
    ])
}

fn keys_shared(tile: usize, warps: usize, d: usize, size: usize) -> usize {
    queries_shared(tile, warps, d, size) + carved(&[(warps * SIDE * (tile + 8), size)])
}

/// How a kernel's rows are divided among blocks and warps, and the size of the tiles in which it reads
/// the other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    blocks: usize,
    warps: usize,
    tile: usize,
    shared: usize,
}

impl Plan {
    /// The plan for `rows` rows, each of which reads `others` rows. `shared` gives the shared memory for
    /// a tile size and a number of warps. Short sequences are one tile. A block has no more warps than it
    /// has rows for, and as few unused rows as possible.
    fn of(rows: usize, others: usize, shared: impl Fn(usize, usize) -> usize) -> Plan {
        let sides = rows.div_ceil(SIDE);
        let whole = others.next_multiple_of(SIDE);
        let tiles = [if whole <= 128 { whole } else { 64 }, 64, 32, SIDE];
        let fits =
            |tile: usize| (1..=WARPS.min(sides)).rev().find(|w| shared(tile, *w) <= MOST_SHARED);
        let enough = sides.min(4);
        let best = tiles.iter().filter(|t| **t <= whole).find_map(|tile| {
            fits(*tile).filter(|warps| *warps >= enough).map(|warps| (*tile, warps))
        });
        let (tile, most) = best.unwrap_or((SIDE, fits(SIDE).unwrap_or(1)));
        let blocks = sides.div_ceil(most);
        let warps = sides.div_ceil(blocks);
        Plan { blocks, warps, tile, shared: shared(tile, warps) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of the models that are measured, and of the largest heads in float32.
    #[test]
    fn plans_fit_into_shared_memory_and_waste_few_rows() {
        let plan = |rows, others, d, size| {
            Plan::of(rows, others, |tile, warps| keys_shared(tile, warps, d, size))
        };
        let cifar = plan(65, 65, 64, 2);
        assert_eq!((cifar.blocks, cifar.warps, cifar.tile), (1, 5, 80));
        let base = plan(197, 197, 64, 2);
        assert_eq!((base.blocks, base.warps, base.tile), (3, 5, 64));
        for (rows, others, d, size) in [(1, 1, 16, 4), (512, 512, 128, 4), (1, 600, 128, 4)] {
            let plan = plan(rows, others, d, size);
            assert!(
                plan.shared <= MOST_SHARED && plan.blocks * plan.warps * SIDE >= rows,
                "{plan:?}"
            );
            assert!(plan.warps <= WARPS && plan.tile % SIDE == 0 && plan.tile > 0, "{plan:?}");
        }
    }
}
