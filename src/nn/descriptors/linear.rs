//! Linear layers: the weight, the epilogue, and the order of the inputs.

use crate::nn::graph::Variable;
use crate::nn::low_rank::LowRank;

/// The two forms of GELU, `x Φ(x)` with Φ the normal distribution function (arXiv 1606.08415).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// With the error function.
    Exact,
    /// With `½ (1 + tanh(√(2/π) (x + 0.044715 x³)))` for Φ(x), as in GPT-2.
    Tanh,
}

/// What is applied to x Wᵀ + b in a linear layer. `T` is the type of an added term: a variable of the
/// graph, values in a kernel, or `()` if only the kind of epilogue matters.
#[derive(Debug, PartialEq, Eq)]
pub enum Epilogue<'a, T: ?Sized = Variable> {
    None,
    Gelu(Gelu),
    /// Adds a term of the result's shape: the residual stream.
    Add(&'a T),
}

impl<T: ?Sized> Clone for Epilogue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Epilogue<'_, T> {}

impl<T: ?Sized> Epilogue<'_, T> {
    /// The same without the term.
    pub fn kind(self) -> Epilogue<'static, ()> {
        match self {
            Epilogue::None => Epilogue::None,
            Epilogue::Gelu(form) => Epilogue::Gelu(form),
            Epilogue::Add(_) => Epilogue::Add(&()),
        }
    }
}

/// The weight of a linear layer: a matrix \[out, in\] plus low-rank products.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    pub matrix: &'a Variable,
    pub products: &'a [LowRank],
    /// Whether the CPU projects the factors' gradients from the matrix's gradient. Otherwise they are
    /// computed by thin products with the input and the result's gradient.
    pub project: bool,
}

impl<'a> Weights<'a> {
    pub fn dense(matrix: &'a Variable) -> Weights<'a> {
        Weights { matrix, products: &[], project: false }
    }
}

/// The sizes of a weight.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub input: usize,
    pub output: usize,
}

impl Size {
    pub fn weights(self) -> usize {
        self.input * self.output
    }
}

/// A linear layer on a list of inputs: x, matrix, \[bias,\] \[added term,\] a, b, a, b, ….
#[derive(Clone, Debug)]
pub struct Linear {
    pub size: Size,
    /// Shape of the result.
    pub dims: Vec<usize>,
    pub bias: bool,
    pub epilogue: Epilogue<'static, ()>,
    /// The scale of each low-rank product.
    pub scales: Vec<f64>,
    /// As in [`Weights`].
    pub project: bool,
}

impl Linear {
    pub fn adds(&self) -> bool {
        matches!(self.epilogue, Epilogue::Add(()))
    }

    /// The index of the added term among the inputs.
    pub fn added(&self) -> usize {
        2 + usize::from(self.bias)
    }

    /// The index of the first factor among the inputs.
    pub fn factors(&self) -> usize {
        self.added() + usize::from(self.adds())
    }
}
