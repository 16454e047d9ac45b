//! Draws parts of a training split at random, to use them for validation and test.

use crate::error::{Error, Fault, Result};
use crate::random::{Purpose, Stream};
use crate::spec::PartSpec;

/// Rows of the training split for each use, in the files' order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    pub train: Vec<u32>,
    /// Empty if the spec wants no such part.
    pub validation: Vec<u32>,
    pub test: Vec<u32>,
}

/// Draws the test part from `rows` rows, then the validation part from the rest. So the validation
/// part never changes the test part. Errors if a part or the rest for training is empty.
pub fn draw(rows: usize, validation: Option<&PartSpec>, test: Option<&PartSpec>) -> Result<Parts> {
    let mut train: Vec<u32> = (0..u32::try_from(rows).map_err(|_| too_many(rows))?).collect();
    let test = take(&mut train, rows, "test", test)?;
    let validation = take(&mut train, rows, "validation", validation)?;
    match train.is_empty() {
        true => Err(Fault::new("nothing is left to train on")
            .within("data")
            .found(format!("{rows} examples, all of which are in the parts"))
            .expected("smaller fractions")
            .into()),
        false => Ok(Parts { train, validation, test }),
    }
}

fn too_many(rows: usize) -> Error {
    Error::from(
        Fault::new(format!("{rows} examples are more than parts are drawn from")).within("data"),
    )
}

/// Draws a part's rows and removes them from `left`.
fn take(left: &mut Vec<u32>, rows: usize, name: &str, part: Option<&PartSpec>) -> Result<Vec<u32>> {
    let Some(part) = part else { return Ok(Vec::new()) };
    // In floating point 0.29 · 100 is 28.999999999999996, which must give 29.
    let count = (part.fraction * rows as f64 + 1e-9).floor() as usize;
    if count == 0 {
        return Err(Fault::new("the part is empty")
            .source(format!("data.{name}"))
            .found(format!("{} of {rows} examples", part.fraction))
            .expected("a fraction that makes at least one example")
            .into());
    }
    let order = Stream::new(part.seed, Purpose::Split, name).permutation(left.len());
    let mut drawn = vec![false; left.len()];
    order.iter().take(count).for_each(|i| drawn[*i] = true);
    let pick = |wanted: bool| {
        let rows = left.iter().zip(&drawn).filter(move |(_, drawn)| **drawn == wanted);
        rows.map(|(row, _)| *row).collect::<Vec<u32>>()
    };
    let (taken, kept) = (pick(true), pick(false));
    *left = kept;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(fraction: f64, seed: u64) -> PartSpec {
        PartSpec { fraction, seed }
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_ordered_and_complete(
            rows in 10usize..2000, a in 0.1f64..0.45, b in 0.1f64..0.45, seed in 0u64..1000,
        ) {
            let parts = draw(rows, Some(&part(a, seed)), Some(&part(b, seed))).unwrap();
            prop_assert_eq!(parts.validation.len(), (a * rows as f64 + 1e-9) as usize);
            prop_assert_eq!(parts.test.len(), (b * rows as f64 + 1e-9) as usize);
            for rows in [&parts.train, &parts.validation, &parts.test] {
                prop_assert!(rows.windows(2).all(|w| w[0] < w[1]));
            }
            let mut all = [parts.train, parts.validation, parts.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_part_depends_on_its_own_seed_alone() {
        let of =
            |validation: Option<&PartSpec>, seed| draw(100, validation, Some(&part(0.29, seed)));
        let plain = of(None, 1).unwrap();
        assert_eq!((plain.test.len(), plain.validation.len()), (29, 0));
        assert_eq!(of(Some(&part(0.5, 9)), 1).unwrap().test, plain.test);
        assert_ne!(of(None, 2).unwrap().test, plain.test);
        // With the same seed, test and validation parts are drawn differently.
        let validation = draw(100, Some(&part(0.29, 1)), None).unwrap().validation;
        assert_ne!(validation, plain.test);
    }

    #[test]
    fn all_rows_are_drawn_equally_often() {
        let mut counts = [0u32; 10];
        for seed in 0..5000 {
            for row in draw(10, Some(&part(0.3, seed)), None).unwrap().validation {
                counts[row as usize] += 1;
            }
        }
        // 1500 of 5000 each; five standard deviations of a binomial are 162.
        assert!(counts.iter().all(|c| c.abs_diff(1500) < 162), "{counts:?}");
    }

    #[test]
    fn an_empty_part_is_refused() {
        let error = draw(9, Some(&part(0.1, 0)), None).unwrap_err().to_string();
        assert!(error.contains("data.validation: the part is empty"), "{error}");
        assert!(draw(2, Some(&part(0.5, 0)), Some(&part(0.5, 0))).is_err());
    }
}
