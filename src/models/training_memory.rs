//! The memory that training takes: what each operation of a model keeps for its backward pass, and what
//! that pass makes.
//!
//! A step holds most somewhere in the backward pass: at its start all that was kept is there, at its end
//! all gradients are, and each operation makes its input's gradient before it gives up what it kept.
//! So the backward pass is followed here, operation by operation, in bytes.

use std::collections::BTreeSet;

use super::description::{Description, ParameterInfo};
use super::operations::{Attention, LayerNorm, Linear, Operation};
use crate::nn::packing::Processor;
use crate::nn::{AttentionSizes, Multiplied, Size};
use crate::spec::{DeviceKind, Precision, RunSpec};
use crate::vlora::Leaf;

/// Bytes of a float32.
const FLOAT: u64 = 4;
/// Batches that are there at once: the one that is worked on, two that wait, one that is being made.
const BATCHES: u64 = 4;

/// What the program holds on the CPU besides what is counted here: its spec and records, and what each
/// thread has for its work. Measured on one to eight threads: 150,000 bytes and 7,500 a thread.
const PROGRAM: u64 = 256 << 10;
const A_THREAD: u64 = 8 << 10;

/// What training takes, in bytes. The parts are not all there at once, so they may add up to more
/// than the peak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of all parameters, with the copies that products take.
    pub weights: u64,
    pub gradients: u64,
    /// AdamW's.
    pub moments: u64,
    /// Inputs as the model takes them.
    pub batches: u64,
    /// What is kept for the backward pass by the embedding, by each layer, and by the head.
    pub activations: Vec<u64>,
    /// The most that is there at once during a step. Decoded data, of which batches are made, are
    /// not among it.
    pub peak: u64,
}

/// The least bytes that a micro-batch moves, and an optimiser step besides. What is kept is written
/// once and read once; weights are read both ways, in the type of products; gradients are written. An
/// update reads those, reads and writes parameters and moments, and writes the copies.
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

/// Values of all parameters, and of those that are trained.
fn sizes(description: &Description) -> (u64, u64) {
    let sum = |trained_only: bool| -> u64 {
        let counted = description.parameters.iter().filter(|p| p.trained || !trained_only);
        counted.map(ParameterInfo::values).sum()
    };
    (sum(false), sum(true))
}

/// How a device's operations hold what they keep.
#[derive(Clone, Copy, Debug)]
struct Engine {
    /// Bytes of a value of an activation, or of an activation's gradient.
    value: u64,
    /// Bytes of a parameter's copy that products take; 0 where they take the parameter.
    copy: u64,
    /// Attention keeps its weights up to so many tokens for each value of a head, beyond them the
    /// logarithms of their sums.
    weights_up_to: usize,
    /// Rows whose part of a sum over rows is kept until the sum is made, for norms; the same for
    /// linear layers with low-rank products, and without. None: sums are made in place.
    partial: Option<(usize, usize, usize)>,
    /// A weight with its increments added is kept to the backward pass; elsewhere it is made again.
    keeps_folded: bool,
    /// GELU's gradient is made beside its result's.
    gelu_apart: bool,
    /// The embedding's result before positions is kept.
    keeps_embedded: bool,
    /// What is there whatever the model: on the CPU the program's own, and the buffers that threads keep
    /// for matrix products; on a GPU what cuBLASLt works in.
    own: u64,
    /// Whose products pack their operands into memory of their own; None: that is in `own`.
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
            gelu_apart: false,
            keeps_embedded: true,
            own: PROGRAM + processor.threads as u64 * A_THREAD + processor.kept(),
            processor: Some(processor),
        };
        let gpu = Engine {
            weights_up_to: 0,
            partial: None,
            keeps_folded: true,
            gelu_apart: true,
            keeps_embedded: false,
            own: 32 << 20,
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

/// What an operation does to memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Effect {
    /// Held until its backward pass is over, its input among it.
    kept: u64,
    /// The gradient that its backward pass makes for the operation before it.
    gradient: u64,
    /// The residual stream's gradient once its backward pass is over; None where that stays as it is.
    stream: Option<u64>,
    /// Gradients of parameters, which stay to the end of the step.
    parameters: u64,
    /// What its backward pass makes and gives up again.
    workspace: u64,
}

/// The memory of a run's optimiser steps on a device of this kind, the CPU being this machine's.
pub fn memory(run: &RunSpec, device: DeviceKind) -> Memory {
    memory_beside(run, device, Processor::here())
}

/// The same with a processor of any kind.
pub fn memory_beside(run: &RunSpec, device: DeviceKind, processor: Processor) -> Memory {
    let engine = Engine::of(device, run.precision, processor);
    let description = Description::of(run);
    let (parameters, trained) = sizes(&description);
    let layers = engine.effects(&description);
    let mut memory = Memory {
        weights: parameters * (FLOAT + engine.copy),
        gradients: trained * FLOAT,
        moments: 2 * trained * FLOAT,
        batches: BATCHES * description.inputs * engine.value,
        activations: layers.iter().map(|layer| kept(layer)).collect(),
        peak: 0,
    };
    let mut lasting = engine.own + memory.weights + memory.moments + memory.batches;
    if run.training.accumulation > 1 {
        // The sum over the micro-batches so far, beside the gradients of this one.
        lasting += memory.gradients;
    }
    let backward = peak_of_backward(&layers.concat());
    // At the end of a step nothing is left but all gradients.
    memory.peak = lasting + backward.max(memory.gradients);
    memory
}

/// What a layer's operations hold between forward and backward.
fn kept(layer: &[Effect]) -> u64 {
    layer.iter().map(|effect| effect.kept).sum()
}

/// The most that operations hold in their backward passes, from the last to the first.
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

/// Gradients of parameters so far in a backward pass.
#[derive(Default)]
struct Reached(BTreeSet<u64>);

impl Reached {
    /// What gradients of these parameters take: bytes that stay, and bytes that are given up again.
    fn add(&mut self, leaves: &[Leaf]) -> (u64, u64) {
        let (mut stays, mut workspace) = (0, 0);
        for leaf in leaves {
            match self.0.insert(leaf.number) {
                true => stays += leaf.values * FLOAT,
                // Its sum with the new part, and the part.
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

    /// The effects of each layer's operations, in the order forward.
    fn effects(&self, description: &Description) -> Vec<Vec<Effect>> {
        // Forward: from the first trained parameter on, operations take values that need a gradient.
        let mut tracked = false;
        let mut takes: Vec<bool> = Vec::new();
        for operation in description.layers.iter().flatten() {
            takes.push(tracked);
            tracked |= !operation.leaves().is_empty();
        }
        // Backward: which gradients of parameters are new.
        let mut reached = Reached::default();
        let mut layers = Vec::new();
        for layer in description.layers.iter().rev() {
            let mut effects: Vec<Effect> = Vec::new();
            let first = takes.len() - layer.len();
            for (operation, takes) in layer.iter().zip(&takes[first..]).rev() {
                effects.push(self.effect(operation, *takes, &mut reached));
            }
            takes.truncate(first);
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

    /// Of one operation; `takes` says whether a gradient of its input is asked for.
    fn effect(&self, operation: &Operation, takes: bool, reached: &mut Reached) -> Effect {
        if !takes && operation.leaves().is_empty() {
            return Effect::default();
        }
        match operation {
            Operation::Linear(linear) => self.linear(linear, takes, reached),
            Operation::Projections(all) => self.projections(all, takes, reached),
            Operation::LayerNorm(norm) => self.norm(norm, takes, reached),
            Operation::Attention(attention) => self.attention(attention),
            Operation::FirstTokens { batch, tokens, kept, width } => Effect {
                // What is not needed gets zeros, then the two are put together, while the gradient
                // of attention's result stays.
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
                // Which values are dropped is drawn again.
                Effect { gradient: self.matrix(*rows, *width), ..Effect::default() }
            }
            Operation::CrossEntropy { rows, classes } => Effect {
                // With a sum for each row.
                kept: self.matrix(*rows, *classes) + *rows as u64 * FLOAT,
                gradient: self.matrix(*rows, *classes),
                ..Effect::default()
            },
        }
    }

    fn norm(&self, norm: &LayerNorm, takes: bool, reached: &mut Reached) -> Effect {
        let LayerNorm { rows, width, leaves } = norm;
        let x = self.matrix(*rows, *width);
        let partial = self.partial.map_or(0, |(rows_apart, ..)| {
            // Of the scale's gradient and of the shift's.
            2 * rows.div_ceil(rows_apart) as u64 * *width as u64 * FLOAT
        });
        let (parameters, workspace) = reached.add(leaves);
        Effect {
            // With mean and deviation of each row.
            kept: x + 2 * *rows as u64 * FLOAT,
            stream: takes.then_some(x),
            parameters,
            workspace: partial + workspace,
            ..Effect::default()
        }
    }

    /// What it gives to the residual stream is that's; GELU is its own.
    fn linear(&self, linear: &Linear, takes: bool, reached: &mut Reached) -> Effect {
        let (rows, usage) = (linear.rows, &linear.usage);
        let (output, input) = usage.sides;
        let (x, weight) = (self.matrix(rows, input), (output * input) as u64 * FLOAT);
        let mut made = Effect { kept: x, ..Effect::default() };
        if takes {
            made.gradient = x;
        }
        if usage.products > 0 && self.keeps_folded {
            made.kept += (output * input) as u64 * self.value;
        } else if usage.products > 0 && takes {
            // Folded once more for x's gradient.
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
            // Once by blocks, once in a row.
            made.workspace += 2 * (pieces * (ranks * (output + input) + output)) as u64 * FLOAT;
        }
        if let Some(processor) = &self.processor {
            let multiplied = Multiplied {
                rows,
                size: Size { input, output },
                x: takes,
                matrix: dense,
                folded: if takes && usage.products > 0 { usage.trained_rank() } else { 0 },
                thin: !dense && usage.trained_rank() > 0,
            };
            made.workspace += multiplied.scratch(processor);
        }
        if let Some(rank) = usage.apart {
            // What A sees of x, and what it makes of it; backward the mask, and two gradients of x.
            made.kept += x + self.matrix(rows, rank);
            made.workspace += 3 * x;
        }
        if linear.gelu {
            // The derivative of GELU, in whose memory its gradient is made.
            let hidden = self.matrix(rows, output);
            made.kept += hidden;
            if self.gelu_apart {
                made.workspace += hidden;
            }
        }
        made
    }

    /// Linear layers of one input, which is kept once; their gradients of it are added up.
    fn projections(&self, all: &[Linear], takes: bool, reached: &mut Reached) -> Effect {
        let mut made = Effect::default();
        let shared = all.iter().map(|l| self.matrix(l.rows, l.usage.sides.1)).max().unwrap_or(0);
        for linear in all.iter().rev() {
            let Effect { kept, gradient, parameters, workspace, .. } =
                self.linear(linear, takes, reached);
            let x = self.matrix(linear.rows, linear.usage.sides.1);
            made.kept += kept - x;
            made.gradient = made.gradient.max(gradient);
            made.parameters += parameters;
            // The sum so far, beside the next part.
            made.workspace = made.workspace.max(workspace + gradient);
        }
        made.kept += shared;
        made
    }

    fn attention(&self, attention: &Attention) -> Effect {
        let Attention { batch, tokens, queries, heads, head_size, packed, dropped } = *attention;
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

    fn on_cpu(overrides: &[&str]) -> Memory {
        memory_beside(&run(overrides), DeviceKind::Cpu, EPYC)
    }

    /// The case of `memory_is_what_the_formula_says` in tests/suite/bench.rs that is the widest.
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

    /// Where a test that ran on the first machine failed on the second: the threads' buffers are four
    /// times as large there. 25,172,430 bytes were counted on that machine.
    #[test]
    fn a_processor_with_larger_caches_takes_more() {
        let run = run(&WIDE);
        let of = |processor| memory_beside(&run, DeviceKind::Cpu, processor).peak;
        let off = of(XEON) as f64 / 25_172_430.0 - 1.0;
        assert!((0.0..0.03).contains(&off), "{off}");
        // Its own buffers of 2 MiB in place of three of 512 KiB; what is packed besides is little.
        let more = (of(XEON) - of(EPYC)) as f64 / (3 << 20) as f64;
        assert!((1.45..1.6).contains(&more), "{more}");
        // Of each further thread the buffer, and of attention's scores what it works on.
        let of_threads = |threads| of(Processor { threads, ..XEON });
        let each = (of_threads(64) - of_threads(2)) as f64 / 62.0;
        assert!(each >= f64::from(2 << 20) && each < f64::from(2 << 20) * 1.02, "{each}");
    }

    /// A block of n tokens of width d keeps, in values: x and its norm 2d, q, k and v 3d, what they
    /// mix d, x and its norm again 2d, and the MLP's hidden values with GELU's derivative 8d; two
    /// moments a norm; and attention's weights.
    #[test]
    fn a_block_keeps_what_its_operations_need() {
        let kept = on_cpu(&[]).activations;
        assert_eq!(kept.len(), 1 + 12 + 1);
        let (rows, weights) = (64 * 65, 64 * 3 * 65 * 65);
        for block in &kept[1..12] {
            assert_eq!(*block, 4 * (rows * (16 * 192 + 4) + weights));
        }
        // Of the last, only the class token is read behind attention.
        let (all, one) = (64 * 65, 64);
        let last = all * (5 * 192 + 2) + one * (11 * 192 + 2) + 64 * 3 * 65;
        assert_eq!(kept[12], 4 * last);
        assert_eq!(kept[0], 4 * 64 * 64 * (48 + 192));
        // Beyond three tokens for each value of a head, a number a row instead.
        let narrow = on_cpu(&["model.heads=12"]).activations;
        assert_eq!(narrow[1], 4 * (rows * (16 * 192 + 4) + 64 * 12 * 65));
    }

    #[test]
    fn parts_follow_what_they_are_of() {
        let (dense, vlora) = (on_cpu(&[]), on_cpu(&["method=vlora"]));
        let parameters = cost(&run(&[])).parameters;
        assert_eq!((dense.weights, dense.gradients), (4 * parameters, 4 * parameters));
        assert_eq!(dense.moments, 8 * parameters);
        assert_eq!(dense.activations, vlora.activations);
        assert!(vlora.peak < dense.peak);
        // A matrix of its own, summed for the pass, is kept beside its gradient.
        let full = on_cpu(&["method=vlora", "vlora.rank=full"]);
        assert_eq!(full.activations[2] - dense.activations[2], 4 * 12 * 192 * 192);
        assert_eq!(full.activations[1], dense.activations[1]);
        // Micro-batches keep less, and the sum of their gradients besides.
        let parts = on_cpu(&["training.batch_size=16", "training.accumulation=4"]);
        assert!(parts.peak < dense.peak / 2);
        let one = on_cpu(&["training.batch_size=16"]);
        assert_eq!(parts.peak - one.peak, dense.gradients);
        // What is frozen has neither gradients nor moments.
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
        // What is frozen is read, and not updated.
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
        let all = |m: &Memory| m.activations.iter().sum::<u64>() as f64;
        let ratio = all(&bf16) / all(&float32);
        assert!((0.5..0.52).contains(&ratio), "{ratio}");
    }
}
