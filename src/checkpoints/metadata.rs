//! Facts about a model that its weights do not contain: the names of its classes, and how its
//! images were normalised.

use serde::{Deserialize, Serialize};

use crate::spec::{ModelSpec, Normalize, VitSpec};

/// Names of the classes and normalisation of the images, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// One name for each class, in the classifier's order; empty if they are not known.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Mean and deviation of each channel, for pixels in \[0, 1\].
    #[serde(default)]
    pub normalize: Option<Normalize>,
}

impl Metadata {
    pub fn is_empty(&self) -> bool {
        *self == Metadata::default()
    }

    /// The first contradiction to this model, as texts: found, expected.
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
