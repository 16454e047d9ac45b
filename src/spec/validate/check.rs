//! A condition on a field, and the error at the field's line where it does not hold.

use crate::spec::error::SpecError;
use crate::spec::node::Node;
use crate::spec::origin::Origin;
use crate::spec::repository::{HUB_NAME, is_hub_name};
use crate::spec::schema::{LayerWeight, ModelSpec, Target};
use crate::spec::wording::{one_of, shorten};

/// Turns a failed condition into an error at the field's line.
pub struct Check<'a> {
    pub node: &'a Node,
}

impl Check<'_> {
    pub fn origin(&self, field: &str) -> Origin {
        self.node.nearest(field).0.origin.clone()
    }

    /// Whether the field itself is given.
    pub fn says(&self, field: &str) -> bool {
        self.node.nearest(field).1
    }

    pub fn that(
        &self,
        field: &str,
        holds: bool,
        expected: impl Into<String>,
    ) -> Result<(), SpecError> {
        self.that_of(field, holds, || "the default".to_string(), expected)
    }

    /// The same check. `default` describes the value of a field that is not given.
    fn that_of(
        &self,
        field: &str,
        holds: bool,
        default: impl FnOnce() -> String,
        expected: impl Into<String>,
    ) -> Result<(), SpecError> {
        if holds {
            return Ok(());
        }
        let (node, exact) = self.node.nearest(field);
        let (summary, found) = match exact {
            true => ("invalid value".to_string(), node.describe()),
            false => (format!("the default of {field} does not fit"), default()),
        };
        Err(SpecError::new(summary).found(found).expected(expected).at(node.origin.clone()))
    }

    pub fn positive(&self, field: &str, value: f64) -> Result<(), SpecError> {
        self.that(field, value.is_finite() && value > 0.0, "a finite number above 0")
    }

    /// A rank that a matrix can have.
    pub fn rank(&self, field: &str, rank: usize, weight: &LayerWeight) -> Result<(), SpecError> {
        let (output, input) = weight.sides();
        let most = input.min(output);
        self.that(
            field,
            rank <= most,
            format!("at most {most}, the smaller side of {} [{output}, {input}]", weight.target),
        )
    }

    /// The weight that a target at `field`, a name or a mapping with one, stands for.
    pub fn target(
        &self,
        field: &str,
        target: &Target,
        model: &ModelSpec,
    ) -> Result<LayerWeight, SpecError> {
        model.weight(target).ok_or_else(|| {
            let weights = model.weights();
            let names: Vec<&str> = weights.iter().map(|weight| weight.target.name()).collect();
            SpecError::new("unknown name")
                .found(format!("`{}`", shorten(target.name())))
                .expected(one_of(&names))
                .suggest(target.name(), names)
                .unknown_value(target.name())
                .at(self.origin(&format!("{field}.target")))
        })
    }

    pub fn between(
        &self,
        field: &str,
        value: usize,
        low: usize,
        high: usize,
    ) -> Result<(), SpecError> {
        self.that_of(
            field,
            (low..=high).contains(&value),
            || format!("the default, {value}"),
            format!("a whole number from {low} to {high}"),
        )
    }
}

/// Refuses a section that names no source, or two.
pub fn one_source(
    section: &str,
    what: &str,
    sources: &[(&str, Option<&str>)],
    check: &Check,
) -> Result<(), SpecError> {
    let given: Vec<&str> = sources.iter().filter(|s| s.1.is_some()).map(|s| s.0).collect();
    let all: Vec<String> = sources.iter().map(|s| format!("`{}`", s.0)).collect();
    let expected = format!("exactly one of {}", all.join(", "));
    match given[..] {
        [_] => Ok(()),
        [] => Err(SpecError::new(format!("no source {what} is given"))
            .expected(expected)
            .at(check.origin(section))),
        [first, second, ..] => Err(SpecError::new(format!("two sources {what} are given"))
            .found(format!("`{first}` and `{second}`"))
            .expected(expected)
            .help("an arm or --set that changes the source sets the other to null")
            .at(check.origin(&format!("{section}.{second}")))),
    }
}

/// Refuses what cannot be a repository of the Hub.
pub fn hub_name(field: &str, text: &str, check: &Check) -> Result<(), SpecError> {
    let told = check.that(field, is_hub_name(text), HUB_NAME);
    // What a browser shows.
    let pasted = text.split_once("://").and_then(|(_, address)| address.split_once('/'));
    let name = pasted.map(|(_, path)| path.strip_prefix("datasets/").unwrap_or(path));
    let name = name.or(text.strip_prefix("hub:"));
    match name.filter(|name| is_hub_name(name)) {
        Some(name) => told.map_err(|e| e.help(format!("did you mean `{name}`?"))),
        None => told,
    }
}
