//! A linear layer (a weight, a bias, and LoRA if the run uses it), and the vectors of a layer.

use candle_core::Result;

use super::weight::{Delta, Weight};
use crate::nn::ops::{self, Epilogue, Weights};
use crate::nn::{LowRank, Mode, Variable};

/// A vector parameter as a sum: a vector and its increments. A dense layer has the vector alone.
#[derive(Clone, Debug)]
pub struct Vector(Vec<Variable>);

impl Vector {
    pub fn plain(vector: Variable) -> Vector {
        Vector(vec![vector])
    }

    /// The same vector. With `detach`, gradients of the result do not reach it.
    pub fn reference(&self, detach: bool) -> Vector {
        let stop = |v: &Variable| if detach { v.detach() } else { v.clone() };
        Vector(self.0.iter().map(stop).collect())
    }

    pub fn plus(mut self, increment: Variable) -> Vector {
        self.0.push(increment);
        self
    }

    /// The parameters that are added up.
    pub(super) fn parameters(&self) -> &[Variable] {
        &self.0
    }

    /// The sum of the parameters' current values.
    pub fn value(&self) -> Result<Variable> {
        match self.0.as_slice() {
            [] => candle_core::bail!("a vector without a value"),
            [only] => Ok(only.clone()),
            all => ops::sum(&all.iter().collect::<Vec<_>>()),
        }
    }
}

/// LoRA on one linear layer (arXiv 2106.09685): `scale · bᵀ a` beside a frozen weight.
#[derive(Clone, Debug)]
pub struct Lora {
    pub pair: LowRank,
    /// Dropout rate of x before `a` (PEFT's `lora_dropout`).
    pub dropout: f64,
    /// The layer's name, which seeds its dropout masks.
    pub name: String,
}

/// `x Wᵀ + bias`, with LoRA `x Wᵀ + bias + scale · (dropout(x) aᵀ) b`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub weight: Weight,
    /// None if the layer has none.
    pub bias: Option<Vector>,
    pub lora: Option<Lora>,
}

impl Linear {
    pub fn dense(matrix: Variable, bias: Option<Variable>) -> Linear {
        Linear { weight: Weight::dense(matrix), bias: bias.map(Vector::plain), lora: None }
    }

    /// `epilogue(x Wᵀ + bias)`, where W includes LoRA: x \[…, in\] → \[…, out\].
    pub fn forward(&self, x: &Variable, epilogue: Epilogue, mode: Mode) -> Result<Variable> {
        let bias = self.bias.as_ref().map(Vector::value).transpose()?;
        let bias = bias.as_ref();
        let Some(lora) = &self.lora else { return self.weight.apply(x, bias, epilogue) };
        match mode.dropout(lora.dropout, &lora.name) {
            // A and W have different inputs, so LoRA's product cannot be folded into W.
            Some(dropout) => {
                let y = self.weight.apply(x, bias, Epilogue::None)?;
                let seen = ops::dropout(x, &dropout)?;
                let LowRank { a, b, scale } = &lora.pair;
                let low = ops::linear(&seen, Weights::dense(a), None, Epilogue::None)?;
                let y = ops::add_product(&y, &low, b, *scale)?;
                match epilogue {
                    Epilogue::None => Ok(y),
                    Epilogue::Gelu(form) => ops::gelu(&y, form),
                    Epilogue::Add(value) => ops::sum(&[&y, value]),
                }
            }
            None => self.merged().apply(x, bias, epilogue),
        }
    }

    /// The weight including LoRA, as evaluation uses it. Without LoRA, the weight itself.
    pub fn merged(&self) -> Weight {
        match &self.lora {
            Some(lora) => self.weight.clone().plus(Delta::LowRank(lora.pair.clone())),
            None => self.weight.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::ops::Gelu;
    use crate::nn::{Init, StepKey};
    use crate::random::{Purpose, Stream};

    fn leaf(shape: &[usize], name: &str) -> Variable {
        let mut stream = Stream::new(1, Purpose::Init, name);
        let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
        Variable::leaf(Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    }

    fn layer(dropout: f64) -> (Linear, Variable, Variable) {
        let (a, b) = (leaf(&[2, 40], "a"), leaf(&[2, 5], "b"));
        let pair = LowRank { a: a.clone(), b: b.clone(), scale: 0.5 };
        let (w, bias) = (leaf(&[5, 40], "w"), leaf(&[5], "bias"));
        let frozen = Linear::dense(w.detach(), Some(bias.detach()));
        (Linear { lora: Some(Lora { pair, dropout, name: "l".into() }), ..frozen }, a, b)
    }

    fn training(step: u64) -> Mode {
        Mode::Training(StepKey { seed: 3, step, part: 0 })
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn dropout_acts_only_in_training_and_keeps_the_mean() {
        let x = leaf(&[7, 40], "x").detach();
        let forward = |layer: &Linear, mode| {
            layer.forward(&x, Epilogue::None, mode).unwrap().tensor().clone()
        };
        let (plain, _, _) = layer(0.0);
        let (dropping, a, b) = layer(0.25);
        let other = leaf(&[7, 5], "other");
        let whole = forward(&plain, Mode::Evaluation);
        assert!(apart(&whole, &forward(&plain, training(1))) < 1e-5);
        assert!(apart(&whole, &forward(&dropping, Mode::Evaluation)) < 1e-5);

        let one = forward(&dropping, training(1));
        assert!(apart(&one, &whole) > 1e-2, "nothing was dropped");
        assert_eq!(apart(&one, &forward(&dropping, training(1))), 0.0);
        assert!(apart(&one, &forward(&dropping, training(2))) > 1e-2);

        // The error of the mean falls with the square root of the number of masks.
        let n = 3000;
        let mut sum = whole.zeros_like().unwrap();
        for step in 0..n {
            sum = (sum + forward(&dropping, training(step))).unwrap();
        }
        assert!(apart(&(sum / n as f64).unwrap(), &whole) < 0.4);

        // The epilogue applies to the sum of both products.
        let ends = [Epilogue::Gelu(Gelu::Exact), Epilogue::Add(&other)];
        for (epilogue, end) in
            ends.into_iter().zip([&|y: &Variable| ops::gelu(y, Gelu::Exact), &|y: &Variable| {
                ops::sum(&[y, &other])
            }] as [&dyn Fn(&Variable) -> Result<Variable>; 2])
        {
            let y = dropping.forward(&x, epilogue, training(1)).unwrap();
            let want = end(&Variable::constant(one.clone())).unwrap();
            assert!(apart(y.tensor(), want.tensor()) < 1e-6);
            let grads = ops::mean(&y).unwrap().backward(1.0).unwrap();
            assert!(grads.get(&a).is_some() && grads.get(&b).is_some());
        }
    }

    /// Subtracting LoRA's product from the merged weight gives the weight back.
    #[test]
    fn merging_adds_the_product() {
        let (layer, _, _) = layer(0.0);
        let merged = layer.merged().merged_matrix().unwrap();
        let lora = layer.lora.as_ref().unwrap();
        let back = (&merged - lora.pair.product().unwrap()).unwrap();
        assert!(apart(&merged, &layer.weight.merged_matrix().unwrap()) > 1e-2);
        assert!(apart(&back, &layer.weight.merged_matrix().unwrap()) < 1e-5);
    }
}
