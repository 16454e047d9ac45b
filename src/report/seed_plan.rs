//! What the planned seeds can show, said before training.

use super::comparison_table::seeds_needed;
use super::numbers::level;
use super::statistics::{POWER, Spread, detectable, seeds_for_margin};
use super::table::percent;
use crate::results::Metric;

/// The standard deviation of the differences of two arms with the same seed, in the metric's stored
/// unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deviation {
    Given(f64),
    /// Pooled over the comparisons that have finished, with its degrees of freedom. There are fewer
    /// where comparisons share a baseline.
    OfRuns(f64, usize),
}

impl Deviation {
    /// Pooled over comparisons, each with the differences of its seeds. None with fewer than two
    /// differences in each.
    pub fn pooled(comparisons: &[Vec<f64>]) -> Option<Deviation> {
        let (mut squares, mut degrees) = (0.0, 0);
        for Spread { n, sd, .. } in comparisons.iter().filter_map(|values| Spread::of(values)) {
            let Some(sd) = sd else { continue };
            squares += (n - 1) as f64 * sd * sd;
            degrees += n - 1;
        }
        (squares > 0.0).then(|| Deviation::OfRuns((squares / degrees as f64).sqrt(), degrees))
    }

    fn value(self) -> f64 {
        match self {
            Deviation::Given(value) | Deviation::OfRuns(value, _) => value,
        }
    }
}

/// A plan of seeds.
#[derive(Clone, Copy, Debug)]
pub struct SeedPlan<'a> {
    pub metric: &'a Metric,
    pub seeds: usize,
    /// Comparisons with a baseline.
    pub comparisons: usize,
    /// Whether the spec names one of them as primary contrast.
    pub has_primary: bool,
    pub deviation: Option<Deviation>,
    /// A loss that is small enough to be called none, in the metric's stored unit.
    pub margin: Option<f64>,
}

impl SeedPlan<'_> {
    /// One sentence a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.test_line()];
        let Some(deviation) = self.deviation else {
            lines.push(
                "what difference they can show depends on the differences' standard deviation: give \
                 it by --sd, or finish two seeds of two arms"
                    .into(),
            );
            return lines;
        };
        let from = match deviation {
            Deviation::Given(_) => "as given".to_string(),
            Deviation::OfRuns(_, degrees) => {
                format!("of the finished runs, at most {degrees} degrees of freedom")
            }
        };
        let (sd, power) = (self.difference(deviation.value()), percent(POWER).replace(".0", ""));
        match detectable(self.seeds, deviation.value()) {
            Some(least) => lines.push(format!(
                "with a standard deviation of {sd} ({from}), the {} interval of a true difference of \
                 {} excludes zero with probability {power}",
                level(),
                self.difference(least)
            )),
            None if self.seeds < 2 => {
                lines.push("one seed gives no interval of a difference: it takes two or more".into());
            }
            None => {}
        }
        if let Some(margin) = self.margin {
            let within = self.difference(margin);
            lines.push(match seeds_for_margin(margin, deviation.value()) {
                Some(seeds) => format!(
                    "with a standard deviation of {sd} ({from}), it takes {seeds} seeds to show that an \
                     equal arm loses less than {within}, with probability {power}"
                ),
                None => format!(
                    "it takes more than 10,000 seeds to show that an equal arm loses less than {within}"
                ),
            });
        }
        lines
    }

    /// Which comparisons the exact test can find significant.
    fn test_line(&self) -> String {
        let tested = if self.has_primary { 1 } else { self.comparisons };
        let what = match (self.has_primary, tested) {
            (true, _) => "the primary contrast".to_string(),
            (false, 1) => "the comparison".to_string(),
            (false, n) => format!("{n} comparisons"),
        };
        let least = seeds_needed(tested);
        match self.seeds >= least {
            true => format!("enough for the sign-flip test of {what}, which takes {least}"),
            false => format!(
                "too few for the sign-flip test of {what}, which takes {least}: tables will call no \
                 difference significant"
            ),
        }
    }

    /// A difference with its unit.
    fn difference(&self, value: f64) -> String {
        let number = self.metric.shown(value);
        // Two digits that count, whatever the size.
        let decimals = (1.0 - number.abs().log10().floor()).clamp(0.0, 12.0) as usize;
        let text = format!("{number:.decimals$}");
        match self.metric.difference_unit {
            "" => text,
            unit => format!("{text} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_its_seeds_can_show() {
        let plan = SeedPlan {
            metric: &Metric::SHARE,
            seeds: 3,
            comparisons: 2,
            has_primary: false,
            deviation: Some(Deviation::OfRuns(0.004, 4)),
            margin: Some(0.01),
        };
        // By statsmodels, 0.4 with three seeds has a detectable difference of 1.31.
        assert_eq!(
            plan.lines(),
            [
                "too few for the sign-flip test of 2 comparisons, which takes 7: tables will call no \
                 difference significant",
                "with a standard deviation of 0.40 points (of the finished runs, at most 4 degrees of \
                 freedom), the 95 % interval of a true difference of 1.3 points excludes zero with \
                 probability 80 %",
                "with a standard deviation of 0.40 points (of the finished runs, at most 4 degrees of \
                 freedom), it takes 3 seeds to show that an equal arm loses less than 1.0 points, \
                 with probability 80 %",
            ]
        );
        let pooled = Deviation::pooled(&[vec![0.0, 2.0], vec![1.0, 1.0, 4.0], vec![9.0]]);
        assert_eq!(pooled, Some(Deviation::OfRuns((8f64 / 3.0).sqrt(), 3)));
        assert_eq!(Deviation::pooled(&[vec![1.0], vec![2.0, 2.0]]), None);
        let primary = SeedPlan { seeds: 6, has_primary: true, deviation: None, ..plan };
        assert_eq!(
            primary.lines()[0],
            "enough for the sign-flip test of the primary contrast, which takes 6"
        );
        assert!(primary.lines()[1].contains("give it by --sd"));
        let one = SeedPlan { seeds: 1, deviation: Some(Deviation::Given(0.004)), ..plan };
        assert_eq!(one.lines().len(), 3, "{:?}", one.lines());
        assert!(one.lines()[1].contains("takes two or more"));
    }
}
