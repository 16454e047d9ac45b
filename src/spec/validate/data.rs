//! `data`: where a run's examples are and which splits they form, whatever they are.

use super::check::{Check, hub_name, one_source};
use crate::spec::error::SpecError;
use crate::spec::schema::{FilesSpec, SplitSpec};
use crate::spec::wording::one_of;

/// Datasets that `data.embedded` can name.
pub const EMBEDDED_DATASETS: [&str; 2] = ["fashion-mnist-mini", "shakespeare"];

/// Where a run's examples are, whatever they are.
pub fn files(data: &FilesSpec, check: &Check) -> Result<(), SpecError> {
    let sources = [("hub", data.hub), ("path", data.path), ("embedded", data.embedded)];
    one_source("data", "of data", &sources, check)?;
    if let Some(repository) = data.hub {
        hub_name("data.hub", repository, check)?;
    }
    if let Some(name) = data.embedded.filter(|n| !EMBEDDED_DATASETS.contains(n)) {
        return Err(SpecError::new("unknown embedded dataset")
            .found(format!("`{name}`"))
            .expected(one_of(&EMBEDDED_DATASETS))
            .suggest(name, EMBEDDED_DATASETS)
            .at(check.origin("data.embedded")));
    }
    splits(data, check)
}

fn splits(data: &FilesSpec, check: &Check) -> Result<(), SpecError> {
    check.that("data.train", !data.train.is_empty(), "the name of a split")?;
    let mut names = vec![("data.train", data.train)];
    let mut taken = 0.0;
    let others = [("data.validation", data.validation), ("data.test", data.test)];
    for (field, split) in others {
        let Some(split) = split else { continue };
        match split {
            SplitSpec::Named(name) => {
                check.that(field, !name.is_empty(), "the name of a split")?;
                for (other, same) in &names {
                    check.that(
                        field,
                        name != same,
                        format!("a split other than {other}'s, so that no example is in both"),
                    )?;
                }
                names.push((field, name));
            }
            SplitSpec::Part(part) => {
                let field = format!("{field}.fraction");
                let sound = part.fraction > 0.0 && part.fraction < 1.0;
                check.that(&field, sound, "a number above 0, below 1")?;
                taken += part.fraction;
                let expected = "fractions that leave something to train on: a sum below 1";
                check.that(&field, taken < 1.0, expected)?;
            }
        }
    }
    Ok(())
}
