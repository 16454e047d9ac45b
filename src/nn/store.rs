//! Parameters by name, in the order in which the model asks for them.
//!
//! A model is written once, against [`ParameterBuilder`]. Built on a [`ParameterStore`], it creates its
//! parameters and tracks gradients. Built on a [`Frozen`] view of the store, it reads the same values
//! without a graph.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::graph::Variable;
use super::init::Init;
use super::role::Role;
use crate::random::{Purpose, Stream};

/// Where a model gets its parameters from.
pub trait ParameterBuilder {
    /// The parameter `name` of this shape. It starts as `init` unless its values are given.
    fn tensor(&mut self, name: &str, shape: &[usize], init: Init, role: Role) -> Result<Variable>;
}

/// A parameter, with the variable that models use.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    pub var: Var,
    /// A copy of the values in the type that products are computed in.
    pub copy: Option<Tensor>,
    /// The variable that models use. Tracked if the parameter is trained.
    pub value: Variable,
    pub role: Role,
    /// Whether it gets gradients and updates. A frozen parameter is a constant in the model.
    pub trained: bool,
}

impl Parameter {
    /// Sets the values and the copy.
    pub fn set(&self, values: &Tensor) -> Result<()> {
        self.var.set(values)?;
        match &self.copy {
            Some(copy) => copy.slice_set(&values.to_dtype(copy.dtype())?, 0, 0),
            None => Ok(()),
        }
    }
}

/// Says which parameters are trained.
pub type Trained = Box<dyn Fn(Role) -> bool>;

/// A model's parameters, float32, in a fixed order.
pub struct ParameterStore {
    seed: u64,
    device: Device,
    trained: Trained,
    copies: Option<DType>,
    parameters: Vec<Parameter>,
    by_name: HashMap<String, usize>,
}

impl ParameterStore {
    /// An empty store whose parameters start from random streams of `seed`.
    pub fn new(seed: u64, device: Device) -> ParameterStore {
        ParameterStore::with_trained(seed, device, Box::new(|_| true))
    }

    /// An empty store that trains the parameters for which `trained` is true, and freezes the others.
    pub fn with_trained(seed: u64, device: Device, trained: Trained) -> ParameterStore {
        let (parameters, by_name) = (Vec::new(), HashMap::new());
        ParameterStore { seed, device, trained, copies: None, parameters, by_name }
    }

    /// Also keeps a copy of every parameter in this type, for operations that compute in it.
    pub fn with_copies(self, dtype: DType) -> ParameterStore {
        ParameterStore { copies: (dtype != DType::F32).then_some(dtype), ..self }
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.by_name.get(name).map(|i| &self.parameters[*i])
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of values over all parameters.
    pub fn count(&self) -> usize {
        self.parameters.iter().map(|p| p.var.elem_count()).sum()
    }

    /// The trained parameters.
    pub fn trained(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|p| p.trained)
    }

    /// Number of trained values.
    pub fn trained_count(&self) -> usize {
        self.trained().map(|p| p.var.elem_count()).sum()
    }

    /// A copy of every parameter by name, on the CPU.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.parameters
            .iter()
            .map(|p| {
                let value = p.var.as_detached_tensor().to_device(&Device::Cpu)?.copy()?;
                Ok((p.name.clone(), value))
            })
            .collect()
    }

    /// Sets every parameter from `values`. They must have exactly the store's names and shapes, in
    /// float32. If one does not fit, the error names it and nothing is changed.
    pub fn load(&self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        self.load_except(values, |_| false)
    }

    /// The same, but parameters for which `keeps` is true may be missing. These keep their values.
    pub fn load_except(
        &self,
        values: &BTreeMap<String, Tensor>,
        keeps: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for p in &self.parameters {
            match values.get(&p.name) {
                None if keeps(&p.name) => {}
                None => bail!("parameter {} is missing", p.name),
                Some(value) if value.shape() != p.var.shape() => bail!(
                    "parameter {} has shape {:?}, expected {:?}",
                    p.name,
                    value.dims(),
                    p.var.dims()
                ),
                Some(value) if value.dtype() != DType::F32 => {
                    bail!("parameter {} is {:?}, expected F32", p.name, value.dtype())
                }
                Some(_) => {}
            }
        }
        if let Some(extra) = values.keys().find(|name| !self.by_name.contains_key(*name)) {
            bail!("parameter {extra} does not belong to the model");
        }
        for p in &self.parameters {
            if let Some(value) = values.get(&p.name) {
                p.set(&value.to_device(&self.device)?)?;
            }
        }
        Ok(())
    }
}

impl ParameterBuilder for ParameterStore {
    fn tensor(&mut self, name: &str, shape: &[usize], init: Init, role: Role) -> Result<Variable> {
        if self.by_name.contains_key(name) {
            bail!("parameter {name} is named twice");
        }
        let mut stream = Stream::new(self.seed, Purpose::Init, name);
        let values = init.values(shape.iter().product(), &mut stream);
        let var = Var::from_vec(values, shape, &self.device)?;
        let trained = (self.trained)(role);
        let tensor = var.as_detached_tensor();
        let copy = self.copies.map(|dtype| tensor.to_dtype(dtype)).transpose()?;
        let value = if trained { Variable::leaf(tensor) } else { Variable::constant(tensor) };
        let value = match &copy {
            Some(copy) => value.with_copy(copy.clone()),
            None => value,
        };
        self.by_name.insert(name.to_string(), self.parameters.len());
        let handed = value.clone();
        let name = name.into();
        self.parameters.push(Parameter { name, var, copy, value, role, trained });
        Ok(handed)
    }
}

/// The store's parameters as constants that share its memory. A model built on it sees every later
/// update and records no graph.
pub struct Frozen<'a>(pub &'a ParameterStore);

impl ParameterBuilder for Frozen<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], _: Init, _: Role) -> Result<Variable> {
        match self.0.get(name) {
            Some(p) if p.var.dims() == shape => Ok(p.value.detach()),
            Some(p) => bail!("parameter {name} has shape {:?}, expected {shape:?}", p.var.dims()),
            None => bail!("parameter {name} is missing"),
        }
    }
}

/// Given tensors by name, as constants.
pub struct Constants<'a>(pub &'a BTreeMap<String, Tensor>);

impl ParameterBuilder for Constants<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], _: Init, _: Role) -> Result<Variable> {
        match self.0.get(name) {
            Some(tensor) if tensor.dims() == shape => Ok(Variable::constant(tensor.clone())),
            Some(other) => bail!("{name} has shape {:?}, expected {shape:?}", other.dims()),
            None => bail!("{name} is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Kind;

    const MATRIX: Role = Role::layer(Kind::Matrix);
    const FACTOR: Role = Role::layer(Kind::Lora);

    #[test]
    fn a_frozen_view_sees_updates_and_tracks_nothing() {
        let mut store = ParameterStore::new(0, Device::Cpu);
        let tracked = store.tensor("w", &[2], Init::Ones, MATRIX).unwrap();
        let frozen = Frozen(&store).tensor("w", &[2], Init::Zeros, MATRIX).unwrap();
        store.parameters()[0].var.set(&Tensor::new(&[3f32, 4.], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(frozen.tensor().to_vec1::<f32>().unwrap(), [3., 4.]);
        assert!(tracked.requires_grad() && !frozen.requires_grad());
    }

    #[test]
    fn a_frozen_parameter_is_a_constant_that_can_be_loaded() {
        let mut store =
            ParameterStore::with_trained(0, Device::Cpu, Box::new(|role| role == FACTOR));
        let frozen = store.tensor("w", &[2], Init::Ones, MATRIX).unwrap();
        let trained = store.tensor("w.A", &[3], Init::Ones, FACTOR).unwrap();
        assert!(trained.requires_grad() && !frozen.requires_grad());
        assert_eq!((store.count(), store.trained_count()), (5, 3));
        let values =
            BTreeMap::from([("w".into(), Tensor::new(&[3f32, 4.], &Device::Cpu).unwrap())]);
        assert!(store.load(&values).is_err());
        store.load_except(&values, |name| name == "w.A").unwrap();
        assert_eq!(frozen.tensor().to_vec1::<f32>().unwrap(), [3., 4.]);
        assert_eq!(trained.tensor().to_vec1::<f32>().unwrap(), [1.; 3]);
    }

    #[test]
    fn a_parameters_start_does_not_depend_on_the_others() {
        let normal = Init::Normal { std: 1.0 };
        let mut alone = ParameterStore::new(5, Device::Cpu);
        let a = alone.tensor("w", &[4], normal, MATRIX).unwrap();
        let mut beside = ParameterStore::new(5, Device::Cpu);
        beside.tensor("other", &[7], normal, MATRIX).unwrap();
        let b = beside.tensor("w", &[4], normal, MATRIX).unwrap();
        assert_eq!(a.tensor().to_vec1::<f32>().unwrap(), b.tensor().to_vec1::<f32>().unwrap());
    }

    #[test]
    fn load_refuses_values_that_do_not_fit_by_name() {
        let mut store = ParameterStore::new(0, Device::Cpu);
        store.tensor("w", &[2], Init::Ones, MATRIX).unwrap();
        let tensor = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu).unwrap();
        let load = |pairs: &[(&str, Tensor)]| {
            let map = pairs.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
            store.load(&map).map_err(|e| e.to_string())
        };
        assert!(load(&[]).unwrap_err().contains("w is missing"));
        assert!(load(&[("w", tensor(3))]).unwrap_err().contains("w has shape [3], expected [2]"));
        let extra = load(&[("w", tensor(2)), ("x", tensor(1))]).unwrap_err();
        assert!(extra.contains("x does not belong"));
        load(&[("w", tensor(2))]).unwrap();
        assert_eq!(store.parameters()[0].var.to_vec1::<f32>().unwrap(), [0., 0.]);
    }
}
