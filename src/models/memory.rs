//! The memory that training takes, in closed form: what each operation keeps for its backward pass, and
//! what that pass makes.
//!
//! A step holds most somewhere in the backward pass: at its start all that was kept is there, at its end
//! all gradients are, and each operation makes its input's gradient before it gives up what it kept.
//! So the backward pass is followed here, operation by operation, in bytes.

use std::collections::BTreeSet;

use super::vit::{cost, read, tokens};
use crate::nn::packing::Processor;
use crate::nn::{AttentionSizes, Multiplied, Size};
use crate::spec::{DeviceKind, ParameterGroup, Pool, Precision, RunSpec, Target};
use crate::vlora::WeightParts;

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
    /// Images as the model takes them.
    pub batches: u64,
    /// What is kept for the backward pass by the embedding, by each block, and by the head.
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
    let (engine, cost) = (Engine::of(device, run.precision, processor), cost(run));
    let kept: u64 = memory_beside(run, device, processor).activations.iter().sum();
    let product = if engine.copy > 0 { engine.copy } else { FLOAT };
    let micro = 2 * kept + 2 * cost.parameters * product + cost.trained * FLOAT;
    (micro, cost.trained * (FLOAT + 2 * FLOAT + 4 * FLOAT + engine.copy))
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

/// An operation, by what it does to memory.
#[derive(Clone, Copy, Debug, Default)]
struct Operation {
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
    let mut model = Model::new(run, Engine::of(device, run.precision, processor));
    let cost = cost(run);
    let layers = model.operations();
    let kept = |layer: &Vec<Operation>| layer.iter().map(|o| o.kept).sum();
    let batch = run.training.batch_size as u64;
    let image = (run.vit().channels * run.vit().image_size.pow(2)) as u64;
    let mut memory = Memory {
        weights: cost.parameters * (FLOAT + model.engine.copy),
        gradients: cost.trained * FLOAT,
        moments: 2 * cost.trained * FLOAT,
        batches: BATCHES * batch * image * model.engine.value,
        activations: layers.iter().map(kept).collect(),
        peak: 0,
    };
    let mut lasting = model.engine.own + memory.weights + memory.moments + memory.batches;
    if run.training.accumulation > 1 {
        // The sum over the micro-batches so far, beside the gradients of this one.
        lasting += memory.gradients;
    }
    let backward = peak_of_backward(&layers.concat());
    // At the end of a step nothing is left but all gradients.
    memory.peak = lasting + backward.max(memory.gradients);
    memory
}

/// The most that operations hold in their backward passes, from the last to the first.
fn peak_of_backward(operations: &[Operation]) -> u64 {
    let mut kept: u64 = operations.iter().map(|o| o.kept).sum();
    let (mut branch, mut stream, mut parameters, mut peak) = (0, 0, 0, kept);
    for o in operations.iter().rev() {
        let made = o.gradient + o.parameters + o.workspace + o.stream.unwrap_or(0);
        peak = peak.max(kept + branch + stream + parameters + made);
        kept -= o.kept;
        parameters += o.parameters;
        (branch, stream) = (o.gradient, o.stream.unwrap_or(stream));
    }
    peak
}

/// A Vision Transformer's operations.
struct Model<'a> {
    run: &'a RunSpec,
    engine: Engine,
    batch: u64,
    dim: u64,
    /// Whether a gradient is asked for of what the next operation takes.
    tracked: bool,
    /// Weights that have got a gradient from a later layer, by block and target.
    reached: BTreeSet<(usize, Target)>,
}

impl<'a> Model<'a> {
    fn new(run: &'a RunSpec, engine: Engine) -> Model<'a> {
        let (batch, dim) = (run.training.batch_size as u64, run.vit().dim as u64);
        Model { run, engine, batch, dim, tracked: false, reached: BTreeSet::new() }
    }

    /// Those of the embedding, of each block, and of the head, in the order forward.
    fn operations(&mut self) -> Vec<Vec<Operation>> {
        let depth = self.run.vit().depth;
        let mut layers = vec![self.embedding()];
        let mut tracked = vec![self.tracked];
        for block in 0..depth {
            // Which operations are tracked is found forward.
            self.block(block);
            tracked.push(self.tracked);
        }
        // Which gradients are new is found backward.
        self.reached.clear();
        let mut blocks = Vec::new();
        for block in (0..depth).rev() {
            self.tracked = tracked[block];
            blocks.push(self.block(block));
        }
        layers.extend(blocks.into_iter().rev());
        self.tracked = tracked[depth];
        layers.push(self.head());
        layers
    }

    /// Bytes of a matrix of activations.
    fn matrix(&self, rows: u64, width: u64) -> u64 {
        rows * width * self.engine.value
    }

    fn trains(&self, group: ParameterGroup) -> bool {
        self.run.lora.as_ref().is_none_or(|lora| lora.also_train.contains(&group))
    }

    fn embedding(&mut self) -> Vec<Operation> {
        let m = self.run.vit();
        let (side, all) = (m.patch_size as u64, tokens(m) as u64);
        let patches = (m.image_size as u64 / side).pow(2);
        let (inputs, rows) = (m.channels as u64 * side * side, self.batch * patches);
        let whole = self.run.lora.is_none();
        self.tracked = whole || self.trains(ParameterGroup::Biases);
        if !self.tracked {
            return Vec::new();
        }
        let of_whole = |values: u64| if whole { values * FLOAT } else { 0 };
        let embedded = self.matrix(rows, self.dim);
        let multiplied = Multiplied {
            rows: rows as usize,
            size: Size { input: inputs as usize, output: self.dim as usize },
            x: false,
            matrix: whole,
            folded: 0,
            thin: false,
        };
        let linear = Operation {
            kept: self.matrix(rows, inputs),
            workspace: self.engine.processor.as_ref().map_or(0, |p| multiplied.scratch(p)),
            parameters: of_whole(inputs * self.dim) + self.dim * FLOAT,
            ..Operation::default()
        };
        let positions = Operation {
            kept: if self.engine.keeps_embedded { embedded } else { 0 },
            gradient: embedded,
            stream: Some(0),
            parameters: of_whole(all * self.dim),
            ..Operation::default()
        };
        vec![linear, positions]
    }

    fn block(&mut self, block: usize) -> Vec<Operation> {
        let m = self.run.vit();
        let all = tokens(m);
        let queries = read(block, m.depth, m.pool, all);
        let (n, q) = (self.batch * all as u64, self.batch * queries as u64);
        let (dim, hidden) = (self.dim, m.hidden() as u64);
        let mut operations = vec![self.norm(n), self.linear(block, Target::AttnQkv, n)];
        operations.push(self.attention(all, queries));
        if queries < all {
            // What nobody reads gets zeros, then the two are put together.
            let rest = self.matrix(n - q, dim);
            let stream = Some(self.matrix(n, dim));
            operations.push(Operation { stream, workspace: rest, ..Operation::default() });
            // The gradient of attention's result stays meanwhile.
            operations
                .last_mut()
                .into_iter()
                .for_each(|o| o.gradient = q * dim * self.engine.value);
        }
        operations.push(self.linear(block, Target::AttnProj, q));
        operations.push(self.norm(q));
        let mut first = self.linear(block, Target::MlpFc1, q);
        if self.tracked {
            // The derivative of GELU, in whose memory its gradient is made.
            first.kept += self.matrix(q, hidden);
            if self.engine.gelu_apart {
                first.workspace += self.matrix(q, hidden);
            }
        }
        operations.push(first);
        operations.push(self.linear(block, Target::MlpFc2, q));
        operations
    }

    fn norm(&mut self, rows: u64) -> Operation {
        let trained = self.trains(ParameterGroup::Norms);
        let takes = self.tracked;
        self.tracked |= trained;
        if !self.tracked {
            return Operation::default();
        }
        let x = self.matrix(rows, self.dim);
        let partial = self.engine.partial.map_or(0, |(rows_apart, ..)| {
            // Of the scale's gradient and of the shift's.
            2 * rows.div_ceil(rows_apart as u64) * self.dim * FLOAT
        });
        Operation {
            // With mean and deviation of each row.
            kept: x + 2 * rows * FLOAT,
            stream: takes.then_some(x),
            parameters: if trained { 2 * self.dim * FLOAT } else { 0 },
            workspace: partial,
            ..Operation::default()
        }
    }

    /// A layer on `rows` rows. What it gives to the residual stream or to GELU is others'.
    fn linear(&mut self, block: usize, target: Target, rows: u64) -> Operation {
        let shape = self.run.model.target_shape(target);
        let (output, input) = (shape.0 as u64, shape.1 as u64);
        let parts = WeightParts::of(self.run, block, target);
        let bias = self.trains(ParameterGroup::Biases);
        let takes = self.tracked;
        self.tracked |= bias || !parts.reached.is_empty();
        if !self.tracked {
            return Operation::default();
        }
        let (x, weight) = (self.matrix(rows, input), output * input * FLOAT);
        let mut made = Operation { kept: x, ..Operation::default() };
        if takes {
            made.gradient = x;
        }
        if parts.products > 0 && self.engine.keeps_folded {
            made.kept += output * input * self.engine.value;
        } else if parts.products > 0 && takes {
            // Folded once more for x's gradient.
            made.workspace += weight;
        }
        if parts.summed {
            made.kept += weight;
        }
        for (layer, values) in &parts.reached {
            match self.reached.insert((*layer, target)) {
                true => made.parameters += values * FLOAT,
                // Its sum with the new part, and the part.
                false => made.workspace += 2 * values * FLOAT,
            }
        }
        if bias {
            made.parameters += output * FLOAT;
        }
        let dense = parts.has_dense_gradient(rows as usize, shape);
        if dense && !parts.matrix_is_trained() {
            made.workspace += weight;
        }
        if let Some((_, thin, plain)) = self.engine.partial {
            let ranks = if dense { 0 } else { parts.trained_rank() as u64 };
            let apart = if ranks > 0 { thin } else { plain };
            let pieces = rows.div_ceil(apart as u64).max((rows / 64).min(8));
            // Once by blocks, once in a row.
            made.workspace += 2 * pieces * (ranks * (output + input) + output) * FLOAT;
        }
        if let Some(processor) = &self.engine.processor {
            let multiplied = Multiplied {
                rows: rows as usize,
                size: Size { input: shape.1, output: shape.0 },
                x: takes,
                matrix: dense,
                folded: if takes && parts.products > 0 { parts.trained_rank() } else { 0 },
                thin: !dense && parts.trained_rank() > 0,
            };
            made.workspace += multiplied.scratch(processor);
        }
        if let Some(rank) = parts.apart {
            // What A sees of x, and what it makes of it; backward the mask, and two gradients of x.
            made.kept += x + self.matrix(rows, rank as u64);
            made.workspace += 3 * x;
        }
        made
    }

    fn attention(&self, all: usize, queries: usize) -> Operation {
        if !self.tracked {
            return Operation::default();
        }
        let m = self.run.vit();
        let (heads, q) = (m.heads as u64, self.batch * queries as u64);
        let qkv = self.matrix(self.batch * all as u64, 3 * self.dim);
        let weights = match all <= self.engine.weights_up_to * (m.dim / m.heads) {
            true => self.matrix(q * heads, all as u64),
            false => q * heads * FLOAT,
        };
        let sizes = AttentionSizes { queries, keys: all, heads: m.heads, d: m.dim / m.heads };
        let scratch = |p| sizes.backward_scratch(self.batch as usize, false, p);
        let workspace = self.engine.processor.as_ref().map_or(0, scratch);
        Operation { kept: qkv + weights, gradient: qkv, workspace, ..Operation::default() }
    }

    fn head(&mut self) -> Vec<Operation> {
        let m = self.run.vit();
        let (dim, classes, batch) = (self.dim, m.classes as u64, self.batch);
        let mut operations = Vec::new();
        if m.pool == Pool::Mean {
            let all = self.matrix(batch * tokens(m) as u64, dim);
            operations.push(Operation { stream: Some(all), ..Operation::default() });
        }
        let trained = self.trains(ParameterGroup::Head);
        operations.push(self.norm(batch));
        operations.push(Operation {
            kept: self.matrix(batch, dim),
            gradient: self.matrix(batch, dim),
            parameters: if trained { (classes * dim + classes) * FLOAT } else { 0 },
            ..Operation::default()
        });
        // Cross-entropy, with a sum for each row.
        operations.push(Operation {
            kept: self.matrix(batch, classes) + batch * FLOAT,
            gradient: self.matrix(batch, classes),
            ..Operation::default()
        });
        operations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// The case of `memory_is_what_the_formula_says` in tests/bench.rs that is the widest.
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
