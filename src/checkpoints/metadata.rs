//! What a model's numbers stand for, which its weights do not say: what its classes are called
//! and how its images were normalised.

use serde::{Deserialize, Serialize};

use crate::spec::{ModelSpec, Normalize, VitSpec};

/// Names of the classes and the images' normalisation, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// One a class, in the classifier's order; empty where they are not known.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Subtracted from pixels in \[0, 1\] and divided by, one value a channel.
    #[serde(default)]
    pub normalize: Option<Normalize>,
}

impl Metadata {
    pub fn is_empty(&self) -> bool {
        *self == Metadata::default()
    }

    /// What of them cannot be this model's: found, expected.
    pub fn contradiction(&self, model: &ModelSpec) -> Option<(String, String)> {
        let (names, classes) = (self.class_names.len(), model.classes());
        if names != 0 && names != classes {
            return Some((format!("{names} class names"), format!("{classes}, or none")));
        }
        let Normalize { mean, std } = self.normalize.as_ref()?;
        let Some(VitSpec { channels, .. }) = model.as_vit() else {
            return Some(("a normalisation of images".into(), "none for texts".into()));
        };
        if mean.len() != *channels || std.len() != *channels {
            let found = format!("{} means and {} deviations", mean.len(), std.len());
            return Some((found, format!("{channels} each, one a channel")));
        }
        let good =
            mean.iter().all(|v| v.is_finite()) && std.iter().all(|v| v.is_finite() && *v > 0.0);
        (!good).then(|| (format!("mean {mean:?}, std {std:?}"), "numbers, std above 0".into()))
    }
}
