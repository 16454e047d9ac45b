//! Builds the model of a run.

use candle_core::{DType, Device, Result};

use crate::nn::{Frozen, ParameterBuilder, ParameterStore, Trained};
use crate::spec::{Precision, RunSpec};
use crate::vlora::trained_in;

type Build<'a, M> = Box<dyn Fn(&mut dyn ParameterBuilder) -> Result<M> + 'a>;

/// Builds a model on any source of parameters. It also decides which parameters are trained, and
/// the type of activations. Parameters are always float32.
pub struct Blueprint<'a, M> {
    build: Build<'a, M>,
    trained: Box<dyn Fn() -> Trained + 'a>,
    activations: DType,
}

impl<'a, M: 'a> Blueprint<'a, M> {
    /// A model in float32 with all parameters trained.
    pub fn new(build: impl Fn(&mut dyn ParameterBuilder) -> Result<M> + 'a) -> Blueprint<'a, M> {
        Blueprint {
            build: Box::new(build),
            trained: Box::new(|| Box::new(|_| true)),
            activations: DType::F32,
        }
    }

    /// The model of a run. `build` builds its architecture.
    pub fn of_run(
        run: &'a RunSpec,
        build: fn(&RunSpec, &mut dyn ParameterBuilder) -> Result<M>,
    ) -> Blueprint<'a, M> {
        Blueprint {
            build: Box::new(move |parameters| build(run, parameters)),
            trained: Box::new(|| trained_in(run)),
            activations: activations(run.precision),
        }
    }

    /// Builds the model on these parameters.
    pub fn build(&self, parameters: &mut dyn ParameterBuilder) -> Result<M> {
        (self.build)(parameters)
    }

    /// The model with new parameters for training, initialised from `seed`.
    pub fn train(&self, seed: u64, device: &Device) -> Result<(ParameterStore, M)> {
        self.with_store(seed, device, (self.trained)())
    }

    /// The model with new parameters that are all frozen.
    pub fn evaluate(&self, device: &Device) -> Result<(ParameterStore, M)> {
        self.with_store(0, device, Box::new(|_| false))
    }

    /// The model on a store's current parameters, without a graph.
    pub fn frozen(&self, store: &ParameterStore) -> Result<M> {
        self.build(&mut Frozen(store))
    }

    fn with_store(
        &self,
        seed: u64,
        device: &Device,
        trained: Trained,
    ) -> Result<(ParameterStore, M)> {
        let store = ParameterStore::with_trained(seed, device.clone(), trained);
        let mut store = store.with_copies(self.activations);
        let model = self.build(&mut store)?;
        Ok((store, model))
    }
}

/// The type of activations for a precision.
pub fn activations(precision: Precision) -> DType {
    match precision {
        Precision::Float32 | Precision::Tf32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}
