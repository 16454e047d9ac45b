//! Self-attention.

use candle_core::{DType, Result, Tensor};

use super::backend::CudaBackend;
use super::launch::{Arg, Grid, MAX_SHARED, in_vectors, of_type};
use crate::nn::descriptors::{Dropout, Mask};
use crate::nn::graph::Variable;

/// Head sizes with a kernel.
const SIZES: [usize; 7] = [16, 32, 48, 64, 80, 96, 128];
/// Rows per warp.
const SIDE: usize = 16;
/// The most warps per block, as in the source of the kernels for bf16. Two such blocks have the registers of a
/// multiprocessor, and they have the 13 groups of 16 tokens of a ViT-B.
const WARPS: usize = 7;

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
    dropout: Option<Dropout>,
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
    let attention = Attention { backend, dims, queries, causal: mask.causal, lengths, dropout };
    let log_sums = match qkv.requires_grad() {
        true => Some(attention.backend.empty((batch, heads, queries), DType::F32)?),
        false => None,
    };
    let out = attention.forward(&input, log_sums.as_ref())?;
    let kept = out.clone();
    Ok(Variable::computed(out, &[qkv], move |g, sink| {
        let Some(log_sums) = &log_sums else { return Ok(()) };
        // A contiguous part of another tensor may begin anywhere, and rows are read in vectors.
        let g = g.contiguous()?;
        let g = if in_vectors(d, &[&g]) { g } else { g.force_contiguous()? };
        sink.add(0, attention.backward(&input, &kept, &g, log_sums)?)
    }))
}

struct Attention {
    backend: CudaBackend,
    /// Batch, tokens, heads, values per head.
    dims: (usize, usize, usize, usize),
    queries: usize,
    causal: bool,
    lengths: Option<Tensor>,
    dropout: Option<Dropout>,
}

impl Attention {
    /// The last arguments of all kernels.
    fn sizes(&self, tile: usize) -> [Arg<'_>; 13] {
        let (_, tokens, heads, d) = self.dims;
        // The kernels without dropout do not read these.
        let ([key0, key1, name0, name1], below, kept) = match &self.dropout {
            Some(dropout) => (dropout.address(), dropout.below, dropout.kept),
            None => ([0; 4], 0, 1.0),
        };
        [
            Arg::int(tokens),
            Arg::int(heads),
            Arg::int(self.queries),
            Arg::flag(self.causal),
            Arg::Float(1.0 / (d as f32).sqrt()),
            Arg::maybe(self.lengths.as_ref()),
            Arg::Word(key0),
            Arg::Word(key1),
            Arg::Word(name0),
            Arg::Word(name1),
            Arg::Word(below),
            Arg::Float(kept),
            Arg::int(tile),
        ]
    }

    fn plan(&self, kernel: Kernel, dtype: DType) -> Plan {
        let (_, tokens, _, d) = self.dims;
        let (rows, others) = match kernel {
            Kernel::Forward => (self.queries, tokens),
            Kernel::Queries => (tokens, tokens),
            Kernel::Keys => (tokens, self.queries),
        };
        Plan::of(rows, others, |tile, warps| kernel.shared(dtype, tile, warps, d))
    }

    fn kernel(&self, which: &str, dtype: DType) -> Result<String> {
        let suffix = if self.dropout.is_some() { "_dropped" } else { "" };
        of_type(&format!("{which}{suffix}_{}", self.dims.3), dtype)
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
        let (batch, _, heads, d) = self.dims;
        let out = self.backend.empty((batch, self.queries, heads * d), qkv.dtype())?;
        let plan = self.plan(Kernel::Forward, qkv.dtype());
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
        let (batch, _, heads, _) = self.dims;
        let dtype = qkv.dtype();
        let d_qkv = self.backend.empty(qkv.shape(), dtype)?;
        let dots = self.backend.empty((batch, heads, self.queries), DType::F32)?;
        let plan = self.plan(Kernel::Queries, dtype);
        let [qkv, log_sums, g] = [qkv, log_sums, g].map(Arg::Tensor);
        let (to, sums) = (Arg::Tensor(&d_qkv), Arg::Tensor(&dots));
        let args = [qkv, Arg::Tensor(out), g, log_sums, sums, to];
        self.run("attention_queries", dtype, plan, &args)?;
        let plan = self.plan(Kernel::Keys, dtype);
        self.run("attention_keys", dtype, plan, &[qkv, g, log_sums, sums, to])?;
        Ok(d_qkv)
    }
}

/// Bytes of a block's arrays of float32 in shared memory, each rounded up as `Carver` in the kernels does.
fn carved(counts: &[usize]) -> usize {
    counts.iter().map(|count| (count * 4).next_multiple_of(128)).sum()
}

/// Bytes of shared memory of each kernel, as its arrays in the source.
#[derive(Clone, Copy)]
enum Kernel {
    Forward,
    Queries,
    Keys,
}

impl Kernel {
    fn shared(self, dtype: DType, tile: usize, warps: usize, d: usize) -> usize {
        match dtype {
            DType::BF16 => self.shared_bf16(tile, warps, d),
            _ => self.shared_float(tile, warps, d),
        }
    }

    /// Two tiles, in whose place the results of the warps are put together; for the keys also two numbers of
    /// each row of a tile.
    fn shared_bf16(self, tile: usize, warps: usize, d: usize) -> usize {
        let rows = (2 * tile).max(warps * SIDE) * (d + 8) * 2;
        match self {
            Kernel::Forward | Kernel::Queries => rows,
            Kernel::Keys => rows + 2 * tile * 4,
        }
    }

    fn shared_float(self, tile: usize, warps: usize, d: usize) -> usize {
        let (shared, warp_rows) = (tile * (d + 8), warps * SIDE);
        let (rows, scores, weights) =
            (warp_rows * (d + 8), warp_rows * (SIDE + 4), warp_rows * (tile + 8));
        match self {
            Kernel::Forward => carved(&[shared, shared, rows, warp_rows * (tile + 4), weights]),
            Kernel::Queries => carved(&[shared, shared, rows, rows, scores, scores, weights]),
            Kernel::Keys => carved(&[shared, shared, rows, rows, scores, scores, weights, weights]),
        }
    }
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
        let tiles = [if whole <= 256 { whole } else { 128 }, 128, 64, 32, SIDE];
        let fits =
            |tile: usize| (1..=WARPS.min(sides)).rev().find(|w| shared(tile, *w) <= MAX_SHARED);
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
        let plan = |rows, others, d, dtype| {
            Plan::of(rows, others, |tile, warps| Kernel::Keys.shared(dtype, tile, warps, d))
        };
        let cifar = plan(65, 65, 64, DType::BF16);
        assert_eq!((cifar.blocks, cifar.warps, cifar.tile), (1, 5, 80));
        let base = plan(197, 197, 64, DType::BF16);
        assert_eq!((base.blocks, base.warps, base.tile), (2, 7, 208));
        for (rows, others, d) in [(1, 1, 16), (512, 512, 128), (1, 600, 128)] {
            let plan = plan(rows, others, d, DType::F32);
            assert!(
                plan.shared <= MAX_SHARED && plan.blocks * plan.warps * SIDE >= rows,
                "{plan:?}"
            );
            assert!(plan.warps <= WARPS && plan.tile % SIDE == 0 && plan.tile > 0, "{plan:?}");
        }
    }
}
