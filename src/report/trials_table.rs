//! The table of tuning trials.

use super::numbers::plus_minus;
use super::summary::Summary;
use super::table::{Align, Cell, Table};
use super::text::{code, markdown};
use super::trials::{Trials, at_edge};
use crate::results::Better;
use crate::spec::last_field;

impl Summary {
    /// One row a trial, with its validation metric and nothing of the test split. None where nothing is
    /// tuned.
    pub fn trials_table(&self) -> Option<Table> {
        if self.trials.is_empty() {
            return None;
        }
        let metric = self.metric();
        let right = Align::Right;
        let mut table = Table::new().column("arm", "arm", Align::Left);
        for field in &self.record.tuned {
            table = table.column(field, last_field(field), right);
        }
        let mut table = table
            .column("validation", format!("validation {}", metric.title()), right)
            .hidden("validation_sd")
            .column("seeds", "seeds", right)
            .hidden("lost")
            .column("compared", "compared", Align::Left);
        for of_arm in &self.trials {
            for (i, trial) in of_arm.trials.iter().enumerate() {
                let mut cells = vec![Cell::text(&of_arm.arm)];
                for field in &self.record.tuned {
                    let at = trial.point.iter().find(|(key, _)| key == field);
                    cells.push(at.map_or_else(Cell::none, |(_, value)| Cell::text(value)));
                }
                let seeds = match trial.finished == trial.planned {
                    true => trial.finished.to_string(),
                    false => format!("{} of {}", trial.finished, trial.planned),
                };
                let sd = trial.validation.and_then(|s| s.sd);
                cells.extend([
                    match trial.validation {
                        Some(s) => Cell::number(s.mean, plus_minus(metric, s)),
                        None => Cell::none(),
                    },
                    sd.map_or_else(Cell::none, |sd| Cell::number(sd, sd.to_string())),
                    Cell::number(trial.finished, seeds),
                    Cell::number(trial.lost, trial.lost.to_string()),
                    match of_arm.chosen == Some(i) {
                        true => Cell::text("yes"),
                        false => Cell::text(""),
                    },
                ]);
                table.row(cells);
            }
        }
        Some(table)
    }

    /// What a reader must know to judge the choice, as Markdown.
    pub fn trials_notes(&self) -> Vec<String> {
        let Some(n) = self.trials.iter().map(|t| t.trials.len()).max() else { return Vec::new() };
        let fields: Vec<String> = self.record.tuned.iter().map(|field| code(field)).collect();
        let trains = |t: &&Trials| {
            let arm = self.arms.iter().find(|arm| arm.variant.label == t.arm);
            arm.is_none_or(|arm| arm.variant.spec.training.trains())
        };
        let fewer = self.trials.iter().filter(|t| t.trials.len() < n);
        let (starts, tested): (Vec<&Trials>, Vec<&Trials>) = fewer.partition(trains);
        let but: String =
            [(starts, "what others start from"), (tested, "weights that are only tested")]
                .into_iter()
                .filter(|(fewer, _)| !fewer.is_empty())
                .map(|(fewer, what)| {
                    let fewer: Vec<String> = fewer.iter().map(|t| code(&t.arm)).collect();
                    format!(", but one for {what} ({})", fewer.join(", "))
                })
                .collect();
        let best = match self.metric().better {
            Better::Higher => "highest",
            Better::Lower => "lowest",
        };
        let mut notes = vec![format!(
            "{} {} chosen for each arm among {n} {}, by the {best} mean validation {} over seeds. Every arm \
             has the same number of trials{but}. Only the chosen one is compared on the test split.",
            fields.join(", "),
            if fields.len() == 1 { "was" } else { "were" },
            if n == 1 { "trial" } else { "trials" },
            self.metric().name
        )];
        let open: Vec<String> =
            self.trials.iter().filter(|t| t.chosen.is_none()).map(|t| code(&t.arm)).collect();
        if !open.is_empty() {
            notes.push(format!(
                "No choice yet, since trials are unfinished or have failed: {}.",
                open.join(", ")
            ));
        }
        let lost = |t: &&Trials| t.trials.iter().any(|trial| trial.lost > 0);
        let lost: Vec<String> = self.trials.iter().filter(lost).map(|t| code(&t.arm)).collect();
        if !lost.is_empty() {
            notes.push(format!(
                "Trials with failed or damaged runs are left out of the choice: {}.",
                lost.join(", ")
            ));
        }
        const MAX_FAILURES: usize = 5;
        let failures: Vec<_> = self.trials.iter().flat_map(|t| &t.failures).collect();
        for (label, seed, reason) in failures.iter().take(MAX_FAILURES) {
            let reason = markdown(reason.lines().next().unwrap_or_default());
            notes.push(format!("{}, seed {seed}, failed: {reason}.", code(label)));
        }
        if failures.len() > MAX_FAILURES {
            notes.push(format!("And {} more failed.", failures.len() - MAX_FAILURES));
        }
        // The best value at the edge of the tried ones may not be the best there is.
        let edges: Vec<String> = self.trials.iter().filter_map(at_edge).collect();
        if !edges.is_empty() {
            notes.push(format!(
                "Chosen at the edge of the values that were tried, so a value beyond may be better: {}.",
                edges.join(", ")
            ));
        }
        notes
    }
}
