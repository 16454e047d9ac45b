//! A linear layer: a weight, a bias, and LoRA where there is some. And the vectors of a block.

use candle_core::Result;

use super::weight::{Delta, Weight};
use crate::nn::ops::{self, Then, Weights};
use crate::nn::{LowRank, Pass, Value};

/// A vector parameter as a sum: a vector and the increments on it. A layer's own is one vector.
#[derive(Clone, Debug)]
pub struct Vector(Vec<Value>);

impl Vector {
    pub fn plain(vector: Value) -> Vector {
        Vector(vec![vector])
    }

    /// The same vector; with `detach` no gradient reaches it from here on.
    pub fn reference(&self, detach: bool) -> Vector {
        let stop = |v: &Value| if detach { v.detach() } else { v.clone() };
        Vector(self.0.iter().map(stop).collect())
    }

    pub fn plus(mut self, increment: Value) -> Vector {
        self.0.push(increment);
        self
    }

    /// The sum, as it is now.
    pub fn value(&self) -> Result<Value> {
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
    /// Share of x's values that `a` does not see in training.
    pub dropout: f64,
    /// The layer's name, which the dropout's masks are drawn by.
    pub name: String,
}

/// `x Wᵀ + bias`, with LoRA `x Wᵀ + bias + scale · (dropout(x) aᵀ) b`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub weight: Weight,
    pub bias: Vector,
    pub lora: Option<Lora>,
}

impl Linear {
    pub fn dense(matrix: Value, bias: Value) -> Linear {
        Linear { weight: Weight::dense(matrix), bias: Vector::plain(bias), lora: None }
    }

    /// `then(x Wᵀ + bias)`, with LoRA in the weight: x \[…, in\] → \[…, out\].
    pub fn forward(&self, x: &Value, then: Then, pass: Pass) -> Result<Value> {
        let bias = self.bias.value()?;
        let Some(lora) = &self.lora else { return self.weight.apply(x, &bias, then) };
        match pass {
            // What A sees is not what W sees: the two stay apart.
            Pass::Training(place) if lora.dropout > 0.0 => {
                let y = self.weight.apply(x, &bias, Then::Nothing)?;
                let seen = ops::dropout(x, lora.dropout, place, &lora.name)?;
                let LowRank { a, b, scale } = &lora.pair;
                let low = ops::linear(&seen, Weights::dense(a), None, Then::Nothing)?;
                let y = ops::add_product(&y, &low, b, *scale)?;
                match then {
                    Then::Nothing => Ok(y),
                    Then::Gelu => ops::gelu(&y),
                    Then::Add(value) => ops::sum(&[&y, value]),
                }
            }
            _ => self.merged().apply(x, &bias, then),
        }
    }

    /// The weight with LoRA in it, as evaluation uses it; without LoRA the weight itself.
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
    use crate::nn::{Init, Place};
    use crate::random::{Purpose, Stream};

    fn leaf(shape: &[usize], name: &str) -> Value {
        let mut stream = Stream::new(1, Purpose::Init, name);
        let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
        Value::leaf(Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    }

    fn layer(dropout: f64) -> (Linear, Value, Value) {
        let (a, b) = (leaf(&[2, 40], "a"), leaf(&[2, 5], "b"));
        let pair = LowRank { a: a.clone(), b: b.clone(), scale: 0.5 };
        let (w, bias) = (leaf(&[5, 40], "w"), leaf(&[5], "bias"));
        let frozen = Linear::dense(w.detach(), bias.detach());
        (Linear { lora: Some(Lora { pair, dropout, name: "l".into() }), ..frozen }, a, b)
    }

    fn training(step: u64) -> Pass {
        Pass::Training(Place { seed: 3, step, part: 0 })
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn dropout_acts_in_training_alone_and_is_right_on_average() {
        let x = leaf(&[7, 40], "x").detach();
        let forward =
            |layer: &Linear, pass| layer.forward(&x, Then::Nothing, pass).unwrap().tensor().clone();
        let (plain, _, _) = layer(0.0);
        let (dropping, a, b) = layer(0.25);
        let other = leaf(&[7, 5], "other");
        let whole = forward(&plain, Pass::Evaluation);
        assert!(apart(&whole, &forward(&plain, training(1))) < 1e-5);
        assert!(apart(&whole, &forward(&dropping, Pass::Evaluation)) < 1e-5);

        let one = forward(&dropping, training(1));
        assert!(apart(&one, &whole) > 1e-2, "nothing was dropped");
        assert_eq!(apart(&one, &forward(&dropping, training(1))), 0.0);
        assert!(apart(&one, &forward(&dropping, training(2))) > 1e-2);

        // The mean over many masks; its error falls with the square root of their number.
        let n = 3000;
        let mut sum = whole.zeros_like().unwrap();
        for step in 0..n {
            sum = (sum + forward(&dropping, training(step))).unwrap();
        }
        assert!(apart(&(sum / n as f64).unwrap(), &whole) < 0.4);

        // What follows the layer follows the sum, on either way.
        let ends = [Then::Gelu, Then::Add(&other)];
        for (then, end) in
            ends.into_iter().zip([&|y: &Value| ops::gelu(y), &|y: &Value| ops::sum(&[y, &other])]
                as [&dyn Fn(&Value) -> Result<Value>; 2])
        {
            let y = dropping.forward(&x, then, training(1)).unwrap();
            let want = end(&Value::constant(one.clone())).unwrap();
            assert!(apart(y.tensor(), want.tensor()) < 1e-6);
            let grads = ops::mean(&y).unwrap().backward(1.0).unwrap();
            assert!(grads.get(&a).is_some() && grads.get(&b).is_some());
        }
    }

    /// Merged and taken apart again.
    #[test]
    fn merging_is_addition() {
        let (layer, _, _) = layer(0.0);
        let merged = layer.merged().materialise().unwrap();
        let lora = layer.lora.as_ref().unwrap();
        let back = (&merged - lora.pair.product().unwrap()).unwrap();
        assert!(apart(&merged, &layer.weight.materialise().unwrap()) > 1e-2);
        assert!(apart(&back, &layer.weight.materialise().unwrap()) < 1e-5);
    }
}
