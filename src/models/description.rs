//! A run's model without its values: which parameters it has, and which operations it computes.
//!
//! The model is built by the code that training uses, on parameters that have a shape but take no
//! memory. So what is counted here is what is trained.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Result, Tensor};

use super::decoder::Decoder;
use super::encoder::Encoder;
use super::encoder_decoder::EncoderDecoder;
use super::operations::Operation;
use super::vit::Vit;
use crate::nn::{Init, Kind, ParameterBuilder, Part, Role, Trained, Variable};
use crate::spec::{LoraSpec, ModelSpec, RunSpec, StartHead, VloraSpec};
use crate::vlora;

/// A parameter of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    pub name: String,
    pub shape: Vec<usize>,
    pub role: Role,
    /// Whether it gets gradients.
    pub trained: bool,
}

impl ParameterInfo {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }
}

/// The parameters of a run's model and its operations on one batch.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// In the order in which the model asks for them.
    pub parameters: Vec<ParameterInfo>,
    /// Number of examples in a batch.
    pub examples: usize,
    /// Number of values in a batch's input.
    pub inputs: u64,
    /// The operations of the embedding, of each layer, and of the rest with the loss.
    pub layers: Vec<Vec<Operation>>,
}

impl Description {
    /// Describes a run's model on one of its batches. It is empty if the model cannot be built;
    /// validation refuses such a model, and building it reports why.
    pub fn of(run: &RunSpec) -> Description {
        Description::build(run).unwrap_or_default()
    }

    fn build(run: &RunSpec) -> Result<Description> {
        let mut batch = run.training.batch_size;
        let mut shapes = Shapes::of(vlora::trained_in(run));
        let (vlora, lora) = (run.vlora.as_ref(), run.lora.as_ref());
        let (layers, inputs) = match &run.model {
            ModelSpec::Vit(spec) => {
                let model = Vit::new(spec, vlora, lora, &mut shapes)?;
                let inputs = batch * spec.channels * spec.image_size.pow(2);
                (model.operations(batch)?, inputs)
            }
            // Texts differ in length: the longest that the data allow is counted.
            ModelSpec::Encoder(spec) => {
                let model = Encoder::new(spec, vlora, lora, &mut shapes)?;
                let longest = run.data.as_text().map(|data| data.max_tokens);
                let tokens = longest.unwrap_or(spec.positions).min(spec.positions);
                (model.operations(batch, tokens)?, batch * tokens)
            }
            ModelSpec::Decoder(spec) => {
                let model = Decoder::new(spec, vlora, lora, &mut shapes)?;
                let window = run.data.as_language().map(|data| data.window(spec.positions));
                let tokens = window.unwrap_or(spec.positions);
                (model.operations(batch, tokens)?, batch * tokens)
            }
            // The longest sentences that the data allow are counted.
            ModelSpec::EncoderDecoder(spec) => {
                let model = EncoderDecoder::new(spec, vlora, lora, &mut shapes)?;
                let longest = run.data.as_translation().map(|data| data.max_tokens);
                let tokens = longest.unwrap_or(spec.positions).min(spec.positions);
                if let Some(most) = run.data.as_translation().and_then(|data| data.batch_tokens) {
                    batch = (most / tokens.max(1)).max(1);
                }
                (model.operations(batch, tokens)?, 2 * batch * tokens)
            }
        };
        let (parameters, inputs) = (shapes.parameters, inputs as u64);
        Ok(Description { parameters, examples: batch, inputs, layers })
    }
}

/// The parameters of a model with these increments and LoRA, in the order in which it asks for them.
pub fn parameters_of(
    model: &ModelSpec,
    vlora: Option<&VloraSpec>,
    lora: Option<&LoraSpec>,
) -> Result<Vec<ParameterInfo>> {
    let mut shapes = Shapes::of(vlora::trained(lora));
    build(model, vlora, lora, &mut shapes)?;
    Ok(shapes.parameters)
}

/// Builds a model on `parameters` and drops it: only the calls on `parameters` matter.
pub fn build(
    model: &ModelSpec,
    vlora: Option<&VloraSpec>,
    lora: Option<&LoraSpec>,
    parameters: &mut dyn ParameterBuilder,
) -> Result<()> {
    match model {
        ModelSpec::Vit(model) => Vit::new(model, vlora, lora, parameters).map(drop),
        ModelSpec::Encoder(model) => Encoder::new(model, vlora, lora, parameters).map(drop),
        ModelSpec::Decoder(model) => Decoder::new(model, vlora, lora, parameters).map(drop),
        ModelSpec::EncoderDecoder(model) => {
            EncoderDecoder::new(model, vlora, lora, parameters).map(drop)
        }
    }
}

/// The names of a run's parameters that may be missing in the weights it starts from: LoRA's factors,
/// those of a new head, and increments that start from the seed.
pub fn names_from_seed(run: &RunSpec) -> Result<BTreeSet<String>> {
    let new_head = run.start.as_ref().is_some_and(|start| start.head == StartHead::New);
    let new_increments = run.start.as_ref().is_some_and(|start| !start.increments.is_svd());
    let all = parameters_of(&run.model, run.vlora.as_ref(), run.lora.as_ref())?;
    let from_seed = all.into_iter().filter(|p| {
        p.role.kind == Kind::Lora
            || new_increments && vlora::is_increment(&p.name)
            || new_head && p.role.part == Part::Head
    });
    Ok(from_seed.map(|p| p.name).collect())
}

/// The names of the head's parameters, which a new head replaces.
pub fn head_parameters(model: &ModelSpec) -> Result<BTreeSet<String>> {
    let head = parameters_of(model, None, None)?.into_iter().filter(|p| p.role.part == Part::Head);
    Ok(head.map(|p| p.name).collect())
}

/// Records the parameters that a model asks for. Each is one value, broadcast to the shape.
struct Shapes {
    trained: Trained,
    parameters: Vec<ParameterInfo>,
}

impl Shapes {
    fn of(trained: Trained) -> Shapes {
        Shapes { trained, parameters: Vec::new() }
    }
}

impl ParameterBuilder for Shapes {
    fn tensor(&mut self, name: &str, shape: &[usize], _: Init, role: Role) -> Result<Variable> {
        let trained = (self.trained)(role);
        let (name, values) = (name.to_string(), Tensor::zeros(1, DType::F32, &Device::Cpu)?);
        self.parameters.push(ParameterInfo { name, shape: shape.to_vec(), role, trained });
        let values = values.broadcast_as(shape)?;
        Ok(if trained { Variable::leaf(values) } else { Variable::constant(values) })
    }
}
