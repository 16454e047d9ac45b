//! The gradient audit: before step one, every trained parameter must receive a finite gradient
//! that is not all zeros, and frozen parameters must receive none.
//!
//! An operation without a backward pass silently cuts the graph. Training would still run and the loss
//! would fall, but part of the model would never be trained. The audit refuses such a run.

use candle_core::{Result, Tensor};

use crate::error::Fault;
use crate::nn::{Init, ParameterStore, Variable};
use crate::random::{Purpose, Stream};

/// Parameters whose gradients are wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFault {
    /// Each parameter's name, and what is wrong with it.
    pub parameters: Vec<(String, &'static str)>,
}

impl AuditFault {
    /// The message, with a line a parameter. Their names are the program's own.
    pub fn fault(&self) -> Fault {
        const MAX_NAMES: usize = 12;
        let count = self.parameters.len();
        let wrong = match count {
            1 => "the gradient of 1 parameter is wrong".to_string(),
            _ => format!("the gradients of {count} parameters are wrong"),
        };
        let named = self.parameters.iter().take(MAX_NAMES);
        let mut lines: Vec<String> = named.map(|(name, fault)| format!("{name} {fault}")).collect();
        if count > MAX_NAMES {
            lines.push(format!("and {} more", count - MAX_NAMES));
        }
        Fault::of_lines(format!("{wrong}: {}", lines.join("\n  "))).expected(
            "a finite gradient that is not all zeros for every trained parameter, none for a \
             frozen one",
        )
    }
}

/// Computes the gradients of `loss` once and checks every parameter's.
///
/// A parameter that starts at zero (LoRA's B, for example) makes gradients through it zero. So these
/// are set to small random values for the audit and restored bit for bit afterwards. A frozen parameter
/// is a constant in the model; if it gets a gradient, the model was not built as the store says.
pub fn audit(
    store: &ParameterStore,
    loss: impl FnOnce() -> Result<Variable>,
) -> Result<std::result::Result<(), AuditFault>> {
    let mut put_back = Vec::new();
    for p in store.parameters() {
        let value = p.var.as_detached_tensor().copy()?;
        if value.abs()?.sum_all()?.to_scalar::<f32>()? == 0.0 {
            let mut stream = Stream::new(store.seed(), Purpose::Audit, &p.name);
            let noise = Init::Normal { std: 0.02 }.values(p.var.elem_count(), &mut stream);
            p.set(&Tensor::from_vec(noise, p.var.dims(), store.device())?)?;
            put_back.push((p, value));
        }
    }
    let gradients = loss().and_then(|loss| loss.backward(1.0));
    for (p, value) in put_back {
        p.set(&value)?;
    }
    let gradients = gradients?;
    let mut faults = Vec::new();
    let mut known = 0;
    for p in store.parameters() {
        let gradient = gradients.get(&p.value);
        known += usize::from(gradient.is_some());
        let fault = match gradient {
            _ if p.value.requires_grad() != p.trained => {
                Some("is trained in the model but frozen in the store, or the reverse")
            }
            None if !p.trained => None,
            Some(_) if !p.trained => Some("is frozen and gets a gradient"),
            None => Some("gets no gradient"),
            Some(g) => {
                // The sum of magnitudes is not finite if one of them is not.
                let size = g.abs()?.sum_all()?.to_scalar::<f32>()?;
                match size {
                    s if !s.is_finite() => Some("gets a gradient that is not finite"),
                    0.0 => Some("gets a gradient of zeros"),
                    _ => None,
                }
            }
        };
        faults.extend(fault.map(|fault| (p.name.clone(), fault)));
    }
    if gradients.count() > known {
        // The model made its own leaf, for example of a frozen parameter's tensor.
        faults.push(("a tensor that is no trained parameter".into(), "gets a gradient"));
    }
    Ok(if faults.is_empty() { Ok(()) } else { Err(AuditFault { parameters: faults }) })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::{Kind, ParameterBuilder, Role};

    const MATRIX: Role = Role::layer(Kind::Matrix);

    fn store() -> ParameterStore {
        let mut store = ParameterStore::new(0, Device::Cpu);
        for name in ["a", "b"] {
            store.tensor(name, &[3], Init::Ones, MATRIX).unwrap();
        }
        store.tensor("zero", &[3], Init::Zeros, MATRIX).unwrap();
        store
    }

    fn faults(
        store: &ParameterStore,
        loss: impl FnOnce() -> Result<Variable>,
    ) -> Vec<(String, &'static str)> {
        audit(store, loss).unwrap().err().map(|f| f.parameters).unwrap_or_default()
    }

    fn value(store: &ParameterStore, name: &str) -> Variable {
        store.get(name).unwrap().value.clone()
    }

    #[test]
    fn a_sound_model_passes_and_keeps_its_values() {
        let store = store();
        // The gradient of `a` passes through `zero`.
        let loss = || {
            let all = ["a", "zero", "b"].map(|name| value(&store, name));
            Variable::composed(&all.each_ref(), |t| ((&t[0] * &t[1])? + &t[2])?.sum_all())
        };
        assert_eq!(faults(&store, loss), []);
        assert_eq!(value(&store, "zero").tensor().to_vec1::<f32>().unwrap(), [0.0; 3]);
    }

    #[test]
    fn a_frozen_parameter_must_get_no_gradient() {
        let trained = Box::new(|role: Role| role.kind != Kind::Bias);
        let mut store = ParameterStore::with_trained(0, Device::Cpu, trained);
        let [a, b] = [("a", Kind::Matrix), ("b", Kind::Bias)]
            .map(|(name, kind)| store.tensor(name, &[3], Init::Ones, Role::layer(kind)).unwrap());
        let loss = |b: &Variable| Variable::composed(&[&a, b], |t| (&t[0] * &t[1])?.sum_all());
        assert_eq!(faults(&store, || loss(&b)), []);
        // The model makes a leaf that the store does not know.
        let unknown = Variable::leaf(b.tensor().clone());
        let want = [("a tensor that is no trained parameter".to_string(), "gets a gradient")];
        assert_eq!(faults(&store, || loss(&unknown)), want);
    }

    #[test]
    fn each_fault_is_named() {
        let store = store();
        let cut = || {
            let a = value(&store, "a").detach();
            let (zero, b) = (value(&store, "zero"), value(&store, "b"));
            Variable::composed(&[&a, &zero, &b], |t| {
                let zero = (&t[1] * t[1].zeros_like()?)?;
                ((&t[0] + zero)? + (&t[2] / 0.0)?)?.sum_all()
            })
        };
        let want = [
            ("a".to_string(), "gets no gradient"),
            ("b".to_string(), "gets a gradient that is not finite"),
            ("zero".to_string(), "gets a gradient of zeros"),
        ];
        assert_eq!(faults(&store, cut), want);
    }
}
