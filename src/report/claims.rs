//! Published claims against stored results: a verdict for each, with the arithmetic that led to it.

use super::comparison::Comparison;
use super::numbers::{interval, p_value, plus_minus, signed};
use super::statistics::{NonInferiority, Spread, non_inferiority, seeds_for_margin};
use super::summary::{ArmSummary, Summary};
use super::table::{Align, Cell, Table, count, percent, reduction};
use super::text::{code, markdown};
use crate::results::{Better, Metric};
use crate::spec::{CheckKind, ClaimCheck, Claims, Experiment, PublishedClaim, Variant, nearest};

/// What a check or a claim comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Supported,
    NotSupported,
    /// There are results, too few to tell.
    Undecided,
    NotRun,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::NotSupported => "not supported",
            Verdict::Undecided => "undecided",
            Verdict::NotRun => "not run",
        }
    }

    /// That of a claim all of whose checks must hold. One that fails decides; without any, nothing has
    /// been run.
    fn of_all(verdicts: &[Verdict]) -> Verdict {
        let has = |verdict| verdicts.contains(&verdict);
        if has(Verdict::NotSupported) {
            Verdict::NotSupported
        } else if verdicts.iter().all(|v| *v == Verdict::NotRun) {
            Verdict::NotRun
        } else if verdicts.iter().all(|v| *v == Verdict::Supported) {
            Verdict::Supported
        } else {
            Verdict::Undecided
        }
    }
}

/// The experiment of a check.
pub struct Subject {
    pub experiment: Experiment,
    /// The spec's path, for the command that runs it.
    pub spec: String,
    /// Parameters of each variant of the experiment.
    pub parameters: Vec<u64>,
    /// None if it has not been run.
    pub summary: Option<Summary>,
    /// Whether the results are of another text of the spec.
    pub is_of_other_spec: bool,
}

/// A claim with its verdict.
pub struct JudgedClaim<'a> {
    pub claim: &'a PublishedClaim,
    pub verdict: Verdict,
    pub checks: Vec<JudgedCheck>,
    /// The claims that must be supported first and are not. They leave it undecided at most.
    pub missing: Vec<&'a str>,
}

/// A check with its verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedCheck {
    pub verdict: Verdict,
    /// What was found beside what is needed, as Markdown.
    pub arithmetic: String,
    /// The experiment whose runs it rests on; None if it needs none, or there are none.
    pub experiment: Option<String>,
    /// Ids of these runs.
    pub runs: Vec<String>,
}

/// A label that an experiment does not have, with the nearest one.
pub struct UnknownArm {
    pub claim: String,
    pub found: String,
    pub nearest: Option<String>,
}

/// Judges all claims, in their order. `subject`: the experiment of a check.
pub fn judge<'a>(
    claims: &'a Claims,
    subject: &dyn Fn(&ClaimCheck) -> &'a Subject,
) -> Result<Vec<JudgedClaim<'a>>, UnknownArm> {
    let mut judged: Vec<JudgedClaim> = Vec::new();
    for claim in &claims.claims {
        let checks = claim.checks.iter().map(|check| subject(check).judge(claims, check));
        let checks: Result<Vec<JudgedCheck>, UnknownArm> = checks.collect();
        let checks = checks.map_err(|arm| UnknownArm { claim: claim.name.clone(), ..arm })?;
        let is_supported = |name: &String| {
            judged.iter().any(|j| j.claim.name == *name && j.verdict == Verdict::Supported)
        };
        let missing = claim.after.iter().filter(|name| !is_supported(name)).map(String::as_str);
        let missing: Vec<&str> = missing.collect();
        let verdicts: Vec<Verdict> = checks.iter().map(|check| check.verdict).collect();
        let verdict = match Verdict::of_all(&verdicts) {
            Verdict::Supported | Verdict::NotSupported if !missing.is_empty() => Verdict::Undecided,
            verdict => verdict,
        };
        judged.push(JudgedClaim { claim, verdict, checks, missing });
    }
    Ok(judged)
}

impl JudgedClaim<'_> {
    /// Why its checks decide nothing yet; None if they do.
    pub fn missing_note(&self) -> Option<String> {
        let names: Vec<String> = self.missing.iter().map(|name| code(name)).collect();
        (!names.is_empty())
            .then(|| format!("a published number has to be reached first: {}", names.join(", ")))
    }
}

impl Subject {
    fn variant(&self, label: &str) -> Result<(usize, &Variant), UnknownArm> {
        let variants = &self.experiment.variants;
        let found = variants.iter().enumerate().find(|(_, v)| v.label == label);
        found.ok_or_else(|| UnknownArm {
            claim: String::new(),
            found: label.to_string(),
            nearest: nearest(label, variants.iter().map(|v| v.label.as_str())).map(String::from),
        })
    }

    fn judge(&self, claims: &Claims, check: &ClaimCheck) -> Result<JudgedCheck, UnknownArm> {
        let (index, variant) = self.variant(&check.arm)?;
        let value = check.value.unwrap_or_default();
        match check.check {
            CheckKind::Parameters => Ok(self.counted(index, value)),
            CheckKind::Reduction => Ok(self.reduced(index, variant, value)),
            CheckKind::Reaches => {
                let tolerance = check.tolerance.unwrap_or_default();
                Ok(self.with_arm(&check.arm, |summary, arm| {
                    self.reaches(summary, arm, value, tolerance)
                }))
            }
            CheckKind::Preserved => {
                let against = match &check.against {
                    Some(label) => self.variant(label)?.1.label.clone(),
                    None => match self.experiment.baseline_of(variant) {
                        Some(baseline) => baseline.label.clone(),
                        None => return Ok(self.without(&check.arm, "it has no baseline")),
                    },
                };
                let margin = claims.margin(variant.spec.task);
                let Some(margin) = margin else {
                    return Ok(self.without(&check.arm, "the claims have no margin for its task"));
                };
                Ok(self.with_arm(&check.arm, |summary, arm| {
                    let other = summary.arms.iter().find(|a| a.variant.label == against);
                    let pairs = other.map_or(Vec::new(), |other| summary.pairs(arm, other));
                    self.preserved(summary.metric(), arm, &against, pairs, margin.value)
                }))
            }
        }
    }

    /// `arm` of `experiment`.
    fn named(&self, arm: &str) -> String {
        format!("{} of {}", code(arm), code(&self.experiment.name))
    }

    fn counted(&self, index: usize, published: f64) -> JudgedCheck {
        let found = self.parameters[index];
        let holds = found as f64 == published;
        JudgedCheck {
            verdict: if holds { Verdict::Supported } else { Verdict::NotSupported },
            arithmetic: format!(
                "{} has {} parameters; published: {}",
                self.named(&self.experiment.variants[index].label),
                count(found),
                count(published as u64)
            ),
            experiment: None,
            runs: Vec::new(),
        }
    }

    fn reduced(&self, index: usize, variant: &Variant, least: f64) -> JudgedCheck {
        let baseline = self.experiment.baseline_of(variant).map(|b| b.label.clone());
        let baseline = baseline.and_then(|label| self.variant(&label).ok());
        let Some((base, baseline)) = baseline else {
            return self.without(&variant.label, "it has no baseline");
        };
        let (own, all) = (self.parameters[index], self.parameters[base]);
        let share = reduction(own, all);
        JudgedCheck {
            verdict: if share >= least { Verdict::Supported } else { Verdict::NotSupported },
            arithmetic: format!(
                "{} has {} fewer parameters than {} ({} and {}), at least {} are needed",
                self.named(&variant.label),
                percent(share),
                code(&baseline.label),
                count(own),
                count(all),
                percent(least)
            ),
            experiment: None,
            runs: Vec::new(),
        }
    }

    fn reaches(
        &self,
        summary: &Summary,
        arm: &ArmSummary,
        published: f64,
        tolerance: f64,
    ) -> JudgedCheck {
        let metric = summary.metric();
        let Some(test) = arm.test else { return self.unfinished(&arm.variant.label) };
        let (found, worse) = match metric.better {
            Better::Higher => (metric.shown(test.mean), published - metric.shown(test.mean)),
            Better::Lower => (metric.shown(test.mean), metric.shown(test.mean) - published),
        };
        JudgedCheck {
            verdict: if worse <= tolerance { Verdict::Supported } else { Verdict::NotSupported },
            arithmetic: format!(
                "{} reaches {} {}{} over {}; published: {published}, of which {tolerance} may be \
                 missing: {:+.2}",
                self.named(&arm.variant.label),
                plus_minus(metric, test),
                markdown(metric.unit),
                self.of_other_spec(),
                seeds(test.n),
                found - published
            ),
            experiment: Some(self.experiment.name.clone()),
            runs: ids(arm),
        }
    }

    fn preserved(
        &self,
        metric: &Metric,
        arm: &ArmSummary,
        against: &str,
        pairs: Vec<super::comparison::Pair>,
        margin: f64,
    ) -> JudgedCheck {
        let (experiment, runs) = (Some(self.experiment.name.clone()), ids(arm));
        let Some(c) = Comparison::of(pairs) else { return self.unfinished(&arm.variant.label) };
        let better = match metric.better {
            Better::Higher => 1.0,
            Better::Lower => -1.0,
        };
        let gains: Vec<f64> = c.pairs.iter().map(|pair| better * pair.difference).collect();
        let stored = margin / metric.scale;
        let bounds = c.interval.map_or(String::new(), |b| format!(" ({})", interval(metric, b)));
        let unit = markdown(metric.difference_unit);
        let found = format!(
            "{} against {}: {}{bounds} {unit} over {}{}, margin {margin}",
            self.named(&arm.variant.label),
            code(against),
            signed(metric, c.difference.mean),
            seeds(c.pairs.len()),
            self.of_other_spec(),
        );
        let Some(tested) = non_inferiority(&gains, stored) else {
            return JudgedCheck {
                verdict: Verdict::Undecided,
                arithmetic: format!("{found}; the spread over seeds is not known"),
                experiment,
                runs,
            };
        };
        let (verdict, why) = verdict_of(tested, stored, Spread::of(&gains));
        JudgedCheck { verdict, arithmetic: format!("{found}; {why}"), experiment, runs }
    }

    /// Judges an arm's results. Without results, says how to get them.
    fn with_arm(
        &self,
        label: &str,
        judged: impl Fn(&Summary, &ArmSummary) -> JudgedCheck,
    ) -> JudgedCheck {
        let Some(summary) = &self.summary else {
            let command = code(&format!("vlora run {}", self.spec));
            return self.without(label, &format!("no results; {command} makes them"));
        };
        match summary.arms.iter().find(|arm| arm.variant.label == label) {
            Some(arm) => judged(summary, arm),
            None => self.without(label, "the results are of a spec without this arm"),
        }
    }

    fn unfinished(&self, label: &str) -> JudgedCheck {
        self.without(label, "no finished run")
    }

    fn without(&self, label: &str, why: &str) -> JudgedCheck {
        JudgedCheck {
            verdict: Verdict::NotRun,
            arithmetic: format!("{}: {why}", self.named(label)),
            experiment: None,
            runs: Vec::new(),
        }
    }

    fn of_other_spec(&self) -> &'static str {
        if self.is_of_other_spec { " (of another text of the spec)" } else { "" }
    }
}

/// Whether the loss is within the margin, beyond it, or neither can be said. All in the stored unit.
fn verdict_of(tested: NonInferiority, margin: f64, gains: Option<Spread>) -> (Verdict, String) {
    let p = p_value(tested.p);
    let p = if p.starts_with('<') { format!("p {p}") } else { format!("p = {p}") };
    if tested.holds() {
        return (Verdict::Supported, format!("the loss is within the margin ({p})"));
    }
    if tested.upper < -margin {
        return (Verdict::NotSupported, "the loss is larger than the margin".into());
    }
    let sd = gains.and_then(|spread| spread.sd).unwrap_or_default();
    let needed = match seeds_for_margin(margin, sd) {
        Some(needed) => format!("an equal arm would take about {needed} seeds"),
        None => "no number of seeds would do".into(),
    };
    (Verdict::Undecided, format!("the loss may be within the margin or beyond it ({p}); {needed}"))
}

fn ids(arm: &ArmSummary) -> Vec<String> {
    arm.runs.iter().map(|run| run.id.clone()).collect()
}

fn seeds(n: usize) -> String {
    format!("{n} {}", if n == 1 { "seed" } else { "seeds" })
}

/// One row per claim.
pub fn claims_table(judged: &[JudgedClaim]) -> Table {
    let mut table = Table::new()
        .column("claim", "claim", Align::Left)
        .column("verdict", "verdict", Align::Left)
        .column("says", "it says", Align::Left)
        .column("source", "source", Align::Left)
        .hidden("open")
        .hidden("checks")
        .hidden("runs");
    for JudgedClaim { claim, verdict, checks, .. } in judged {
        let runs: Vec<&String> = checks.iter().flat_map(|check| &check.runs).collect();
        let checks = checks.iter().map(|check| {
            serde_json::json!({"verdict": check.verdict.name(), "found": super::plain(&check.arithmetic)})
        });
        table.row(vec![
            Cell::text(&claim.name),
            Cell::text(verdict.name()),
            Cell::text(&claim.says),
            Cell::text(&claim.source),
            Cell::text(&claim.open),
            Cell::of(checks.collect::<Vec<_>>().into()),
            Cell::of(serde_json::json!(runs)),
        ]);
    }
    table
}

/// A page of the claims as Markdown: what is published, the verdicts, and the arithmetic of each.
pub fn claims_page(claims: &Claims, judged: &[JudgedClaim]) -> String {
    let mut out = format!("# Claims\n\n{}\n\n", super::text::markdown_lines(&claims.about));
    out += &claims_table(judged).markdown();
    for judged in judged {
        let JudgedClaim { claim, verdict, checks, .. } = judged;
        out += &format!("\n## {}: {}\n\n", markdown(&claim.name), verdict.name());
        out += &format!("{} ({})\n\n", markdown(&claim.says), markdown(&claim.source));
        for check in checks {
            out += &format!("- {}. **{}**", check.arithmetic, sentence(check.verdict.name()));
            if let Some(experiment) = &check.experiment {
                let runs: Vec<String> = check.runs.iter().map(|id| code(id)).collect();
                let experiment = markdown(experiment);
                out += &format!(" [Table]({experiment}/table.md), runs {}.", runs.join(", "));
            }
            out.push('\n');
        }
        if checks.is_empty() {
            out += "- No check bears on it yet.\n";
        }
        if let Some(note) = judged.missing_note() {
            out += &format!("- {}\n", sentence(&note));
        }
        if !claim.open.is_empty() {
            out += &format!("- Open: {}\n", markdown(&claim.open));
        }
    }
    out += "\n## Margins\n\n";
    for margin in &claims.margins {
        let reason = markdown(&margin.reason);
        out += &format!("- {}: {}. {reason}\n", code(margin.task.name()), margin.value);
    }
    out
}

/// `Not supported.`
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_where_all_of_its_checks_do() {
        use Verdict::*;
        for (checks, claim) in [
            (&[][..], NotRun),
            (&[NotRun, NotRun], NotRun),
            (&[Supported, Supported], Supported),
            (&[Supported, NotRun], Undecided),
            (&[Supported, Undecided], Undecided),
            (&[NotRun, NotSupported], NotSupported),
            (&[Undecided, NotSupported, Supported], NotSupported),
        ] {
            assert_eq!(Verdict::of_all(checks), claim, "{checks:?}");
        }
        assert_eq!(sentence("not run"), "Not run.");
    }

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
            let (got, why) = verdict_of(tested, 0.01, Spread::of(&gains));
            assert_eq!(got, verdict, "{mean}: {why}");
        }
    }
}
