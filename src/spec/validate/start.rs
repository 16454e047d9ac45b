//! `start`: the weights that a run begins with, and LoRA on top of them.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Check, hub_name, one_source};
use super::increments;
use crate::spec::error::SpecError;
use crate::spec::identity::flatten;
use crate::spec::schema::{
    LoraSpec, ModelSpec, ParameterGroup, PositionEmbedding, RunSpec, StartHead, StartSpec,
};

/// `start` itself.
pub fn start(run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let Some(start) = &run.start else { return Ok(()) };
    if let Some(alpha) = start.alpha {
        check.positive("start.alpha", alpha)?;
        check.that(
            "start.alpha",
            start.arm.is_none(),
            "an alpha only beside `checkpoint` or `hub`, for a file that does not hold it",
        )?;
    }
    if let Some(repository) = &start.hub {
        hub_name("start.hub", repository, check)?;
    }
    check.that(
        "start.position_embedding",
        start.position_embedding == PositionEmbedding::Auto || run.model.as_vit().is_some(),
        "`auto`: texts have no image size that positions could be resampled to",
    )?;
    // These are about the conversion of a dense model to VLoRA.
    for (field, is_default) in
        [("base_init", start.base_init.is_first()), ("increments", start.increments.is_svd())]
    {
        let expected = "no such field in an arm without `method: vlora`";
        check.that(&format!("start.{field}"), is_default || run.vlora.is_some(), expected)?;
    }
    let sources = [
        ("arm", start.arm.as_deref()),
        ("checkpoint", start.checkpoint.as_deref()),
        ("hub", start.hub.as_deref()),
    ];
    one_source("start", "of weights", &sources, check).map_err(|error| {
        match sources.iter().all(|(_, given)| given.is_none()) {
            true => error
                .help("`start: null` takes the section away from an arm that starts from the seed"),
            false => error,
        }
    })
}

/// `lora`, which needs weights to stand on.
pub fn lora_on_top(lora: &LoraSpec, run: &RunSpec, check: &Check) -> Result<(), SpecError> {
    let Some(start) = &run.start else {
        return Err(SpecError::new("LoRA needs start weights")
            .found("`lora` without `start`")
            .expected("`start` with the weights that LoRA freezes and adapts")
            .help("`lora: null` takes the section away from an arm that is trained from the seed")
            .at(check.origin("lora")));
    };
    increments::lora(lora, &run.model, check)?;
    check.that(
        "start.head",
        start.head == StartHead::Keep || lora.also_train.contains(&ParameterGroup::Head),
        "`keep`, or `head` among lora.also_train, since a new head must be trained",
    )
}

impl ModelSpec {
    /// The first field in which a model to start from differs: with a new head its classes may,
    /// and its image size where position embeddings are resampled. How much is dropped in training may
    /// differ in any case.
    pub fn difference(&self, other: &ModelSpec, start: Option<&StartSpec>) -> Option<Difference> {
        let new_head = start.is_some_and(|start| start.head == StartHead::New);
        let refuse = |start: &StartSpec| start.position_embedding == PositionEmbedding::Refuse;
        let resampled = start.is_some_and(|start| !refuse(start));
        let may = |field: &str| match field {
            "classes" => new_head,
            "image_size" => resampled,
            "dropout" | "attention_dropout" | "activation_dropout" | "stochastic_depth" => true,
            // How weights would start, where they are given.
            "embedding_init" | "attention_init" => true,
            _ => false,
        };
        if self.architecture() != other.architecture() {
            // Of two architectures no other field compares.
            let name = |model: &ModelSpec| model.architecture().name().to_string();
            return Some(Difference {
                field: "architecture".into(),
                own: name(self),
                theirs: name(other),
            });
        }
        let (own, theirs) = (flatten(self), flatten(other));
        let fields: BTreeSet<&String> = own.keys().chain(theirs.keys()).collect();
        let value = |of: &BTreeMap<String, String>, field: &String| {
            of.get(field).cloned().unwrap_or_else(|| "the default".into())
        };
        fields.into_iter().find_map(|field| {
            let (own, theirs) = (value(&own, field), value(&theirs, field));
            let differs = theirs != own && !may(field);
            differs.then(|| Difference { field: field.clone(), own, theirs })
        })
    }
}

/// A field of two models, with its value in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub field: String,
    pub own: String,
    pub theirs: String,
}
