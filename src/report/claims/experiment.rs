//! The checks of claims on one experiment.

use super::{ClaimFault, Contrast, EvaluatedCheck, Verdict};
use crate::report::comparison::Comparison;
use crate::report::numbers::{p_value, plus_minus, seeds, signed};
use crate::report::statistics::{
    NonInferiority, SIGNIFICANCE, Spread, non_inferiority, seeds_for_margin,
};
use crate::report::summary::{ArmSummary, Summary};
use crate::report::table::{count, percent, reduction};
use crate::report::text::{code, markdown};
use crate::results::{Better, Metric};
use crate::spec::{
    ChangedField, CheckKind, ClaimCheck, Claims, Experiment, NUMERICS_VERSION, Variant,
    changed_field, nearest, shorten,
};

/// An experiment that checks are about.
pub struct ClaimExperiment {
    pub experiment: Experiment,
    /// The spec's path, for the command that runs it.
    pub spec: String,
    /// Parameters of each variant of the experiment.
    pub parameters: Vec<u64>,
    /// The metrics of its task, the primary one first.
    pub metrics: &'static [Metric],
    pub results: Results,
}

/// What there is of an experiment's results.
pub enum Results {
    None,
    /// They cannot be used, with the reason.
    Unusable(String),
    Read(Box<Summary>),
}

impl Results {
    /// None where there are none that can be used.
    pub fn summary(&self) -> Option<&Summary> {
        match self {
            Results::Read(summary) => Some(summary),
            Results::None | Results::Unusable(_) => None,
        }
    }
}

impl ClaimExperiment {
    pub(super) fn evaluate(
        &self,
        claims: &Claims,
        check: &ClaimCheck,
    ) -> Result<EvaluatedCheck, ClaimFault> {
        let (index, variant) = self.variant(&check.arm)?;
        let value = check.value.unwrap_or_default();
        match check.check {
            CheckKind::Parameters => Ok(self.parameter_count(index, value)),
            CheckKind::Reduction => self.parameter_reduction(index, variant, value),
            CheckKind::Reaches => {
                let tolerance = check.tolerance.unwrap_or_default();
                let metric = self.metric(check.metric.as_deref())?;
                let mut found = self.with_results(variant, |_, arm| {
                    self.published_value(arm, metric, value, tolerance)
                });
                if let (Some(name), Verdict::NotRun) = (&check.metric, found.verdict) {
                    found.finding = format!("{} ({})", found.finding, markdown(name));
                }
                Ok(found)
            }
            CheckKind::Rises => {
                Ok(self.with_results(variant, |summary, arm| self.rising_layers(summary, arm)))
            }
            CheckKind::Preserved => {
                let against = match &check.against {
                    Some(label) => Some(self.variant(label)?.1),
                    None => self.experiment.baseline_of(variant),
                };
                let against = against.ok_or_else(|| no_baseline(&check.arm))?;
                let against_label = against.compared_label();
                let task = variant.spec.task;
                let margin = claims.margin(task).ok_or_else(|| {
                    ClaimFault::new(
                        "the claims have no margin for the task of this arm",
                        task.name(),
                    )
                })?;
                let beside: Result<Vec<&Variant>, ClaimFault> =
                    check.beside.iter().map(|label| Ok(self.variant(label)?.1)).collect();
                let beside = beside?;
                Ok(self.with_results(variant, |summary, arm| {
                    let other = summary.arms.iter().find(|a| a.variant.label == against_label);
                    match other.map(|other| (other, self.spec_change(against, other))) {
                        None => self.not_run(against_label, OTHER_ARMS),
                        Some((_, Some(change))) => self.undecided(against_label, &change),
                        Some((other, None)) => {
                            let mut found = self.preservation(summary, arm, other, margin.value);
                            let compared = self.beside(&beside, summary, other, margin.value);
                            found.contrasts.extend(compared);
                            found
                        }
                    }
                }))
            }
        }
    }

    /// Where results are of other settings than the spec's: the first arm of which this is true, and a
    /// field. None without results.
    pub fn deviation(&self) -> Option<String> {
        let summary = self.results.summary()?;
        summary.arms.iter().find_map(|arm| {
            let label = &arm.variant.label;
            let variant = self.experiment.variants.iter().find(|v| v.compared_label() == label);
            let change = match variant {
                Some(variant) => self.spec_change(variant, arm)?,
                None => "the results have an arm that the spec has not".into(),
            };
            Some(format!("{}: {change}", code(label)))
        })
    }

    /// Why its results are not shown; None if they are.
    pub fn missing(&self) -> Option<String> {
        match &self.results {
            Results::Read(_) => None,
            Results::Unusable(reason) => Some(reason.clone()),
            Results::None => Some(self.no_results()),
        }
    }

    fn no_results(&self) -> String {
        format!("no results; {} makes them", code(&format!("vlora run {}", self.spec)))
    }

    fn variant(&self, label: &str) -> Result<(usize, &Variant), ClaimFault> {
        let variants = &self.experiment.variants;
        let found = variants.iter().enumerate().find(|(_, v)| v.compared_label() == label);
        found.ok_or_else(|| {
            let labels = || variants.iter().map(Variant::compared_label);
            // An arm that is swept over has a label for each of its points.
            let of_arm = variants.iter().find(|v| v.arm == label).map(Variant::compared_label);
            ClaimFault {
                nearest: of_arm.or_else(|| nearest(label, labels())).map(String::from),
                ..ClaimFault::new("the experiment has no such arm", label)
            }
        })
    }

    /// The metric of a name, or the primary one.
    fn metric(&self, name: Option<&str>) -> Result<&'static Metric, ClaimFault> {
        let Some(name) = name else { return Ok(&self.metrics[0]) };
        let found = self.metrics.iter().find(|metric| metric.name == name);
        found.ok_or_else(|| ClaimFault {
            nearest: nearest(name, self.metrics.iter().map(|metric| metric.name)).map(String::from),
            ..ClaimFault::new("the experiment's task has no such metric", name)
        })
    }

    fn parameter_count(&self, index: usize, published: f64) -> EvaluatedCheck {
        let found = self.parameters[index];
        EvaluatedCheck {
            verdict: decided(found as f64 == published),
            finding: format!(
                "{} has {} parameters; published: {}",
                self.named(self.experiment.variants[index].compared_label()),
                count(found),
                count(published as u64)
            ),
            experiment: None,
            runs: Vec::new(),
            contrasts: Vec::new(),
        }
    }

    fn parameter_reduction(
        &self,
        index: usize,
        variant: &Variant,
        least: f64,
    ) -> Result<EvaluatedCheck, ClaimFault> {
        let baseline = self.experiment.baseline_of(variant);
        let baseline = baseline.ok_or_else(|| no_baseline(variant.compared_label()))?;
        let (base, baseline) = self.variant(baseline.compared_label())?;
        let (parameters, all) = (self.parameters[index], self.parameters[base]);
        let share = reduction(parameters, all);
        Ok(EvaluatedCheck {
            verdict: decided(share >= least),
            finding: format!(
                "{} has {} fewer parameters than {} ({} and {}); needed: {} at least",
                self.named(variant.compared_label()),
                percent(share),
                code(baseline.compared_label()),
                count(parameters),
                count(all),
                percent(least)
            ),
            experiment: None,
            runs: Vec::new(),
            contrasts: Vec::new(),
        })
    }

    /// Whether the mean is at most `tolerance` worse than a published value, both in the printed unit.
    fn published_value(
        &self,
        arm: &ArmSummary,
        metric: &Metric,
        published: f64,
        tolerance: f64,
    ) -> EvaluatedCheck {
        let Some(test) = arm.tested(metric) else {
            return self.not_run(&arm.variant.label, UNFINISHED);
        };
        let found = metric.shown(test.mean);
        let worse = match metric.better {
            Better::Higher => published - found,
            Better::Lower => found - published,
        };
        let text = format!(
            "{} reaches {}{} over {}{}; published: {published}, and at most {tolerance} worse is \
             needed; found minus published: {}",
            self.named(&arm.variant.label),
            plus_minus(metric, test),
            unit(metric),
            self.seeds_of_planned(test.n),
            numerics(&[arm]),
            format!("{:+.*}", metric.decimals.max(2), found - published).replace('-', "−")
        );
        // Shares are published in per cent, and a fraction of one is no accuracy.
        let is_share = metric.scale == 100.0;
        let is_plausible = !is_share || (1.0..=100.0).contains(&published);
        // The mean's spread is not known from one seed. Decimal fractions are rounded in binary ones.
        let holds = worse <= tolerance + 1e-9;
        let (verdict, finding) = match () {
            () if !is_plausible => {
                let unit = markdown(metric.unit);
                (Verdict::Undecided, format!("{text}; is the published value in {unit}?"))
            }
            () if test.n < 2 => (Verdict::Undecided, format!("{text}; one seed does not decide")),
            () if test.n < self.experiment.seeds.len() => {
                (Verdict::Undecided, format!("{text}; planned seeds are missing"))
            }
            () => (decided(holds), text),
        };
        let experiment = Some(self.experiment.name.clone());
        EvaluatedCheck {
            verdict,
            finding,
            experiment,
            runs: run_ids(&[arm]),
            contrasts: Vec::new(),
        }
    }

    /// Whether every layer raises the log-likelihood of the truth. All layers have to, so each is tested
    /// at the full level; that one lowers it is found at a level divided by their number.
    fn rising_layers(&self, summary: &Summary, arm: &ArmSummary) -> EvaluatedCheck {
        let label = &arm.variant.label;
        let layers = summary.layers();
        let Some(layers) = layers.iter().find(|layers| layers.arm.variant.label == *label) else {
            let command = code(&format!("vlora probe results/{}", self.experiment.name));
            return self.not_run(label, &format!("its layers were not read; {command} reads them"));
        };
        let gains = layers.gains();
        let runs = gains.first().map_or(0, Vec::len);
        let level = SIGNIFICANCE / gains.len().max(1) as f64;
        let (mut raised, mut lowered) = (0, Vec::new());
        for (layer, gains) in gains.iter().enumerate() {
            let opposite: Vec<f64> = gains.iter().map(|gain| -gain).collect();
            raised += usize::from(non_inferiority(gains, 0.0).is_some_and(NonInferiority::holds));
            if non_inferiority(&opposite, 0.0).is_some_and(|tested| tested.p < level) {
                lowered.push((layer + 1).to_string());
            }
        }
        let found = format!(
            "{}: {raised} of {} layers raise the log-likelihood of the truth over {} ({} split{})",
            self.named(label),
            gains.len(),
            self.seeds_of_planned(runs),
            layers.split,
            numerics(&[arm]),
        );
        let (verdict, finding) = if runs < self.experiment.seeds.len() {
            (Verdict::Undecided, format!("{found}; planned seeds are missing"))
        } else if !lowered.is_empty() {
            let which = if lowered.len() == 1 { "layer" } else { "layers" };
            (Verdict::NotSupported, format!("{found}; {which} {} lowered it", lowered.join(", ")))
        } else if raised < gains.len() {
            (Verdict::Undecided, format!("{found}; the others do not decide"))
        } else if arm.not_learned().next().is_some() {
            (Verdict::Undecided, format!("{found}; but not all of its runs learned"))
        } else {
            (Verdict::Supported, found)
        };
        EvaluatedCheck {
            verdict,
            finding,
            experiment: Some(self.experiment.name.clone()),
            runs: run_ids(&[arm]),
            contrasts: Vec::new(),
        }
    }

    /// Whether `arm` is not worse than `other` by the margin, in the printed unit.
    fn preservation(
        &self,
        summary: &Summary,
        arm: &ArmSummary,
        other: &ArmSummary,
        margin: f64,
    ) -> EvaluatedCheck {
        let Some((contrast, reason)) = self.contrast(summary, arm, other, margin) else {
            return self.not_run(&arm.variant.label, "no seed that both arms have finished");
        };
        let metric = contrast.metric;
        let finding = format!(
            "{} against {}: {} {} over {}{}, margin {margin}; {reason}",
            self.named(&contrast.arm),
            code(&contrast.against),
            contrast.difference(),
            markdown(metric.difference_unit),
            self.seeds_of_planned(contrast.comparison.pairs.len()),
            numerics(&[arm, other]),
        );
        EvaluatedCheck {
            verdict: contrast.verdict,
            finding,
            experiment: Some(self.experiment.name.clone()),
            runs: run_ids(&[arm, other]),
            contrasts: vec![Contrast { is_claimed: true, ..contrast }],
        }
    }

    /// Arms that have results and stand beside the one that a claim is about. `other`: what it is compared
    /// with.
    fn beside(
        &self,
        variants: &[&Variant],
        summary: &Summary,
        other: &ArmSummary,
        margin: f64,
    ) -> Vec<Contrast> {
        let contrast = |variant: &&Variant| {
            let label = variant.compared_label();
            let arm = summary.arms.iter().find(|arm| arm.variant.label == label)?;
            let is_same = self.spec_change(variant, arm).is_none();
            is_same.then(|| self.contrast(summary, arm, other, margin))?.map(|found| found.0)
        };
        variants.iter().filter_map(contrast).collect()
    }

    /// Two arms with what their difference says of the margin, and why. None without a common seed.
    fn contrast(
        &self,
        summary: &Summary,
        arm: &ArmSummary,
        other: &ArmSummary,
        margin: f64,
    ) -> Option<(Contrast, String)> {
        let metric = summary.metric();
        let pairs = summary.pairs(arm, other);
        // Those of the spec: a part of them may have been chosen for its results.
        let planned = &self.experiment.seeds;
        let is_paired = |seed: &u64| pairs.iter().any(|pair| pair.seed == *seed);
        let missing = planned.iter().filter(|seed| !is_paired(seed)).count();
        let comparison = Comparison::of(pairs, planned.len())?;
        let of_pairs = |arm: &ArmSummary| {
            let run = |seed: u64| arm.runs.iter().find(|run| run.seed == seed);
            let values =
                comparison.pairs.iter().map(|pair| Some(run(pair.seed)?.result.test_metric));
            Spread::of(&values.collect::<Option<Vec<f64>>>()?)
        };
        let better = metric.better.sign();
        let gains: Vec<f64> =
            comparison.pairs.iter().map(|pair| better * pair.difference).collect();
        let stored = margin / metric.scale;
        let tested = non_inferiority(&gains, stored);
        let (verdict, reason) = match tested {
            None => (Verdict::Undecided, "the spread over seeds is not known".to_string()),
            Some(tested) => {
                let bound = |value: f64| signed(metric, better * value);
                verdict_of(tested, stored, Spread::of(&gains), &bound)
            }
        };
        // Runs that failed are missing from the differences. Two arms that learned nothing are equal.
        let failed = arm.failures.len() + other.failures.len();
        let not_learned = [arm, other].iter().flat_map(|a| a.not_learned()).count();
        let (verdict, reason) = match verdict {
            Verdict::Supported if failed > 0 => {
                (Verdict::Undecided, format!("{reason}, but {failed} of their runs failed"))
            }
            // Whatever the verdict: else runs could be stopped where it suits.
            Verdict::Supported | Verdict::NotSupported if missing > 0 => {
                let is = if missing == 1 { "is" } else { "are" };
                (Verdict::Undecided, format!("{reason}, but {} {is} missing", seeds(missing)))
            }
            Verdict::Supported if not_learned > 0 => (
                Verdict::Undecided,
                format!("{reason}, but {not_learned} of their runs did not learn"),
            ),
            verdict => (verdict, reason),
        };
        let contrast = Contrast {
            experiment: self.experiment.name.clone(),
            arm: arm.variant.label.clone(),
            against: other.variant.label.clone(),
            is_with_baseline: other.variant.arm == summary.record.baseline,
            is_claimed: false,
            reduction: reduction(arm.variant.parameters, other.variant.parameters),
            metric,
            tests: [of_pairs(arm)?, of_pairs(other)?],
            comparison,
            margin,
            bounds: tested.map(|tested| [tested.bound, tested.upper].map(|b| metric.shown(b))),
            verdict,
            numerics: other_numerics(&[arm, other]),
        };
        Some((contrast, reason))
    }

    /// Evaluates an arm's results. Without results, says how to get them; results of other settings
    /// decide nothing.
    fn with_results(
        &self,
        variant: &Variant,
        evaluate: impl Fn(&Summary, &ArmSummary) -> EvaluatedCheck,
    ) -> EvaluatedCheck {
        let label = variant.compared_label();
        let summary = match &self.results {
            Results::Read(summary) => summary,
            Results::Unusable(reason) => return self.undecided(label, reason),
            Results::None => return self.not_run(label, &self.no_results()),
        };
        match summary.arms.iter().find(|arm| arm.variant.label == label) {
            None => self.not_run(label, OTHER_ARMS),
            Some(arm) => match self.spec_change(variant, arm) {
                Some(change) => self.undecided(label, &change),
                None => evaluate(summary, arm),
            },
        }
    }

    /// The first field in which an arm's results are of another spec than the one that is claimed about;
    /// None if they agree. Results of any of its trials will do.
    fn spec_change(&self, variant: &Variant, arm: &ArmSummary) -> Option<String> {
        let label = variant.compared_label();
        let trials = self.experiment.variants.iter().filter(|v| v.compared_label() == label);
        let changes: Option<Vec<String>> = trials.map(|trial| spec_change(trial, arm)).collect();
        changes.and_then(|changes| changes.into_iter().next())
    }

    /// `2 of 3 seeds`.
    fn seeds_of_planned(&self, n: usize) -> String {
        match self.experiment.seeds.len() {
            planned if n < planned => format!("{n} of {}", seeds(planned)),
            _ => seeds(n),
        }
    }

    /// An arm of this experiment.
    fn named(&self, arm: &str) -> String {
        format!("{} of {}", code(arm), code(&self.experiment.name))
    }

    fn undecided(&self, label: &str, reason: &str) -> EvaluatedCheck {
        EvaluatedCheck { verdict: Verdict::Undecided, ..self.not_run(label, reason) }
    }

    fn not_run(&self, label: &str, reason: &str) -> EvaluatedCheck {
        EvaluatedCheck {
            verdict: Verdict::NotRun,
            finding: format!("{}: {reason}", self.named(label)),
            experiment: None,
            runs: Vec::new(),
            contrasts: Vec::new(),
        }
    }
}

/// The unit with a space before it; the name of a metric without one.
fn unit(metric: &Metric) -> String {
    let unit = if metric.unit.is_empty() { metric.name } else { metric.unit };
    format!(" {}", markdown(unit))
}

const UNFINISHED: &str = "no finished run";
const OTHER_ARMS: &str = "the results are of a spec without this arm";

fn decided(holds: bool) -> Verdict {
    if holds { Verdict::Supported } else { Verdict::NotSupported }
}

/// The first field in which an arm's results are of another spec than the one that is claimed about;
/// None if they agree.
fn spec_change(variant: &Variant, arm: &ArmSummary) -> Option<String> {
    let ChangedField { field, spec, run } = changed_field(&variant.spec, &arm.variant.spec)?;
    let shown = |value: Option<String>| value.map_or("nothing".into(), |value| shorten(&value));
    Some(format!(
        "the results are of another spec: {}, not {}",
        code(&format!("{field}: {}", shown(run))),
        code(&shown(spec))
    ))
}

fn no_baseline(label: &str) -> ClaimFault {
    ClaimFault::new("this arm has no baseline to compare with", label)
}

/// The newest numerics version of runs that is not this program's; None if all are.
fn other_numerics(arms: &[&ArmSummary]) -> Option<u32> {
    let runs = arms.iter().flat_map(|arm| &arm.runs);
    let sessions = runs.flat_map(|run| &run.provenance.sessions);
    let versions = sessions.map(|session| session.numerics_version);
    versions.filter(|version| *version != NUMERICS_VERSION).max()
}

/// Says so where runs were computed by another numerics version than this program's.
fn numerics(arms: &[&ArmSummary]) -> String {
    match other_numerics(arms) {
        Some(version) => format!(" (numerics version {version}; now {NUMERICS_VERSION})"),
        None => String::new(),
    }
}

/// Whether the loss is within the margin, beyond it, or neither can be said. All in the stored unit;
/// `shown` prints a bound of the difference.
fn verdict_of(
    tested: NonInferiority,
    margin: f64,
    gains: Option<Spread>,
    shown: &dyn Fn(f64) -> String,
) -> (Verdict, String) {
    let p = p_value(tested.p);
    let p = if p.starts_with('<') { format!("p {p}") } else { format!("p = {p}") };
    if tested.holds() {
        let bound = shown(tested.bound);
        return (
            Verdict::Supported,
            format!("the loss is within the margin ({p}, one-sided bound {bound})"),
        );
    }
    if tested.upper < -margin {
        let bound = shown(tested.upper);
        return (
            Verdict::NotSupported,
            format!("the loss is larger than the margin (one-sided bound {bound})"),
        );
    }
    let sd = gains.and_then(|spread| spread.sd).unwrap_or_default();
    let found = format!("the loss may be within the margin or beyond it ({p})");
    let reason = match (seeds_for_margin(margin, sd), gains.map_or(0, |spread| spread.n)) {
        // So many would have shown that there is none.
        (Some(needed), n) if needed <= n => found,
        (Some(needed), _) => {
            format!("{found}; if there is none, it takes about {needed} seeds to show it")
        }
        (None, _) => {
            format!("{found}; if there is none, it takes more than 10,000 seeds to show it")
        }
    };
    (Verdict::Undecided, reason)
}

fn run_ids(arms: &[&ArmSummary]) -> Vec<String> {
    arms.iter().flat_map(|arm| &arm.runs).map(|run| run.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same spread around another mean: beyond, unclear, within.
    #[test]
    fn a_loss_is_within_the_margin_or_beyond_it_or_unclear() {
        for (mean, verdict) in [
            (-0.05, Verdict::NotSupported),
            (-0.01, Verdict::Undecided),
            (0.0, Verdict::Supported),
            (0.05, Verdict::Supported),
        ] {
            let gains = [-0.004, 0.0, 0.004].map(|d| mean + d);
            let tested = non_inferiority(&gains, 0.01).unwrap();
            let (got, reason) = verdict_of(tested, 0.01, Spread::of(&gains), &|v| v.to_string());
            assert_eq!(got, verdict, "{mean}: {reason}");
        }
    }
}
