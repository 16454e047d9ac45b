//! Normalises specs, so that specs with the same meaning have the same values.

use super::identity::flatten;
use super::node::Node;
use super::schema::{
    Augment, DataSpec, IncrementInit, IncrementOn, Method, Rank, Reference, RunSpec,
    StartIncrements, Target, TargetSpec, VloraSpec,
};
use super::unused::UnusedField;

/// If no targets are given, every matrix of the architecture becomes a target.
pub fn name_targets(spec: &mut RunSpec, node: &Node) {
    let given = |field: &str| node.nearest(field).1;
    let matrices = spec.model.matrices();
    if let Some(vlora) = spec.vlora.as_mut().filter(|_| !given("vlora.targets")) {
        vlora.targets = matrices.iter().cloned().map(TargetSpec::plain).collect();
    }
    if let Some(lora) = spec.lora.as_mut().filter(|_| !given("lora.targets")) {
        lora.targets = matrices;
    }
}

/// Gives specs with the same meaning the same values, and so the same run id. Returns the fields
/// that have no effect on the run.
pub fn normalise(spec: &mut RunSpec) -> Vec<UnusedField> {
    let mut unused = Vec::new();
    let weights = spec.model.weights();
    let place = |target: &Target| weights.iter().position(|weight| weight.target == *target);
    let is_vector = |target: &Target| {
        weights.iter().any(|weight| weight.target == *target && weight.is_vector())
    };
    spec.model.normalise();
    spec.data.normalise(&spec.model);
    if matches!(&spec.data, DataSpec::Translation(data) if data.decoding.beam == 1) {
        let because = "greedy decoding has no hypotheses to compare";
        unused.push(UnusedField::new("data.decoding.length_penalty", because));
    }
    if !spec.training.trains() {
        // These change training alone.
        let because = "nothing is trained";
        let training = flatten(&spec.training).into_keys();
        unused.extend(training.map(|field| UnusedField::new(format!("training.{field}"), because)));
        unused.push(UnusedField::new("data.augment", because));
        let model = ["dropout", "attention_dropout", "activation_dropout", "stochastic_depth"];
        unused.extend(model.map(|field| UnusedField::new(format!("model.{field}"), because)));
        spec.model.disable_dropout();
        if let DataSpec::Images(data) = &mut spec.data {
            data.augment = Augment::default();
        }
    }
    spec.training.normalise();
    if spec.method == Method::Dense {
        spec.vlora = None;
    }
    let trains_increments = spec.lora.is_none()
        && spec.vlora.as_ref().is_some_and(|vlora| {
            vlora
                .targets
                .iter()
                .any(|target| !is_vector(&target.target) && vlora.rank_of(target) != Rank::Of(0))
        });
    if !trains_increments {
        spec.training.increment_learning_rate = None;
        spec.training.increment_weight_decay = None;
        let fields = ["training.increment_learning_rate", "training.increment_weight_decay"];
        let because = "no increment is trained";
        unused.extend(fields.map(|field| UnusedField::new(field, because)));
    }
    if let Some(start) = &mut spec.start {
        // 1 is the default.
        start.alpha = start.alpha.filter(|alpha| *alpha != 1.0);
    }
    if let Some(vlora) = &mut spec.vlora {
        for (index, target) in vlora.targets.iter().enumerate() {
            if target.alpha.is_some() && !has_factors(vlora, target, &is_vector) {
                let field = format!("vlora.targets[{index}].alpha");
                unused.push(UnusedField::new(field, NO_FACTORS));
            }
        }
        vlora.targets.sort_by_key(|target| place(&target.target));
        unused.extend(normalise_increments(vlora, &is_vector));
        if let Some(start) = &spec.start {
            // Increments are loaded with the weights, or `start` says what they are.
            vlora.init = match start.increments {
                StartIncrements::Svd | StartIncrements::Authors => IncrementInit::default(),
                StartIncrements::Lora => IncrementInit::Lora,
            };
            let because = "`start` says what increments begin as";
            unused.push(UnusedField::new("vlora.init", because));
        }
        if spec.lora.as_ref().is_some_and(|lora| !lora.trains_vectors()) {
            // No reference weight gets a gradient.
            vlora.detach = true;
            let because = "LoRA trains none of the weights that increments are added to";
            unused.push(UnusedField::new("vlora.detach", because));
        }
    }
    if let Some(lora) = &mut spec.lora {
        lora.targets.sort_by_key(place);
        lora.also_train.sort();
    }
    unused
}

/// Why a scale or an initialisation of increments changes nothing.
const NO_FACTORS: &str = "without a rank between 0 and full there are no factors";

/// Whether the increments of a target are products of factors.
fn has_factors(
    vlora: &VloraSpec,
    target: &TargetSpec,
    is_vector: &dyn Fn(&Target) -> bool,
) -> bool {
    !is_vector(&target.target) && !matches!(vlora.rank_of(target), Rank::Of(0) | Rank::Full)
}

fn normalise_increments(
    vlora: &mut VloraSpec,
    is_vector: &dyn Fn(&Target) -> bool,
) -> Vec<UnusedField> {
    let mut unused = Vec::new();
    // If every matrix has its own rank, the common rank only decides whether vectors are shared.
    let matrices = vlora.targets.iter().filter(|target| !is_vector(&target.target));
    let mut ranks = matrices.map(|target| target.rank);
    if vlora.rank != Rank::Of(0) && ranks.clone().all(|rank| rank.is_some()) {
        vlora.rank =
            ranks.find_map(|rank| rank.filter(|r| *r != Rank::Of(0))).unwrap_or(Rank::Of(1));
        unused.push(UnusedField::new("vlora.rank", "each target has a rank of its own"));
    }
    let scaled: Vec<bool> =
        vlora.targets.iter().map(|target| has_factors(vlora, target, is_vector)).collect();
    if !scaled.contains(&true) {
        (vlora.alpha, vlora.init) = (1.0, IncrementInit::default());
        let fields = ["vlora.alpha", "vlora.init"];
        unused.extend(fields.map(|field| UnusedField::new(field, NO_FACTORS)));
    }
    for (target, scaled) in vlora.targets.iter_mut().zip(scaled) {
        target.rank = target.rank.filter(|rank| *rank != vlora.rank);
        target.alpha = target.alpha.filter(|alpha| scaled && *alpha != vlora.alpha);
    }
    vlora.also_share.sort();
    if !vlora.has_increments() {
        vlora.increment_on = IncrementOn::default();
        unused.push(UnusedField::new("vlora.increment_on", "there are no increments"));
    }
    if vlora.layers.is_none() && vlora.compound_size == Some(2) && vlora.increment_on.is_others() {
        vlora.reference = Reference::default();
        let because = "in compounds of two layers the layer before is the first one";
        unused.push(UnusedField::new("vlora.reference", because));
    }
    unused
}
