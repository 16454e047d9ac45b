//! The verdicts on claims as a table, as a page, and as text for a terminal.

use super::contrast::{contrast_note, contrast_table, contrasts};
use super::{Contrast, EvaluatedClaim};
use crate::report::table::{Align, Cell, Table};
use crate::report::text::{capitalised, code, markdown, markdown_lines, plain};
use crate::spec::Claims;

/// The name of the chart beside the page, without its ending.
pub const CHART: &str = "claims";

/// One row per claim.
pub fn claims_table(evaluated: &[EvaluatedClaim]) -> Table {
    let mut table = Table::new()
        .column("claim", "claim", Align::Left)
        .column("verdict", "verdict", Align::Left)
        .column("statement", "statement", Align::Left)
        .column("source", "source", Align::Left)
        .hidden("open")
        .hidden("by_checks")
        .hidden("missing")
        .hidden("checks")
        .hidden("contrasts")
        .hidden("runs");
    for EvaluatedClaim { claim, verdict, by_checks, checks, missing } in evaluated {
        let runs: Vec<&String> = checks.iter().flat_map(|check| &check.runs).collect();
        let contrasts = checks.iter().flat_map(|check| &check.contrasts).map(Contrast::json);
        let contrasts: Vec<serde_json::Value> = contrasts.collect();
        let checks = checks.iter().map(|check| {
            serde_json::json!({"verdict": check.verdict.name(), "finding": plain(&check.finding)})
        });
        let list = |list: serde_json::Value| Cell::number(list, String::new());
        table.row(vec![
            Cell::text(&claim.name),
            Cell::text(verdict.name()),
            Cell::text(&claim.statement),
            Cell::text(&claim.source),
            Cell::text(&claim.open),
            Cell::text(by_checks.name()),
            list(serde_json::json!(missing)),
            list(checks.collect::<Vec<_>>().into()),
            list(contrasts.into()),
            list(serde_json::json!(runs)),
        ]);
    }
    table
}

/// A page as Markdown: what is published, the verdicts, and the findings behind each.
pub fn claims_page(claims: &Claims, evaluated: &[EvaluatedClaim]) -> String {
    let mut out = format!("# Claims\n\n{}\n\n", markdown_lines(&claims.about));
    out += &claims_table(evaluated).markdown();
    let contrasts = contrasts(evaluated);
    if !contrasts.is_empty() {
        out += "\n## Performance beside what it is compared with\n\n";
        out += &format!("![Differences in margins, with their intervals]({CHART}.svg)\n\n");
        out += &contrast_table(&contrasts).markdown();
        out += &format!("\n{}\n", contrast_note(&contrasts));
    }
    for evaluated in evaluated {
        let EvaluatedClaim { claim, verdict, checks, .. } = evaluated;
        out += &format!("\n## {}: {}\n\n", markdown(&claim.name), verdict.name());
        out += &format!("{} ({})\n\n", markdown(&claim.statement), markdown(&claim.source));
        for check in checks {
            out += &format!("- {}. **{}**", check.finding, sentence(check.verdict.name()));
            if let Some(experiment) = &check.experiment {
                let runs: Vec<String> = check.runs.iter().map(|id| code(id)).collect();
                let experiment = markdown(experiment);
                out += &format!(" [Table]({experiment}/table.md), runs {}.", runs.join(", "));
            }
            out.push('\n');
        }
        for remark in evaluated.remarks() {
            out += &format!("- {remark}\n");
        }
    }
    out += "\n## Margins\n\n";
    for note in margin_notes(claims) {
        out += &format!("- {note}\n");
    }
    out
}

impl EvaluatedClaim<'_> {
    /// What is said of the claim below the findings of its checks, as Markdown.
    pub fn remarks(&self) -> Vec<String> {
        let no_check = self.checks.is_empty().then(|| "No check is about it yet.".to_string());
        let missing = self.missing_note().map(|note| sentence(&note));
        let open = markdown(&self.claim.open);
        let open = (!open.is_empty()).then(|| format!("Open: {open}"));
        [no_check, missing, open].into_iter().flatten().collect()
    }
}

/// The margin of each task with its reason, as Markdown.
pub fn margin_notes(claims: &Claims) -> Vec<String> {
    let mut notes = Vec::new();
    for margin in &claims.margins {
        let reason = markdown(&margin.reason);
        let known = match markdown(&margin.known).as_str() {
            "" => String::new(),
            known => format!(" Known when it was set: {known}"),
        };
        notes.push(format!("{}: {}. {reason}{known}", code(margin.task.name()), margin.value));
    }
    notes
}

/// The same for a terminal.
pub fn claims_text(claims: &Claims, evaluated: &[EvaluatedClaim]) -> String {
    let mut text = format!("{}\n", claims.about.trim());
    for evaluated in evaluated {
        let EvaluatedClaim { claim, verdict, checks, .. } = evaluated;
        text += &format!("\n{}: {}\n", claim.name, verdict.name());
        text += &format!("  {} ({})\n", claim.statement, claim.source);
        for check in checks {
            text += &format!("  · {}: {}\n", plain(&check.finding), check.verdict.name());
        }
        if let Some(note) = evaluated.missing_note() {
            text += &format!("  · {}\n", plain(&note));
        }
        if !claim.open.is_empty() {
            text += &format!("  · open: {}\n", claim.open);
        }
    }
    text
}

/// `Not supported.`
fn sentence(text: &str) -> String {
    capitalised(text) + "."
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sentence_begins_with_a_capital() {
        assert_eq!(super::sentence("not run"), "Not run.");
        assert_eq!(super::sentence(""), ".");
    }
}
