//! A file of published claims: what each says, where it is published, and which checks of stored results
//! bear on it.

use std::path::Path;

use serde::Deserialize;

use super::de::from_node;
use super::error::SpecError;
use super::node::Node;
use super::schema::Task;
use super::{document, document_kind, hints};

/// Largest accepted file.
const MAX_BYTES: u64 = 1 << 20;

/// The claims of a publication.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// What is published, and what is not at hand.
    pub about: String,
    /// The loss that counts as none, for each task that a check `preserved` is about.
    pub margins: Vec<Margin>,
    /// Specs of experiments that no claim rests on and that the page over all of them shows, too, relative
    /// to the folder of the claims.
    #[serde(default)]
    pub also_shown: Vec<String>,
    pub claims: Vec<PublishedClaim>,
}

/// How much an arm may lose and still count as equal.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Margin {
    pub task: Task,
    /// In the printed unit of the task's primary metric.
    pub value: f64,
    pub reason: String,
    /// Which results were known when it was set.
    #[serde(default)]
    pub known: String,
}

/// A claim of a publication.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedClaim {
    /// Short, unique.
    pub name: String,
    /// What is claimed, in our words.
    pub statement: String,
    /// Where it is published.
    pub source: String,
    /// Claims above it that must be supported first: the published numbers that its baselines have to
    /// reach. Until then its own checks decide nothing.
    #[serde(default)]
    pub requires: Vec<String>,
    /// What its checks leave open.
    #[serde(default)]
    pub open: String,
    /// All of them must hold. Empty: nothing here bears on it yet.
    #[serde(default)]
    pub checks: Vec<ClaimCheck>,
}

/// One condition of a claim.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimCheck {
    pub check: CheckKind,
    /// The experiment's spec, relative to the folder of the claims.
    pub spec: String,
    /// The label of an arm, as tables have it.
    pub arm: String,
    /// For `preserved`: the arm that it is compared with, if not its baseline.
    #[serde(default)]
    pub against: Option<String>,
    /// For `preserved`: arms of the same spec that are shown beside this one, against the same arm. They do not
    /// count for the claim.
    #[serde(default)]
    pub beside: Vec<String>,
    /// For `reaches`: the metric that the value is of, if not the task's primary one.
    #[serde(default)]
    pub metric: Option<String>,
    /// The published value, for the checks that have one.
    #[serde(default)]
    pub value: Option<f64>,
    /// For `reaches`: how far below the published value still counts as reaching it.
    #[serde(default)]
    pub tolerance: Option<f64>,
}

/// What a check compares with the published value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// The arm has exactly this many parameters.
    Parameters,
    /// It has at least this share of parameters fewer than its baseline, from 0 to 1.
    Reduction,
    /// Its metric on the test split, in its printed unit, is at most `tolerance` worse than
    /// this. For published numbers of baselines.
    Reaches,
    /// Its primary metric is not worse than the other arm's by the task's margin.
    Preserved,
    /// Every layer of its model raises the log-likelihood of the truth, as `vlora probe` reads it.
    Rises,
}

impl Claims {
    /// Reads a file of claims. An error names the file, the line and the field.
    pub fn load(path: &Path) -> Result<Claims, SpecError> {
        let file = path.display().to_string();
        let unreadable = |found: String| {
            SpecError::new("the claims cannot be read")
                .found(found)
                .expected("a YAML file of published claims")
                .in_file(&file, "")
        };
        let meta = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
        if !meta.is_file() {
            return Err(unreadable("a directory or special file".into()));
        }
        if meta.len() > MAX_BYTES {
            let found = format!("{} bytes; at most {MAX_BYTES} are read", meta.len());
            return Err(unreadable(found));
        }
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
        Claims::parse(&text).map_err(|e| hints::complete(e).in_file(&file, &text))
    }

    fn parse(text: &str) -> Result<Claims, SpecError> {
        let root = document::parse(text)?;
        document_kind::expect_claims(&root)?;
        let claims: Claims = from_node(&root)?;
        claims.check(&root)?;
        Ok(claims)
    }

    /// The margin of a task.
    pub fn margin(&self, task: Task) -> Option<&Margin> {
        self.margins.iter().find(|margin| margin.task == task)
    }

    fn check(&self, root: &Node) -> Result<(), SpecError> {
        let at = |path: &str, error: SpecError| error.at(root.nearest(path).0.origin.clone());
        for (i, margin) in self.margins.iter().enumerate() {
            if !(margin.value > 0.0 && margin.value.is_finite()) {
                let error = SpecError::new("not a margin").found(margin.value.to_string());
                return Err(at(&format!("margins[{i}].value"), error.expected("a number above 0")));
            }
        }
        for (i, margin) in self.margins.iter().enumerate() {
            if self.margins[..i].iter().any(|other| other.task == margin.task) {
                let error = SpecError::new("a task has two margins")
                    .found(format!("`{}`", margin.task.name()))
                    .expected("one margin per task");
                return Err(at(&format!("margins[{i}].task"), error));
            }
        }
        for (i, claim) in self.claims.iter().enumerate() {
            if self.claims[..i].iter().any(|other| other.name == claim.name) {
                let error = SpecError::new("two claims have the same name")
                    .found(format!("`{}`", claim.name))
                    .expected("a name of its own for each");
                return Err(at(&format!("claims[{i}].name"), error));
            }
            for (j, name) in claim.requires.iter().enumerate() {
                if !self.claims[..i].iter().any(|other| other.name == *name) {
                    let error = SpecError::new("there is no such claim above this one")
                        .found(format!("`{name}`"))
                        .suggest(name, self.claims[..i].iter().map(|c| c.name.as_str()));
                    return Err(at(&format!("claims[{i}].requires[{j}]"), error));
                }
            }
            for (j, check) in claim.checks.iter().enumerate() {
                let place = format!("claims[{i}].checks[{j}]");
                check
                    .check_fields()
                    .map_err(|(field, error)| at(&format!("{place}.{field}"), error))?;
            }
        }
        Ok(())
    }
}

impl ClaimCheck {
    /// Refuses fields that this kind of check does not have, and asks for those that it needs.
    fn check_fields(&self) -> Result<(), (&'static str, SpecError)> {
        use CheckKind::*;
        let kind = self.check;
        let is_of = |kinds: &[CheckKind]| kinds.contains(&kind);
        let has_value = !is_of(&[Preserved, Rises]);
        for (field, given, has, needs) in [
            ("against", self.against.is_some(), is_of(&[Preserved]), false),
            ("beside", !self.beside.is_empty(), is_of(&[Preserved]), false),
            ("metric", self.metric.is_some(), is_of(&[Reaches]), false),
            ("value", self.value.is_some(), has_value, has_value),
            ("tolerance", self.tolerance.is_some(), is_of(&[Reaches]), is_of(&[Reaches])),
        ] {
            if given && !has {
                let error = SpecError::new(format!("this check has no `{field}`"));
                return Err((field, error.expected(format!("no `{field}` here"))));
            }
            if needs && !given {
                return Err((field, SpecError::new(format!("the field `{field}` is missing"))));
            }
        }
        if self.against.as_ref() == Some(&self.arm) {
            let error = SpecError::new("the arm is compared with itself");
            return Err(("against", error.expected("another arm")));
        }
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        match (kind, self.value, self.tolerance) {
            (Reduction, Some(value), _) if !is_share(value) => Err((
                "value",
                SpecError::new("not a share")
                    .found(value.to_string())
                    .expected("a number from 0 to 1"),
            )),
            (Parameters, Some(value), _) if value.fract() != 0.0 || value < 1.0 => Err((
                "value",
                SpecError::new("not a number of parameters")
                    .found(value.to_string())
                    .expected("a whole number"),
            )),
            (_, Some(value), _) if !value.is_finite() => Err((
                "value",
                SpecError::new("not a value").found(value.to_string()).expected("a number"),
            )),
            (_, _, Some(tolerance)) if !(tolerance >= 0.0 && tolerance.is_finite()) => Err((
                "tolerance",
                SpecError::new("not a tolerance")
                    .found(tolerance.to_string())
                    .expected("a number from 0 on"),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "\
about: A paper.
margins:
  - {task: image-classification, value: 1.0, reason: small}
claims:
  - name: fewer
    statement: It has fewer parameters.
    source: abstract
    checks:
      - {check: reduction, spec: a.yaml, arm: vlora, value: 0.75}
      - {check: preserved, spec: a.yaml, arm: vlora, against: other}
      - {check: reaches, spec: a.yaml, arm: dense, value: 91.4, tolerance: 0.5}
  - {name: open, statement: x, source: y, open: nobody has looked, requires: [fewer]}
";

    fn told(from: &str, to: &str) -> String {
        let text = SOUND.replacen(from, to, 1);
        assert_ne!(text, SOUND, "{from}");
        let error = Claims::parse(&text).unwrap_err();
        hints::complete(error).in_file("claims.yaml", &text).to_string()
    }

    #[test]
    fn claims_are_read() {
        let claims = Claims::parse(SOUND).unwrap();
        assert_eq!(claims.claims.len(), 2);
        assert_eq!(claims.claims[0].checks[1].against.as_deref(), Some("other"));
        assert_eq!(claims.margin(Task::ALL[0]).map(|m| m.value), Some(1.0));
    }

    #[test]
    fn faults_are_reported_with_their_line() {
        for (from, to, parts) in [
            ("about:", "abuot:", &["claims.yaml:1:1", "`abuot`", "did you mean `about`?"][..]),
            ("check: reduction", "check: reductoin", &["claims.yaml:9:", "`reductoin`"]),
            ("value: 0.75}", "value: 75}", &["claims.yaml:9:", "not a share", "from 0 to 1"]),
            (", value: 0.75}", "}", &["claims.yaml:9:", "`value` is missing"]),
            (", tolerance: 0.5", "", &["claims.yaml:11:", "`tolerance` is missing"]),
            ("against: other", "value: 3", &["claims.yaml:10:", "this check has no `value`"]),
            ("value: 1.0, r", "value: -1, r", &["claims.yaml:3:", "not a margin"]),
            ("task: image-c", "task: imagec", &["claims.yaml:3:", "image-classification"]),
            (
                "requires: [fewer]",
                "requires: [fever]",
                &["claims.yaml:12:", "did you mean `fewer`?"],
            ),
            ("requires: [fewer]", "requires: [open]", &["claims.yaml:12:", "no such claim above"]),
            ("against: other", "against: vlora", &["claims.yaml:10:", "compared with itself"]),
            ("value: 91.4", "value: .nan", &["claims.yaml:11:", "a number"]),
            (
                "claims:\n",
                "  - {task: image-classification, value: 2, reason: x}\nclaims:\n",
                &["claims.yaml:4:", "a task has two margins"],
            ),
            ("name: open", "name: fewer", &["claims.yaml:12:", "two claims have the same name"]),
        ] {
            let told = told(from, to);
            for part in parts {
                assert!(told.contains(part), "{part} is missing in {told}");
            }
        }
    }
}
