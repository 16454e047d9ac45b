//! Variables: tensors with the graph that computed them, for reverse-mode differentiation.
//!
//! candle's own graph adds every gradient to a tensor of zeros, keeps each activation until the end of
//! the backward pass, and takes operations of at most three inputs. This graph passes gradients on
//! without a copy, lets an operation add to the gradient from other uses of its input, and frees what
//! an operation kept as soon as its gradient is computed. Tensors are candle's.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result, Tensor, bail};

use super::slices;

/// Computes the gradients of an operation's inputs from its output's.
type Backward = Box<dyn FnOnce(&Tensor, &mut Sink) -> Result<()> + Send>;

/// A tensor in a computation. It is tracked, that is, it requires a gradient, if it is a trained parameter
/// or the result of an operation on a tracked variable.
#[derive(Clone, Debug)]
pub struct Variable {
    tensor: Tensor,
    /// The same values in another type, for operations that compute in that type.
    copy: Option<Tensor>,
    node: Option<Arc<Node>>,
}

struct Node {
    /// Later operations have larger numbers. In descending order, every gradient is complete before
    /// it is used.
    number: u64,
    inputs: Vec<Option<Arc<Node>>>,
    /// None for a leaf.
    backward: Option<Mutex<Option<Backward>>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.backward.is_some() { "operation" } else { "leaf" };
        write!(f, "{kind} {}", self.number)
    }
}

impl Node {
    fn new(inputs: Vec<Option<Arc<Node>>>, backward: Option<Backward>) -> Arc<Node> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node { number, inputs, backward: backward.map(|b| Mutex::new(Some(b))) })
    }
}

impl Variable {
    /// A variable that gets no gradient.
    pub fn constant(tensor: Tensor) -> Variable {
        Variable { tensor: tensor.detach(), copy: None, node: None }
    }

    /// A leaf of the graph, which gets a gradient. It shares the tensor's storage, so it sees later
    /// updates.
    pub fn leaf(tensor: Tensor) -> Variable {
        Variable { tensor: tensor.detach(), copy: None, node: Some(Node::new(Vec::new(), None)) }
    }

    /// Adds a copy of its tensor in another type. The caller must update it together with the tensor.
    pub fn with_copy(self, copy: Tensor) -> Variable {
        Variable { copy: Some(copy.detach()), ..self }
    }

    /// The same values in another type, if there is a copy.
    pub fn copy(&self) -> Option<&Tensor> {
        self.copy.as_ref()
    }

    /// The result `tensor` of an operation on `inputs`. `backward` gets the gradient of the result. It
    /// is kept only if an input is tracked, and may own what it needs.
    pub fn computed(
        tensor: Tensor,
        inputs: &[&Variable],
        backward: impl FnOnce(&Tensor, &mut Sink) -> Result<()> + Send + 'static,
    ) -> Variable {
        let nodes: Vec<_> = inputs.iter().map(|v| v.node.clone()).collect();
        let node =
            nodes.iter().any(Option::is_some).then(|| Node::new(nodes, Some(Box::new(backward))));
        Variable { tensor, copy: None, node }
    }

    /// An operation composed of candle's operations. Its backward pass computes the composition again
    /// and uses candle's gradients. For devices and types without a fused operation.
    pub fn composed(
        inputs: &[&Variable],
        f: impl Fn(&[Tensor]) -> Result<Tensor> + Send + 'static,
    ) -> Result<Variable> {
        let tensors: Vec<Tensor> = inputs.iter().map(|v| v.tensor.clone()).collect();
        let output = f(&tensors)?.detach();
        Ok(Variable::computed(output, inputs, move |g, sink| {
            let vars = tensors
                .into_iter()
                .enumerate()
                .map(|(i, t)| match sink.needs_input_grad(i) && t.dtype() != DType::U32 {
                    true => candle_core::Var::from_tensor(&t).map(|var| var.into_inner()),
                    false => Ok(t),
                })
                .collect::<Result<Vec<_>>>()?;
            let products = (f(&vars)? * g)?;
            // candle's sum of a tensor without dimensions asks the GPU for no bytes, which drivers may refuse.
            let sum = if products.rank() == 0 { products } else { products.sum_all()? };
            let mut grads = sum.backward()?;
            for (i, var) in vars.iter().enumerate() {
                if let Some(gradient) = grads.remove(var) {
                    sink.add(i, gradient.detach())?;
                }
            }
            Ok(())
        }))
    }

    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    pub fn requires_grad(&self) -> bool {
        self.node.is_some()
    }

    /// Identifies the variable and its clones; None if it is not tracked.
    pub fn id(&self) -> Option<u64> {
        self.node.as_ref().map(|node| node.number)
    }

    /// The same tensor as a constant, which gets no gradient.
    pub fn detach(&self) -> Variable {
        Variable { node: None, ..self.clone() }
    }

    pub fn dims(&self) -> &[usize] {
        self.tensor.dims()
    }

    /// The same values in another shape.
    pub fn reshape(&self, dims: &[usize]) -> Result<Variable> {
        let before = self.dims().to_vec();
        let copy = self.copy.as_ref().map(|copy| copy.reshape(dims)).transpose()?;
        let reshaped = Variable::computed(self.tensor.reshape(dims)?, &[self], move |g, sink| {
            sink.add(0, g.reshape(before)?)
        });
        Ok(Variable { copy, ..reshaped })
    }

    /// Gradients of `grad_scale` times this scalar with respect to every leaf that it depends on.
    ///
    /// A graph has only one backward pass, since it frees what operations kept. A second one is an error.
    pub fn backward(self, grad_scale: f64) -> Result<Gradients> {
        let Variable { tensor, node, .. } = self;
        if tensor.elem_count() != 1 {
            bail!("a gradient is taken of a scalar, not of {:?}", tensor.dims());
        }
        let mut gradients = Gradients::default();
        let Some(node) = node else { return Ok(gradients) };
        let seed = Tensor::full(grad_scale as f32, tensor.shape(), tensor.device())?;
        let mut pending = Pending::from([(node.number, (node, seed.to_dtype(tensor.dtype())?))]);
        while let Some((number, (node, gradient))) = pending.pop_last() {
            let Some(backward) = &node.backward else {
                gradients.0.insert(number, gradient);
                continue;
            };
            let backward = backward.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(backward) = backward else {
                bail!("backward was already called on this graph")
            };
            backward(&gradient, &mut Sink { inputs: &node.inputs, pending: &mut pending })?;
        }
        Ok(gradients)
    }
}

/// Nodes with their gradient so far, by number.
type Pending = BTreeMap<u64, (Arc<Node>, Tensor)>;

/// Collects the gradients of an operation's inputs.
pub struct Sink<'a> {
    inputs: &'a [Option<Arc<Node>>],
    pending: &'a mut Pending,
}

impl Sink<'_> {
    /// Whether input `i` is tracked. The others need no gradient.
    pub fn needs_input_grad(&self, i: usize) -> bool {
        self.node(i).is_some()
    }

    fn node(&self, i: usize) -> Option<&Arc<Node>> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Adds to the gradient of input `i`. Does nothing if the input is not tracked.
    pub fn add(&mut self, i: usize, gradient: Tensor) -> Result<()> {
        let gradient = match self.take(i) {
            Some(sum) => added(&sum, &gradient)?,
            None => gradient,
        };
        self.set(i, gradient);
        Ok(())
    }

    /// Takes the gradient that other uses of input `i` gave so far. An operation can add its own part
    /// in the same pass over memory and [set](Sink::set) the sum back.
    pub fn take(&mut self, i: usize) -> Option<Tensor> {
        let number = self.node(i)?.number;
        self.pending.remove(&number).map(|(_, sum)| sum)
    }

    /// Sets the gradient of input `i`. Does nothing if the input is not tracked.
    pub fn set(&mut self, i: usize, gradient: Tensor) {
        if let Some(node) = self.node(i).cloned() {
            let before = self.pending.insert(node.number, (node, gradient));
            debug_assert!(before.is_none(), "a gradient was set over one that was not taken");
        }
    }
}

/// The sum of two tensors of the same shape, on the CPU in one parallel pass.
pub(super) fn added(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if slices::takes(&[a, b]) && a.dims() == b.dims() {
        let sum = slices::with_values([a, b], |[a, b]| Ok(slices::arithmetic::sum(a, b)))?;
        return slices::tensor(sum, a.shape(), a);
    }
    a + b
}

/// The gradients of leaves.
#[derive(Debug, Default)]
pub struct Gradients(HashMap<u64, Tensor>);

impl Gradients {
    pub fn get(&self, leaf: &Variable) -> Option<&Tensor> {
        self.0.get(&leaf.node.as_ref()?.number)
    }

    /// How many leaves have one.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn remove(&mut self, leaf: &Variable) -> Option<Tensor> {
        self.0.remove(&leaf.node.as_ref()?.number)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn leaf(values: &[f32]) -> Variable {
        Variable::leaf(Tensor::new(values, &Device::Cpu).unwrap())
    }

    fn add(a: &Variable, b: &Variable) -> Variable {
        Variable::computed((a.tensor() + b.tensor()).unwrap(), &[a, b], |g, sink| {
            sink.add(0, g.clone())?;
            sink.add(1, g.clone())
        })
    }

    fn sum(a: &Variable) -> Variable {
        Variable::composed(&[a], |t| t[0].sum_all()).unwrap()
    }

    fn numbers(t: Option<&Tensor>) -> Vec<f32> {
        t.map(|t| t.to_vec1().unwrap()).unwrap_or_default()
    }

    #[test]
    fn gradients_add_up_over_uses_and_scale_with_the_share() {
        let (a, b) = (leaf(&[1., 2.]), leaf(&[3., 4.]));
        // a is used three times, once through another operation.
        let y = sum(&add(&add(&a, &b), &add(&a, &a)));
        let grads = y.backward(0.5).unwrap();
        assert_eq!(numbers(grads.get(&a)), [1.5, 1.5]);
        assert_eq!(numbers(grads.get(&b)), [0.5, 0.5]);
    }

    #[test]
    fn constants_get_no_gradient_and_record_no_graph() {
        let (a, c) = (leaf(&[1.]), leaf(&[2.]));
        let y = add(&a, &c.detach());
        assert!(y.requires_grad() && !add(&c.detach(), &c.detach()).requires_grad());
        let grads = sum(&y).backward(1.0).unwrap();
        assert!(grads.get(&c).is_none() && grads.get(&c.detach()).is_none());
        assert!(sum(&c.detach()).backward(1.0).unwrap().0.is_empty());
    }

    #[test]
    fn backward_takes_only_scalars_and_only_once() {
        let a = leaf(&[1., 2.]);
        assert!(a.clone().backward(1.0).unwrap_err().to_string().contains("scalar"));
        let y = sum(&a);
        y.clone().backward(1.0).unwrap();
        assert!(y.backward(1.0).unwrap_err().to_string().contains("backward was already called"));
    }

    /// What an operation keeps is freed as soon as its backward pass is over, not at the end of all.
    #[test]
    fn kept_tensors_are_freed_during_the_backward_pass() {
        let kept = Arc::new(());
        let seen = Arc::downgrade(&kept);
        let a = leaf(&[1.]);
        let first = Variable::computed(a.tensor().clone(), &[&a], move |g, sink| {
            assert!(seen.upgrade().is_none(), "the later operation still holds its tensor");
            sink.add(0, g.clone())
        });
        let second = Variable::computed(first.tensor().clone(), &[&first], move |g, sink| {
            let _kept = kept;
            sink.add(0, g.clone())
        });
        sum(&second).backward(1.0).unwrap();
    }
}
