//! How the model of a run is built.

use candle_core::{DType, Device, Result};

use crate::nn::{Frozen, ParameterBuilder, ParameterStore, Trained};
use crate::spec::{Precision, RunSpec};
use crate::vlora::trained;

type Build<'a, M> = Box<dyn Fn(&mut dyn ParameterBuilder) -> Result<M> + 'a>;

/// Builds a model on any source of parameters, and says which of them are trained and in what type
/// the model computes. Parameters are float32 in any case.
pub struct Blueprint<'a, M> {
    build: Build<'a, M>,
    trained: Box<dyn Fn() -> Trained + 'a>,
    activations: DType,
}

impl<'a, M: 'a> Blueprint<'a, M> {
    /// A model of which all parameters are trained, in float32.
    pub fn new(build: impl Fn(&mut dyn ParameterBuilder) -> Result<M> + 'a) -> Blueprint<'a, M> {
        Blueprint {
            build: Box::new(build),
            trained: Box::new(|| Box::new(|_| true)),
            activations: DType::F32,
        }
    }

    /// The model of a run, of which `build` is the architecture.
    pub fn of_run(
        run: &'a RunSpec,
        build: fn(&RunSpec, &mut dyn ParameterBuilder) -> Result<M>,
    ) -> Blueprint<'a, M> {
        Blueprint {
            build: Box::new(move |parameters| build(run, parameters)),
            trained: Box::new(|| trained(run.lora.as_ref())),
            activations: activations(run.precision),
        }
    }

    /// The model on these parameters.
    pub fn build(&self, parameters: &mut dyn ParameterBuilder) -> Result<M> {
        (self.build)(parameters)
    }

    /// The model with parameters of its own, for training: they start from `seed`.
    pub fn train(&self, seed: u64, device: &Device) -> Result<(ParameterStore, M)> {
        self.with_store(seed, device, (self.trained)())
    }

    /// The same with all parameters frozen.
    pub fn evaluate(&self, device: &Device) -> Result<(ParameterStore, M)> {
        self.with_store(0, device, Box::new(|_| false))
    }

    /// The model on the parameters of a store as they are, without a graph.
    pub fn frozen(&self, store: &ParameterStore) -> Result<M> {
        self.build(&mut Frozen(store))
    }

    fn with_store(
        &self,
        seed: u64,
        device: &Device,
        trained: Trained,
    ) -> Result<(ParameterStore, M)> {
        let store = ParameterStore::training(seed, device.clone(), trained);
        let mut store = store.with_copies(self.activations);
        let model = self.build(&mut store)?;
        Ok((store, model))
    }
}

/// The type of activations in this precision.
pub fn activations(precision: Precision) -> DType {
    match precision {
        Precision::Float32 | Precision::Tf32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}
