//! The memory of training: what each operation keeps for its backward pass, and what that pass
//! allocates.
//!
//! The peak of a step is somewhere in the backward pass. At its start everything that was kept is in
//! memory, at its end all gradients are. Each operation allocates its input's gradient before it frees
//! what it kept. So this module follows the backward pass operation by operation, in bytes.

use std::collections::BTreeSet;

use super::description::{Description, ParameterInfo};
use super::operations::{Attention, LayerNorm, Linear, Operation};
use crate::nn::packing::Processor;
use crate::nn::{AttentionSizes, BackwardProducts, Size};
use crate::spec::{DeviceKind, Precision, RunSpec};
use crate::vlora::Leaf;

/// Bytes of a float32.
const FLOAT: u64 = 4;
/// Batches in memory at once: one in use, two waiting, one being made.
const BATCHES: u64 = 4;

/// Bytes that the program holds on the CPU besides what is counted here: its spec and records, and
/// each thread's own memory. Measured with one to eight threads: 150,000 bytes, and 7,500 per thread.
const PROGRAM: u64 = 256 << 10;
const PER_THREAD: u64 = 8 << 10;

/// The memory of training, in bytes. The parts are not all in memory at once, so they may add up to
/// more than the peak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingMemory {
    /// All parameters, with the copies that products use, and their moving average if there is one.
    pub weights: u64,
    pub gradients: u64,
    /// AdamW's moments.
    pub moments: u64,
    /// Prefetched batches.
    pub batches: u64,
    /// What the embedding, each layer, and the head keep for the backward pass.
    pub activations: Vec<u64>,
    /// The most that is in memory at once during a step. The decoded data that batches are made from
    /// are not included.
    pub peak: u64,
}

/// Lower bounds on the bytes that a micro-batch and an optimiser update move. A micro-batch writes and
/// reads once what is kept, reads the weights forward and backward in the type of products, and writes
/// the gradients. An update reads the gradients, reads and writes parameters and moments, and writes
/// the copies.
pub fn traffic(run: &RunSpec, device: DeviceKind) -> (u64, u64) {
    let processor = Processor::here();
    let engine = Engine::of(device, run.precision, processor);
    let description = Description::of(run);
    let kept: u64 = engine.kept(&description).into_iter().sum();
    let (parameters, trained) = sizes(&description);
    let product = if engine.copy > 0 { engine.copy } else { FLOAT };
    let micro = 2 * kept + 2 * parameters * product + trained * FLOAT;
    (micro, trained * (FLOAT + 2 * FLOAT + 4 * FLOAT + engine.copy))
}

/// The number of values of all parameters, and of the trained ones.
fn sizes(description: &Description) -> (u64, u64) {
    let sum = |trained_only: bool| -> u64 {
        let counted = description.parameters.iter().filter(|p| p.trained || !trained_only);
        counted.map(ParameterInfo::values).sum()
    };
    (sum(false), sum(true))
}

/// What the operations of a device keep and allocate.
#[derive(Clone, Copy, Debug)]
struct Engine {
    /// Bytes per value of an activation or of its gradient.
    value: u64,
    /// Bytes per value of the parameters' copies that products use; 0 if they use the parameters.
    copy: u64,
    /// Attention keeps its weights if there are at most this many tokens per value of a head. With more
    /// tokens it keeps one logarithm per row.
    weights_up_to: usize,
    /// Sums over rows are added up from partial sums of blocks of rows. These are the rows per block:
    /// for norms, for linear layers with low-rank products, and for those without. None if sums are
    /// computed in place.
    partial: Option<(usize, usize, usize)>,
    /// A weight with its increments added is kept for the backward pass. Otherwise it is computed again.
    keeps_folded: bool,
    /// GELU's gradient has its own memory. Otherwise it replaces the derivative.
    separate_gelu_gradient: bool,
    /// The embedding's result before positions is kept.
    keeps_embedded: bool,
    /// Bytes that do not depend on the model: on the CPU the program itself and the threads' buffers for
    /// matrix products, on a GPU the workspace of cuBLASLt.
    fixed: u64,
    /// The processor whose products pack their operands into buffers of their own. None if these are
    /// part of `fixed`.
    processor: Option<Processor>,
}

impl Engine {
    fn of(device: DeviceKind, precision: Precision, processor: Processor) -> Engine {
        let partial = Some((64, 256, 512));
        let cpu = Engine {
            value: FLOAT,
            copy: 0,
            weights_up_to: 3,
            partial,
            keeps_folded: false,
            separate_gelu_gradient: false,
            keeps_embedded: true,
            fixed: PROGRAM + processor.threads as u64 * PER_THREAD + processor.thread_buffers(),
            processor: Some(processor),
        };
        let gpu = Engine {
            weights_up_to: 0,
            partial: None,
            keeps_folded: true,
            separate_gelu_gradient: true,
            keeps_embedded: false,
            fixed: 32 << 20,
            processor: None,
            ..cpu
        };
        match (device, precision) {
            (DeviceKind::Cpu, _) => cpu,
            (DeviceKind::Cuda, Precision::Float32 | Precision::Tf32) => gpu,
            (DeviceKind::Cuda, Precision::Bf16) => Engine { value: 2, copy: 2, ..gpu },
        }
    }
}

/// The memory effects of an operation, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Effect {
    /// Kept until its backward pass is over, including its input.
    kept: u64,
    /// The gradient that its backward pass allocates for the operation before it.
    gradient: u64,
    /// The residual stream's gradient after its backward pass; None if that does not change.
    stream: Option<u64>,
    /// Gradients of parameters, which stay until the end of the step.
    parameters: u64,
    /// What its backward pass allocates and frees again.
    workspace: u64,
}

/// The memory of a run's optimiser steps on a device of this kind. The processor is this machine's.
pub fn memory(run: &RunSpec, device: DeviceKind) -> TrainingMemory {
    memory_on(run, device, Processor::here())
}

/// The same with any processor.
pub fn memory_on(run: &RunSpec, device: DeviceKind, processor: Processor) -> TrainingMemory {
    let engine = Engine::of(device, run.precision, processor);
    let description = Description::of(run);
    let (parameters, trained) = sizes(&description);
    let layers = engine.effects(&description);
    // A moving average is a second model.
    let models = 1 + u64::from(run.training.ema_decay.is_some());
    // Where images are mixed: a batch, the other images, and both by their shares, in float32.
    let mixes = run.data.as_images().is_some_and(|data| data.augment.mix.is_some());
    let mixing = if mixes { 4 * FLOAT } else { 0 };
    let mut memory = TrainingMemory {
        weights: models * parameters * (FLOAT + engine.copy),
        gradients: trained * FLOAT,
        moments: 2 * trained * FLOAT,
        batches: description.inputs * (BATCHES * engine.value + mixing),
        activations: layers.iter().map(|layer| kept(layer)).collect(),
        peak: 0,
    };
    let mut lasting = engine.fixed + memory.weights + memory.moments + memory.batches;
    if run.training.accumulation > 1 {
        // The sum over earlier micro-batches, besides the gradients of this one.
        lasting += memory.gradients;
    }
    let backward = peak_of_backward(&layers.concat());
    // At the end of the backward pass only the gradients are left.
    memory.peak = lasting + backward.max(memory.gradients);
    memory
}

/// What a layer's operations keep between forward and backward pass.
fn kept(layer: &[Effect]) -> u64 {
    layer.iter().map(|effect| effect.kept).sum()
}

/// The peak during the operations' backward passes, from the last to the first.
fn peak_of_backward(effects: &[Effect]) -> u64 {
    let mut kept: u64 = effects.iter().map(|e| e.kept).sum();
    let (mut branch, mut stream, mut parameters, mut peak) = (0, 0, 0, kept);
    for e in effects.iter().rev() {
        let made = e.gradient + e.parameters + e.workspace + e.stream.unwrap_or(0);
        peak = peak.max(kept + branch + stream + parameters + made);
        kept -= e.kept;
        parameters += e.parameters;
        (branch, stream) = (e.gradient, e.stream.unwrap_or(stream));
    }
    peak
}

/// The parameters that already have a gradient in a backward pass.
#[derive(Default)]
struct Reached(BTreeSet<u64>);

impl Reached {
    /// The bytes of these parameters' gradients: those that stay, and those that are freed again.
    fn add(&mut self, leaves: &[Leaf]) -> (u64, u64) {
        let (mut stays, mut workspace) = (0, 0);
        for leaf in leaves {
            match self.0.insert(leaf.id) {
                true => stays += leaf.values * FLOAT,
                // The new part, and its sum with the earlier ones.
                false => workspace += 2 * leaf.values * FLOAT,
            }
        }
        (stays, workspace)
    }
}

impl Engine {
    /// What each layer keeps for its backward pass.
    fn kept(&self, description: &Description) -> Vec<u64> {
        self.effects(description).iter().map(|layer| kept(layer)).collect()
    }

    /// The effects of each layer's operations, in the forward pass's order.
    fn effects(&self, description: &Description) -> Vec<Vec<Effect>> {
        // Forward: from the first trained parameter on, the inputs of operations need a gradient.
        let mut tracked = false;
        let mut needs_gradient: Vec<bool> = Vec::new();
        for operation in description.layers.iter().flatten() {
            needs_gradient.push(tracked);
            tracked |= !operation.leaves().is_empty();
        }
        // Backward: a parameter's first gradient stays, later ones are added to it.
        let mut reached = Reached::default();
        let mut layers = Vec::new();
        for layer in description.layers.iter().rev() {
            let mut effects: Vec<Effect> = Vec::new();
            let first = needs_gradient.len() - layer.len();
            for (operation, needs_gradient) in layer.iter().zip(&needs_gradient[first..]).rev() {
                effects.push(self.effect(operation, *needs_gradient, &mut reached));
            }
            needs_gradient.truncate(first);
            effects.reverse();
            layers.push(effects);
        }
        layers.reverse();
        layers
    }

    /// Bytes of a matrix of activations.
    fn matrix(&self, rows: usize, width: usize) -> u64 {
        rows as u64 * width as u64 * self.value
    }

    /// The effect of one operation. `needs_gradient` says whether its input needs a gradient.
    fn effect(&self, operation: &Operation, needs_gradient: bool, reached: &mut Reached) -> Effect {
        if !needs_gradient && operation.leaves().is_empty() {
            return Effect::default();
        }
        match operation {
            Operation::Linear(linear) => self.linear(linear, needs_gradient, reached),
            Operation::Projections(all) => self.projections(all, needs_gradient, reached),
            Operation::LayerNorm(norm) => self.norm(norm, needs_gradient, reached),
            Operation::Attention(attention) => self.attention(attention),
            Operation::FirstTokens { batch, tokens, kept, width } => Effect {
                // Tokens that are not needed get zeros, and both parts are joined. Meanwhile the
                // gradient of attention's result stays.
                gradient: self.matrix(batch * kept, *width),
                stream: Some(self.matrix(batch * tokens, *width)),
                workspace: self.matrix(batch * (tokens - kept), *width),
                ..Effect::default()
            },
            Operation::MeanTokens { batch, tokens, width } => {
                Effect { stream: Some(self.matrix(batch * tokens, *width)), ..Effect::default() }
            }
            Operation::AddPositions { rows, width, leaves } => {
                let embedded = self.matrix(*rows, *width);
                let (parameters, workspace) = reached.add(leaves);
                Effect {
                    kept: if self.keeps_embedded { embedded } else { 0 },
                    gradient: embedded,
                    stream: Some(0),
                    parameters,
                    workspace,
                }
            }
            Operation::Lookup { leaves, .. } => {
                let (parameters, workspace) = reached.add(leaves);
                Effect { stream: Some(0), parameters, workspace, ..Effect::default() }
            }
            Operation::Activation { rows, width } => {
                let y = self.matrix(*rows, *width);
                Effect { kept: y, gradient: y, workspace: y, ..Effect::default() }
            }
            Operation::Dropout { rows, width } => {
                // The mask is drawn again, not kept.
                Effect { gradient: self.matrix(*rows, *width), ..Effect::default() }
            }
            Operation::CrossEntropy { rows, classes } => Effect {
                // The logits, and a sum per row.
                kept: self.matrix(*rows, *classes) + *rows as u64 * FLOAT,
                gradient: self.matrix(*rows, *classes),
                ..Effect::default()
            },
        }
    }

    fn norm(&self, norm: &LayerNorm, needs_gradient: bool, reached: &mut Reached) -> Effect {
        let LayerNorm { rows, width, leaves } = norm;
        let x = self.matrix(*rows, *width);
        let partial = self.partial.map_or(0, |(block, ..)| {
            // For the gradients of scale and shift.
            2 * rows.div_ceil(block) as u64 * *width as u64 * FLOAT
        });
        let (parameters, workspace) = reached.add(leaves);
        Effect {
            // The input, and mean and deviation per row.
            kept: x + 2 * *rows as u64 * FLOAT,
            stream: needs_gradient.then_some(x),
            parameters,
            workspace: partial + workspace,
            ..Effect::default()
        }
    }

    /// A linear layer, with GELU if one follows. What it adds to the residual stream belongs to the
    /// stream.
    fn linear(&self, linear: &Linear, needs_gradient: bool, reached: &mut Reached) -> Effect {
        let (rows, usage) = (linear.rows, &linear.usage);
        let (output, input) = usage.sides;
        let (x, weight) = (self.matrix(rows, input), (output * input) as u64 * FLOAT);
        let mut made = Effect { kept: x, ..Effect::default() };
        if needs_gradient {
            made.gradient = x;
        }
        if usage.products > 0 && self.keeps_folded {
            made.kept += (output * input) as u64 * self.value;
        } else if usage.products > 0 && needs_gradient {
            // Folded again for x's gradient.
            made.workspace += weight;
        }
        if usage.summed {
            made.kept += weight;
        }
        for leaves in [&usage.weight, &usage.bias] {
            let (stays, workspace) = reached.add(leaves);
            made.parameters += stays;
            made.workspace += workspace;
        }
        let dense = usage.has_dense_gradient(rows);
        if dense && !usage.matrix_is_trained() {
            made.workspace += weight;
        }
        if let Some((_, thin, plain)) = self.partial {
            let ranks = if dense { 0 } else { usage.trained_rank() };
            let apart = if ranks > 0 { thin } else { plain };
            let pieces = rows.div_ceil(apart).max((rows / 64).min(8));
            // The blocks' sums.
            made.workspace += (pieces * (ranks * (output + input) + output)) as u64 * FLOAT;
        }
        if let Some(processor) = &self.processor {
            let products = BackwardProducts {
                rows,
                size: Size { input, output },
                x: needs_gradient,
                matrix: dense,
                folded: if needs_gradient { usage.rank() } else { 0 },
                projected: if dense { usage.trained_rank() } else { 0 },
                thin: if dense { 0 } else { usage.trained_rank() },
            };
            made.workspace += products.scratch(processor);
        }
        if let Some(rank) = usage.separate_lora_rank {
            // Forward: A's input and result. Backward: the mask, and two gradients of x.
            made.kept += x + self.matrix(rows, rank);
            made.workspace += 3 * x;
        }
        if linear.gelu {
            // The derivative of GELU; on the CPU GELU's gradient replaces it.
            let hidden = self.matrix(rows, output);
            made.kept += hidden;
            if self.separate_gelu_gradient {
                made.workspace += hidden;
            }
        }
        made
    }

    /// Linear layers with the same input. The input is kept once, and their gradients of it are added.
    fn projections(&self, all: &[Linear], needs_gradient: bool, reached: &mut Reached) -> Effect {
        let mut made = Effect::default();
        let shared = all.iter().map(|l| self.matrix(l.rows, l.usage.sides.1)).max().unwrap_or(0);
        for linear in all.iter().rev() {
            let Effect { kept, gradient, parameters, workspace, .. } =
                self.linear(linear, needs_gradient, reached);
            let x = self.matrix(linear.rows, linear.usage.sides.1);
            made.kept += kept - x;
            made.gradient = made.gradient.max(gradient);
            made.parameters += parameters;
            // The sum so far, and the next part.
            made.workspace = made.workspace.max(workspace + gradient);
        }
        made.kept += shared;
        made
    }

    fn attention(&self, attention: &Attention) -> Effect {
        let Attention { batch, tokens, queries, heads, head_size, packed, dropped, .. } =
            *attention;
        let width = heads * head_size;
        let query_rows = batch * if packed { tokens } else { queries };
        let qkv = self.matrix(query_rows, width) + self.matrix(batch * tokens, 2 * width);
        let rows = batch * queries * heads;
        let weights = match tokens <= self.weights_up_to * head_size {
            true => self.matrix(rows, tokens),
            false => rows as u64 * FLOAT,
        };
        let sizes = AttentionSizes { queries, keys: tokens, heads, d: head_size };
        let scratch = |p| sizes.backward_scratch(batch, dropped, p);
        let workspace = self.processor.as_ref().map_or(0, scratch);
        Effect { kept: qkv + weights, gradient: qkv, workspace, ..Effect::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::cost;
    use crate::nn::packing::{Cache, Tile};
    use crate::spec;

    fn run(overrides: &[&str]) -> RunSpec {
        let text = "task: image-classification\ndata: {embedded: fashion-mnist-mini}\n\
            model: {architecture: vit, image_size: 32, patch_size: 4, channels: 3, classes: 10, \
            dim: 192, depth: 12, heads: 3}\nvlora: {compound_size: 4, rank: 8}\n\
            arms: {baseline: {}}\nseeds: [0]\n";
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        let spec = spec::parse(text.as_bytes(), "t.yaml", "t", &overrides, &|_| 0);
        spec.unwrap().variants.remove(0).spec
    }

    const fn cache(kib: usize, ways: usize) -> Cache {
        Cache { bytes: kib << 10, ways, line_bytes: 64 }
    }

    /// Two cores of an AMD EPYC with AVX2.
    const EPYC: Processor = Processor {
        threads: 2,
        tile: Tile::FMA,
        caches: [cache(32, 8), cache(512, 8), cache(32 << 10, 16)],
    };

    /// Two cores of an Intel Xeon with AVX-512.
    const XEON: Processor = Processor {
        threads: 2,
        tile: Tile::AVX512,
        caches: [cache(48, 12), cache(2 << 10, 16), cache(105 << 10, 15)],
    };

    fn on_cpu(overrides: &[&str]) -> TrainingMemory {
        memory_on(&run(overrides), DeviceKind::Cpu, EPYC)
    }

    /// The widest case of `memory_is_what_the_formula_says` in tests/suite/bench.rs.
    const WIDE: [&str; 10] = [
        "method=vlora",
        "model.image_size=28",
        "model.patch_size=14",
        "model.channels=1",
        "model.dim=256",
        "model.depth=6",
        "model.heads=2",
        "model.mlp_ratio=2",
        "vlora={compound_size: 3, rank: 2}",
        "training.batch_size=8",
    ];

    /// The threads' buffers are four times as large on the Xeon as on the EPYC. 19,833,171 bytes were
    /// counted on an EPYC.
    #[test]
    fn larger_caches_take_more_memory() {
        let run = run(&WIDE);
        let of = |processor| memory_on(&run, DeviceKind::Cpu, processor).peak;
        let off = of(EPYC) as f64 / 19_833_171.0 - 1.0;
        assert!((0.0..0.03).contains(&off), "{off}");
        // Two buffers of 2 MiB instead of two of 512 KiB. What products pack besides is little.
        let more = (of(XEON) - of(EPYC)) as f64 / (3 << 20) as f64;
        assert!((0.95..1.1).contains(&more), "{more}");
        // Each further thread adds its buffer, and its block of attention scores.
        let of_threads = |threads| of(Processor { threads, ..XEON });
        let each = (of_threads(64) - of_threads(2)) as f64 / 62.0;
        assert!(each >= f64::from(2 << 20) && each < f64::from(2 << 20) * 1.02, "{each}");
    }

    /// Values that a block of width d keeps per token: x and its norm 2d; q, k and v 3d; attention's
    /// result d; the second x and its norm 2d; the MLP's hidden values and GELU's derivative 8d; two
    /// moments per norm. Attention's weights come on top.
    #[test]
    fn a_block_keeps_what_its_operations_need() {
        let kept = on_cpu(&[]).activations;
        assert_eq!(kept.len(), 1 + 12 + 1);
        let (rows, weights) = (64 * 65, 64 * 3 * 65 * 65);
        for block in &kept[1..12] {
            assert_eq!(*block, 4 * (rows * (16 * 192 + 4) + weights));
        }
        // In the last block, only the class token is needed after attention.
        let (all, one) = (64 * 65, 64);
        let last = all * (5 * 192 + 2) + one * (11 * 192 + 2) + 64 * 3 * 65;
        assert_eq!(kept[12], 4 * last);
        assert_eq!(kept[0], 4 * 64 * 64 * (48 + 192));
        // With more than three tokens per value of a head, one number per row is kept instead.
        let narrow = on_cpu(&["model.heads=12"]).activations;
        assert_eq!(narrow[1], 4 * (rows * (16 * 192 + 4) + 64 * 12 * 65));
    }

    #[test]
    fn parts_match_the_parameters_and_the_method() {
        let (dense, vlora) = (on_cpu(&[]), on_cpu(&["method=vlora"]));
        let parameters = cost(&run(&[])).parameters;
        assert_eq!((dense.weights, dense.gradients), (4 * parameters, 4 * parameters));
        assert_eq!(dense.moments, 8 * parameters);
        assert_eq!(dense.activations, vlora.activations);
        assert!(vlora.peak < dense.peak);
        // With a full increment the sum of both matrices is kept, besides its gradient.
        let full = on_cpu(&["method=vlora", "vlora.rank=full"]);
        assert_eq!(full.activations[2] - dense.activations[2], 4 * 12 * 192 * 192);
        assert_eq!(full.activations[1], dense.activations[1]);
        // Micro-batches keep less, but need memory for the sum of their gradients.
        let parts = on_cpu(&["training.batch_size=16", "training.accumulation=4"]);
        assert!(parts.peak < dense.peak / 2);
        let one = on_cpu(&["training.batch_size=16"]);
        assert_eq!(parts.peak - one.peak, dense.gradients);
        // Frozen parameters have neither gradients nor moments.
        let lora = ["start={checkpoint: a}", "lora={rank: 4}"];
        let (lora, trained) = (on_cpu(&lora), cost(&run(&lora)).trained);
        assert_eq!((lora.gradients, lora.moments), (4 * trained, 8 * trained));
        assert!(lora.activations[0] == 0 && lora.activations[1] < dense.activations[1]);
        assert_eq!(lora.activations[2], dense.activations[2]);
    }

    #[test]
    fn traffic_in_closed_form() {
        let of = |overrides: &[&str], device| traffic(&run(overrides), device);
        let all: u64 = on_cpu(&[]).activations.iter().sum();
        let n = cost(&run(&[])).parameters;
        assert_eq!(of(&[], DeviceKind::Cpu), (2 * all + 12 * n, 28 * n));
        let bf16 = run(&["precision=bf16"]);
        let all: u64 = memory(&bf16, DeviceKind::Cuda).activations.iter().sum();
        assert_eq!(traffic(&bf16, DeviceKind::Cuda), (2 * all + 8 * n, 30 * n));
        // Frozen parameters are read but not updated.
        let lora = ["start={checkpoint: a}", "lora={rank: 4}"];
        let cost = cost(&run(&lora));
        assert_eq!(of(&lora, DeviceKind::Cpu).1, 28 * cost.trained);
    }

    #[test]
    fn bf16_halves_activations_and_adds_a_copy_of_the_weights() {
        let on_cuda = |precision| memory(&run(&[precision]), DeviceKind::Cuda);
        let (float32, bf16) = (on_cuda("precision=float32"), on_cuda("precision=bf16"));
        assert_eq!(on_cuda("precision=tf32"), float32);
        assert_eq!(bf16.weights, float32.weights / 4 * 6);
        assert_eq!((bf16.gradients, bf16.moments), (float32.gradients, float32.moments));
        let all = |m: &TrainingMemory| m.activations.iter().sum::<u64>() as f64;
        let ratio = all(&bf16) / all(&float32);
        assert!((0.5..0.52).contains(&ratio), "{ratio}");
    }
}
