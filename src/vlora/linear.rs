//! A linear layer: a weight, a bias, and LoRA where there is some. And the vectors of a block.

use candle_core::{Result, Tensor};

use super::weight::{Delta, LowRank, Weight};
use crate::nn::{Pass, ops};

/// A vector parameter as a sum: a vector and the increments on it. A layer's own is one vector.
#[derive(Clone, Debug)]
pub struct Vector(Vec<Tensor>);

impl Vector {
    pub fn plain(vector: Tensor) -> Vector {
        Vector(vec![vector])
    }

    /// The same vector; with `detach` no gradient reaches it from here on.
    pub fn reference(&self, detach: bool) -> Vector {
        let stop = |t: &Tensor| if detach { t.detach() } else { t.clone() };
        Vector(self.0.iter().map(stop).collect())
    }

    pub fn plus(mut self, increment: Tensor) -> Vector {
        self.0.push(increment);
        self
    }

    /// The sum, as it is now.
    pub fn value(&self) -> Result<Tensor> {
        match self.0.as_slice() {
            [] => candle_core::bail!("a vector without a value"),
            [first, rest @ ..] => rest.iter().try_fold(first.clone(), |sum, t| sum + t),
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
    pub fn dense(matrix: Tensor, bias: Tensor) -> Linear {
        Linear { weight: Weight::dense(matrix), bias: Vector::plain(bias), lora: None }
    }

    /// x \[…, in\] → \[…, out\].
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let bias = self.bias.value()?;
        let Some(lora) = &self.lora else { return self.weight.apply(x, &bias) };
        let LowRank { a, b, scale } = &lora.pair;
        match pass {
            // What A sees is not what W sees: the two stay apart.
            Pass::Training(place) if lora.dropout > 0.0 => {
                let y = self.weight.apply(x, &bias)?;
                let seen = ops::dropout(x, lora.dropout, place, &lora.name)?;
                ops::add_product(&y, &ops::linear(&seen, a, None)?, b, *scale)
            }
            _ => self.merged().apply(x, &bias),
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
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::{Init, Place};
    use crate::random::{Purpose, Stream};

    fn var(shape: &[usize], name: &str) -> Var {
        let mut stream = Stream::new(1, Purpose::Init, name);
        let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn layer(dropout: f64) -> (Linear, Var, Var) {
        let (a, b) = (var(&[2, 40], "a"), var(&[2, 5], "b"));
        let pair = LowRank { a: a.as_tensor().clone(), b: b.as_tensor().clone(), scale: 0.5 };
        let (w, bias) = (var(&[5, 40], "w"), var(&[5], "bias"));
        let frozen = Linear::dense(w.as_detached_tensor(), bias.as_detached_tensor());
        (Linear { lora: Some(Lora { pair, dropout, name: "l".into() }), ..frozen }, a, b)
    }

    fn training(step: u64) -> Pass {
        Pass::Training(Place { seed: 3, epoch: 0, step, part: 0 })
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn dropout_acts_in_training_alone_and_is_right_on_average() {
        let x = var(&[7, 40], "x").as_detached_tensor();
        let (plain, _, _) = layer(0.0);
        let (dropping, a, b) = layer(0.25);
        let whole = plain.forward(&x, Pass::Evaluation).unwrap();
        assert!(apart(&whole, &plain.forward(&x, training(1)).unwrap()) < 1e-5);
        assert!(apart(&whole, &dropping.forward(&x, Pass::Evaluation).unwrap()) < 1e-5);

        let one = dropping.forward(&x, training(1)).unwrap();
        assert!(apart(&one, &whole) > 1e-2, "nothing was dropped");
        assert_eq!(apart(&one, &dropping.forward(&x, training(1)).unwrap()), 0.0);
        assert!(apart(&one, &dropping.forward(&x, training(2)).unwrap()) > 1e-2);

        // The mean over many masks; its error falls with the square root of their number.
        let n = 3000;
        let mut sum = whole.zeros_like().unwrap();
        for step in 0..n {
            sum = (sum + dropping.forward(&x, training(step)).unwrap()).unwrap();
        }
        assert!(apart(&(sum / n as f64).unwrap(), &whole) < 0.4);

        let grads = one.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(a.as_tensor()).is_some() && grads.get(b.as_tensor()).is_some());
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
