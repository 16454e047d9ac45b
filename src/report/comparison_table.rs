//! The table of comparisons with the baseline, and the notes that say how to read it.

use super::comparison::{Comparison, Examples};
use super::numbers::{difference_title, interval, level, p_value, seeds, signed};
use super::statistics::{RESAMPLES, SIGNIFICANCE, smallest_p};
use super::summary::{ArmSummary, Summary};
use super::table::{Align, Cell, Table, count};
use super::text::code;

/// Stands for a p-value that could not be significant.
const TOO_FEW: &str = "too few seeds";

impl Summary {
    /// The arms that are compared with their baseline, each with its comparison.
    pub fn comparisons(&self) -> Vec<(&ArmSummary, &Comparison)> {
        self.arms.iter().filter_map(|arm| Some((arm, arm.comparison.as_ref()?))).collect()
    }

    /// One row per comparison with a baseline.
    pub fn comparison_table(&self) -> Table {
        let comparisons = self.comparisons();
        let by_example = comparisons.iter().any(|(_, c)| c.largest_mcnemar().is_some());
        let difference = difference_title(self.metric());
        let right = Align::Right;
        let mut table = Table::new()
            .column("arm", "arm", Align::Left)
            .column("role", "role", Align::Left)
            .column("seeds", "seeds", right)
            .column("difference", difference, right)
            .hidden("difference_sd")
            .hidden("difference_low")
            .hidden("difference_high")
            .column_for_people(format!("{} interval", level()), right)
            .column("sign_flip_p", "sign-flip p", right)
            .hidden("smallest_p")
            .column("adjusted_p", "Holm p", right)
            .hidden("adjusted_for")
            .column_if(by_example, "mcnemar_p", "McNemar p, largest", right);
        if self.has_bootstrap() {
            table = table.column("bootstrap_p", "bootstrap p, largest", right);
        }
        for arm in self.compared_arms() {
            let cells = match &arm.comparison {
                Some(comparison) => self.comparison_cells(arm, comparison),
                None => self.cells_without_results(arm, table.column_count()),
            };
            table.row(cells);
        }
        table
    }

    /// Whether runs are compared by the paired bootstrap.
    fn has_bootstrap(&self) -> bool {
        let mut pairs = self.comparisons().into_iter().flat_map(|(_, c)| &c.pairs);
        pairs.any(|pair| pair.bootstrap_p.is_some())
    }

    /// The row of a comparison of which there are no results yet, or none any more.
    fn cells_without_results(&self, arm: &ArmSummary, columns: usize) -> Vec<Cell> {
        let mut cells = vec![
            Cell::text(&arm.variant.label),
            Cell::text(self.role(arm)),
            Cell::number(0, format!("0 of {}", arm.variant.runs.len())),
        ];
        cells.resize(columns, Cell::none());
        cells
    }

    fn role(&self, arm: &ArmSummary) -> &'static str {
        if self.record.is_primary(&arm.variant) { "primary" } else { "exploratory" }
    }

    fn comparison_cells(&self, arm: &ArmSummary, c: &Comparison) -> Vec<Cell> {
        let metric = self.metric();
        let number = |value: Option<f64>, text: &dyn Fn(f64) -> String| {
            value.map_or_else(Cell::none, |value| Cell::number(value, text(value)))
        };
        let full = |value: Option<f64>| number(value, &|v| v.to_string());
        let tested = |p: Option<f64>| {
            number(p, &|p| if c.is_testable() { p_value(p) } else { TOO_FEW.into() })
        };
        let mean = c.difference.mean;
        let mut cells = vec![
            Cell::text(&arm.variant.label),
            Cell::text(self.role(arm)),
            match c.pairs.len() {
                n if n == c.planned => Cell::number(n, n.to_string()),
                n => Cell::number(n, format!("{n} of {}", c.planned)),
            },
            Cell::number(mean, signed(metric, mean)).bold_if(c.is_significant()),
            full(c.difference.sd),
            full(c.interval.map(|bounds| bounds.low)),
            full(c.interval.map(|bounds| bounds.high)),
            c.interval.map_or_else(Cell::none, |bounds| Cell::shown(interval(metric, bounds))),
            tested(c.sign_flip),
            full(Some(smallest_p(c.pairs.len()))),
            tested(c.adjusted),
            Cell::number(c.family, c.family.to_string()),
            number(c.largest_mcnemar(), &p_value),
        ];
        if self.has_bootstrap() {
            cells.push(number(c.largest_bootstrap(), &p_value));
        }
        cells
    }

    /// One row per comparison and seed.
    pub fn pair_table(&self) -> Table {
        let right = Align::Right;
        let mut table = Table::new()
            .column("arm", "arm", Align::Left)
            .column("seed", "seed", right)
            .column("difference", "difference", right)
            .column("arm_only", "right by the arm alone", right)
            .column("baseline_only", "right by the baseline alone", right)
            .column("mcnemar_p", "McNemar p", right);
        if self.has_bootstrap() {
            table = table.column("bootstrap_p", "bootstrap p", right);
        }
        for (arm, comparison) in self.comparisons() {
            for pair in &comparison.pairs {
                let count = |of: fn(&Examples) -> u64| match &pair.examples {
                    Some(examples) => Cell::number(of(examples), of(examples).to_string()),
                    None => Cell::none(),
                };
                let p = |p: Option<f64>| p.map_or_else(Cell::none, |p| Cell::number(p, p_value(p)));
                let mut cells = vec![
                    Cell::text(&arm.variant.label),
                    Cell::number(pair.seed, pair.seed.to_string()),
                    Cell::number(pair.difference, signed(self.metric(), pair.difference)),
                    count(|examples| examples.arm_only),
                    count(|examples| examples.baseline_only),
                    p(pair.examples.map(|examples| examples.p)),
                ];
                if self.has_bootstrap() {
                    cells.push(p(pair.bootstrap_p));
                }
                table.row(cells);
            }
        }
        table
    }

    /// What a reader must know to judge the comparisons, as Markdown.
    pub fn comparison_notes(&self) -> Vec<String> {
        let comparisons = self.comparisons();
        if comparisons.is_empty() {
            return Vec::new();
        }
        let mut notes = vec![format!(
            "Differences are taken seed by seed and averaged. The {} interval of their mean is \
             Student's t interval and is about training with other seeds; it is not adjusted for the \
             number of comparisons.",
            level()
        )];
        notes.push(match &self.record.primary_contrast {
            Some(primary) if primary.is_in_advance() => {
                let has_pairs = comparisons.iter().any(|(_, c)| c.is_primary);
                let missing = if has_pairs { "" } else { " No seed of both arms has finished." };
                format!(
                    "The primary contrast is {} against the baseline, named before any run had \
                     finished (spec {}…). It is tested alone; all other comparisons are exploratory \
                     and adjusted among themselves.{missing}",
                    code(&primary.label),
                    primary.spec_sha256.get(..12).unwrap_or(&primary.spec_sha256)
                )
            }
            Some(primary) => format!(
                "{} was named as primary contrast, over these seeds, after {} of the experiment's runs \
                 had finished, so it counts as exploratory, as all comparisons do.",
                code(&primary.label),
                primary.finished_before
            ),
            None => "All comparisons are exploratory: the spec names no primary contrast.".into(),
        });
        notes.extend(self.test_note());
        if comparisons.iter().any(|(_, c)| c.largest_mcnemar().is_some()) {
            notes.push(
                "McNemar's exact test counts the test examples that one of two runs alone has \
                 right. It is about these weights on other test examples, not about training with \
                 other seeds; the largest p-value of an arm's seeds is shown."
                    .into(),
            );
        }
        if self.has_bootstrap() {
            notes.push(format!(
                "The paired bootstrap draws the test examples of two runs {} times with replacement, \
                 the same for both, and computes the metric of each draw as of the whole. It is about \
                 these weights on other test examples, not about training with other seeds; the \
                 largest p-value of an arm's seeds is shown.",
                count(u64::from(RESAMPLES))
            ));
        }
        notes
    }

    /// What the sign-flip test can find with these seeds.
    fn test_note(&self) -> Option<String> {
        let comparisons = self.comparisons();
        let most = comparisons.iter().map(|(_, c)| c.pairs.len()).max()?;
        let family = comparisons.iter().map(|(_, c)| c.family).max()?;
        let smallest = smallest_p(most);
        let floor = format!(
            "The smallest p-value of the sign-flip test with {} is {}",
            seeds(most),
            smallest_text(smallest)
        );
        let adjusted = match family {
            1 => String::new(),
            n => format!(
                ", and {} after Holm's adjustment for {n} comparisons",
                smallest_text((n as f64 * smallest).min(1.0))
            ),
        };
        let primary = match comparisons.iter().any(|(_, c)| c.is_primary) {
            true => " (the primary contrast: by its own p-value)",
            false => "",
        };
        let testable = comparisons.iter().any(|(_, c)| c.is_testable());
        Some(match testable {
            false => format!(
                "{floor}{adjusted}: too few to test at the level {SIGNIFICANCE}, for which it takes \
                 {} at least. No difference is called significant.",
                seeds_needed(family)
            ),
            true => format!(
                "{floor}{adjusted}. Bold: at most {SIGNIFICANCE} after adjustment{primary}, once \
                 all planned seeds have finished."
            ),
        })
    }
}

/// A smallest p-value, not rounded below itself.
fn smallest_text(p: f64) -> String {
    if p >= 0.001 { p_value(p) } else { format!("{p:.1e}") }
}

/// The least number of seeds with which all of `comparisons` could be significant.
pub fn seeds_needed(comparisons: usize) -> usize {
    let is_enough = |n: &usize| comparisons as f64 * smallest_p(*n) <= SIGNIFICANCE;
    (1..).find(is_enough).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_comparisons_need_more_seeds() {
        assert_eq!([1, 2, 3, 6, 7].map(seeds_needed), [6, 7, 7, 8, 9]);
        assert_eq!([0.25, 0.0078125, 2.0 / 4096.0].map(smallest_text), ["0.25", "0.008", "4.9e-4"]);
    }
}
