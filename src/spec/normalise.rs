//! Normalises specs, so that specs with the same meaning have the same values.

use super::node::Node;
use super::schema::{
    Augment, DataSpec, IncrementInit, IncrementOn, Method, Rank, Reference, RunSpec,
    StartIncrements, Target, TargetSpec, VloraSpec,
};

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
pub fn normalise(spec: &mut RunSpec) -> Vec<&'static str> {
    let mut unused = Vec::new();
    let weights = spec.model.weights();
    let place = |target: &Target| weights.iter().position(|weight| weight.target == *target);
    let is_vector = |target: &Target| {
        weights.iter().any(|weight| weight.target == *target && weight.is_vector())
    };
    spec.model.normalise();
    spec.data.normalise(&spec.model);
    if matches!(&spec.data, DataSpec::Translation(data) if data.decoding.beam == 1) {
        unused.push("data.decoding.length_penalty");
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
                .any(|own| !is_vector(&own.target) && vlora.rank_of(own) != Rank::Of(0))
        });
    if !trains_increments {
        spec.training.increment_learning_rate = None;
        spec.training.increment_weight_decay = None;
        unused.extend(["training.increment_learning_rate", "training.increment_weight_decay"]);
    }
    if !spec.training.trains() {
        // These change training alone.
        spec.model.drop_nothing();
        if let DataSpec::Images(data) = &mut spec.data {
            data.augment = Augment::default();
        }
    }
    if let Some(start) = &mut spec.start {
        // 1 is the default.
        start.alpha = start.alpha.filter(|alpha| *alpha != 1.0);
    }
    if let Some(vlora) = &mut spec.vlora {
        vlora.targets.sort_by_key(|own| place(&own.target));
        unused.extend(normalise_increments(vlora, &is_vector));
        if let Some(start) = &spec.start {
            // Increments are loaded with the weights, or `start` says what they are.
            vlora.init = match start.increments {
                StartIncrements::Svd | StartIncrements::Authors => IncrementInit::default(),
                StartIncrements::Lora => IncrementInit::Lora,
            };
            unused.push("vlora.init");
        }
        if spec.lora.as_ref().is_some_and(|lora| !lora.trains_vectors()) {
            // No reference weight gets a gradient.
            vlora.detach = true;
            unused.push("vlora.detach");
        }
    }
    if let Some(lora) = &mut spec.lora {
        lora.targets.sort_by_key(place);
        lora.also_train.sort();
    }
    unused
}

fn normalise_increments(
    vlora: &mut VloraSpec,
    is_vector: &dyn Fn(&Target) -> bool,
) -> Vec<&'static str> {
    let mut unused = Vec::new();
    // If every matrix has its own rank, the common rank only decides whether vectors are shared.
    let mut own = vlora.targets.iter().filter(|own| !is_vector(&own.target)).map(|own| own.rank);
    if vlora.rank != Rank::Of(0) && own.clone().all(|rank| rank.is_some()) {
        vlora.rank = own.find_map(|rank| rank.filter(|r| *r != Rank::Of(0))).unwrap_or(Rank::Of(1));
        unused.push("vlora.rank");
    }
    let low_rank = |vlora: &VloraSpec, own: usize| {
        let own = &vlora.targets[own];
        let rank = vlora.rank_of(own);
        !is_vector(&own.target) && !matches!(rank, Rank::Of(0) | Rank::Full)
    };
    let scaled: Vec<bool> = (0..vlora.targets.len()).map(|own| low_rank(vlora, own)).collect();
    if !scaled.contains(&true) {
        // Without low-rank factors, alpha and init have no effect.
        (vlora.alpha, vlora.init) = (1.0, IncrementInit::default());
        unused.extend(["vlora.alpha", "vlora.init"]);
    }
    for (own, scaled) in vlora.targets.iter_mut().zip(scaled) {
        own.rank = own.rank.filter(|rank| *rank != vlora.rank);
        own.alpha = own.alpha.filter(|alpha| scaled && *alpha != vlora.alpha);
    }
    vlora.also_share.sort();
    if !vlora.has_increments() {
        vlora.increment_on = IncrementOn::default();
        unused.push("vlora.increment_on");
    }
    if vlora.layers.is_none() && vlora.compound_size == Some(2) && vlora.increment_on.is_others() {
        // Where a weight is used twice, the previous layer is the first one.
        vlora.reference = Reference::default();
        unused.push("vlora.reference");
    }
    unused
}
