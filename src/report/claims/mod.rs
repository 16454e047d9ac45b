//! Published claims against stored results: a verdict for each.

mod contrast;
mod experiment;
mod page;

pub use contrast::{Contrast, contrast_note, contrast_table, contrasts};
pub use experiment::{ClaimExperiment, Results};
pub use page::{CHART, claims_page, claims_table, claims_text, margin_notes};

use super::text::code;
use crate::spec::{ClaimCheck, Claims, PublishedClaim};

/// What a check or a claim comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Supported,
    NotSupported,
    /// The results do not decide it, or not all of them are there.
    Undecided,
    NotRun,
}

impl Verdict {
    /// In words, as tables have it.
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

/// A claim with its verdict.
pub struct EvaluatedClaim<'a> {
    pub claim: &'a PublishedClaim,
    pub verdict: Verdict,
    /// The verdict by its checks alone.
    pub by_checks: Verdict,
    pub checks: Vec<EvaluatedCheck>,
    /// The claims that it requires and that are not supported. They leave it undecided at best.
    pub missing: Vec<&'a str>,
}

/// A check with its verdict.
#[derive(Clone, Debug)]
pub struct EvaluatedCheck {
    pub verdict: Verdict,
    /// What was found beside what is needed, as Markdown.
    pub finding: String,
    /// The experiment whose runs it rests on; None if it needs none, or there are none.
    pub experiment: Option<String>,
    /// Ids of these runs.
    pub runs: Vec<String>,
    /// Of a check `preserved` with results: that of its arm, then those of the arms beside it.
    pub contrasts: Vec<Contrast>,
}

/// A check that asks for what there is not, whatever the results.
pub struct ClaimFault {
    pub claim: String,
    pub summary: &'static str,
    pub found: String,
    pub nearest: Option<String>,
}

impl ClaimFault {
    fn new(summary: &'static str, found: &str) -> ClaimFault {
        ClaimFault { claim: String::new(), summary, found: found.to_string(), nearest: None }
    }
}

/// Evaluates all claims, in their order. `experiment`: that of a check.
pub fn evaluate<'a>(
    claims: &'a Claims,
    experiment: &dyn Fn(&ClaimCheck) -> &'a ClaimExperiment,
) -> Result<Vec<EvaluatedClaim<'a>>, ClaimFault> {
    let mut evaluated: Vec<EvaluatedClaim> = Vec::new();
    for claim in &claims.claims {
        let checks = claim.checks.iter().map(|check| experiment(check).evaluate(claims, check));
        let checks: Result<Vec<EvaluatedCheck>, ClaimFault> = checks.collect();
        let checks = checks.map_err(|fault| ClaimFault { claim: claim.name.clone(), ..fault })?;
        let is_supported = |name: &String| {
            evaluated.iter().any(|e| e.claim.name == *name && e.verdict == Verdict::Supported)
        };
        let missing = claim.requires.iter().filter(|name| !is_supported(name));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        let verdicts: Vec<Verdict> = checks.iter().map(|check| check.verdict).collect();
        let by_checks = Verdict::of_all(&verdicts);
        let verdict = match by_checks {
            Verdict::Supported | Verdict::NotSupported if !missing.is_empty() => Verdict::Undecided,
            verdict => verdict,
        };
        evaluated.push(EvaluatedClaim { claim, verdict, by_checks, checks, missing });
    }
    Ok(evaluated)
}

impl EvaluatedClaim<'_> {
    /// What its checks alone would decide, and why they do not yet; None if nothing is missing.
    pub fn missing_note(&self) -> Option<String> {
        let names: Vec<String> = self.missing.iter().map(|name| code(name)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "by these checks alone: {}; but a published number has to be reached first: {}",
                self.by_checks.name(),
                names.join(", ")
            )
        })
    }
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
    }
}
