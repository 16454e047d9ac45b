//! All experiments on one page: the verdicts on claims with what they rest on, then every experiment's
//! table and charts.

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Figure, document, figures, inline, line, notes, of_table, svg_text, text};
use crate::report::charts::ChartFile;
use crate::report::claims::{
    ClaimExperiment, EvaluatedCheck, EvaluatedClaim, contrast_note, contrast_table, contrasts,
    margin_notes,
};
use crate::report::document::EQUIVALENTS;
use crate::report::spectrum_tables::{spectrum_notes, spectrum_table};
use crate::report::summary::Summary;
use crate::report::text::capitalised;
use crate::results::SpectrumRecord;
use crate::spec::{Claims, Task};

/// An experiment on the page.
pub struct ShownExperiment<'a> {
    pub experiment: &'a ClaimExperiment,
    /// Empty without results.
    pub charts: Vec<ChartFile>,
}

/// The differences between the layers of a model.
pub struct ShownSpectrum {
    pub record: SpectrumRecord,
    /// Its folder, relative to the page's.
    pub folder: String,
    /// How much each rank keeps of the differences: file name and content.
    pub charts: Vec<(String, Vec<u8>)>,
}

/// The page. `contrasts_svg`: the chart of the arms that claims are about. Links lead to the experiments'
/// own pages in folders beside it.
pub fn overview(
    claims: &Claims,
    evaluated: &[EvaluatedClaim],
    contrasts_svg: Option<&str>,
    experiments: &[ShownExperiment],
    spectra: &[ShownSpectrum],
) -> String {
    let mut tasks: Vec<Task> = Vec::new();
    for task in experiments.iter().filter_map(|shown| task_of(shown.experiment)) {
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    let compared = contrasts(evaluated);
    let title = "Differences in margins, with their intervals: right of zero the arm is better";
    let chart = contrasts_svg.and_then(|svg| Figure::new(title, svg));
    let missing: Vec<(&str, String)> = experiments
        .iter()
        .filter_map(|ShownExperiment { experiment, .. }| {
            Some((experiment.experiment.name.as_str(), experiment.missing()?))
        })
        .collect();
    let content = html! {
        h1 { (TITLE) }
        p { (text(claims.about.trim())) }
        (contents(&tasks, experiments, !spectra.is_empty()))
        h2 id="claims" { "Claims" }
        (verdicts(evaluated))
        @if !compared.is_empty() {
            h2 id="performance" { "Performance beside what it is compared with" }
            @if let Some(chart) = chart { (chart.markup()) }
            (of_table(&contrast_table(&compared)))
            p { (inline(&contrast_note(&compared))) }
        }
        h2 id="findings" { "What each verdict rests on" }
        @for evaluated in evaluated { (claim(evaluated, experiments)) }
        @for task in &tasks {
            h2 id=(task.name()) { (heading(*task)) }
            @for shown in of_task(experiments, *task) {
                @if let Some(summary) = shown.experiment.results.summary() { (experiment(shown, summary)) }
            }
        }
        @if !missing.is_empty() {
            h2 id="missing" { "Experiments without results" }
            ul { @for (name, reason) in &missing { li { (line(name)) ": " (inline(reason)) } } }
        }
        @if !spectra.is_empty() {
            h2 id="spectra" { "How layers differ" }
            @for shown in spectra { (spectrum(shown)) }
        }
        h2 id="margins" { "Margins" }
        (notes(&margin_notes(claims)))
    };
    document(TITLE, &content)
}

const TITLE: &str = "Claims and results";

/// Links to the parts of the page.
fn contents(tasks: &[Task], experiments: &[ShownExperiment], has_spectra: bool) -> Markup {
    html! {
        ul {
            li { a href="#claims" { "Claims" } ", " a href="#findings" { "what each verdict rests on" } ", "
                a href="#margins" { "margins" } }
            @for task in tasks {
                li {
                    a href=(format!("#{}", task.name())) { (heading(*task)) } ": "
                    @for (i, shown) in of_task(experiments, *task).enumerate() {
                        @let name = &shown.experiment.experiment.name;
                        @if i > 0 { ", " }
                        a href=(format!("#{}", anchor(name))) { (line(name)) }
                    }
                }
            }
            @if has_spectra { li { a href="#spectra" { "How layers differ" } } }
        }
    }
}

/// Claims with their verdicts; each leads to what it rests on.
fn verdicts(evaluated: &[EvaluatedClaim]) -> Markup {
    html! {
        div class="wide" {
            table class="claims" {
                thead { tr { th { "claim" } th { "verdict" } th { "statement" } } }
                tbody {
                    @for EvaluatedClaim { claim, verdict, .. } in evaluated {
                        tr {
                            td { a href=(format!("#{}", claim_anchor(&claim.name))) { (line(&claim.name)) } }
                            td { b { (verdict.name()) } }
                            td { (line(claim.statement.trim())) }
                        }
                    }
                }
            }
        }
    }
}

/// `Language modelling`.
fn heading(task: Task) -> String {
    capitalised(&task.name().replace('-', " "))
}

/// The experiments of a task that have results.
fn of_task<'a>(
    experiments: &'a [ShownExperiment<'a>],
    task: Task,
) -> impl Iterator<Item = &'a ShownExperiment<'a>> {
    experiments.iter().filter(move |shown| task_of(shown.experiment) == Some(task))
}

/// None for an experiment without results.
fn task_of(experiment: &ClaimExperiment) -> Option<Task> {
    experiment.results.summary()?.arms.first().map(|arm| arm.variant.spec.task)
}

/// Times and memory of different machines do not compare, so they stand on an experiment's own page alone,
/// with the notes on them.
const OF_MACHINES: [&str; 3] = ["seconds", "throughput", "peak_bytes"];

/// Its main table, the table of dense-equivalent sizes, and its charts. The rest is on its own page.
fn experiment(shown: &ShownExperiment, summary: &Summary) -> Markup {
    let record = &summary.record;
    let sections = summary.sections();
    let equivalents = sections.iter().find(|section| section.id == EQUIVALENTS);
    let compared = match summary.comparisons().is_empty() {
        true => Vec::new(),
        false => summary.comparison_notes(),
    };
    html! {
        section id=(anchor(&record.name)) {
            h3 { (line(&record.name)) }
            p { (text(record.description.trim())) }
            p {
                (state(summary)) ". "
                @if !record.overrides.is_empty() { "Set by the command: " (line(&record.overrides.join(", "))) ". " }
                a href=(format!("{}/report.html", encoded(&record.name))) { "Its own page" } "."
            }
            @if let Some(deviation) = shown.experiment.deviation() {
                p class="failed" { (inline(&deviation)) "." }
            }
            (of_table(&summary.table().without(&OF_MACHINES)))
            @if let Some(section) = equivalents {
                h4 { (section.title) }
                (of_table(&section.table))
                (notes(&section.notes))
            }
            @for figure in figures(&shown.charts) { (figure.markup()) }
            details {
                summary { "Notes on " (line(&record.name)) }
                (notes(&compared))
                (notes(&summary.notes()))
            }
        }
    }
}

/// How many runs are finished, failed or damaged.
fn state(summary: &Summary) -> String {
    let failed: usize = summary.arms.iter().map(|arm| arm.failures.len()).sum();
    let mut state =
        format!("Runs: {} of {} finished", summary.runs().count(), summary.planned_runs());
    for (count, what) in [(failed, "failed"), (summary.damaged().count(), "damaged")] {
        if count > 0 {
            state += &format!(", {count} {what}");
        }
    }
    state
}

fn spectrum(shown: &ShownSpectrum) -> Markup {
    let title = "Energy that each rank keeps: of the differences D, with a band over layers, of the weights W, and of a \
                 random matrix G";
    let chart = shown.charts.iter().find_map(|(name, content)| svg_text(name, content));
    html! {
        section {
            h3 { (line(&shown.record.title)) ": " (line(&shown.folder)) }
            (of_table(&spectrum_table(&shown.record)))
            (notes(&spectrum_notes(&shown.record)))
            @if let Some(figure) = chart.and_then(|svg| Figure::new(title, svg)) { (figure.markup()) }
        }
    }
}

/// A claim with the findings behind its verdict.
fn claim(evaluated: &EvaluatedClaim, experiments: &[ShownExperiment]) -> Markup {
    let EvaluatedClaim { claim, verdict, checks, .. } = evaluated;
    let link = |check: &EvaluatedCheck| {
        let name = check.experiment.as_ref()?;
        let shown = experiments.iter().find(|shown| shown.experiment.experiment.name == *name)?;
        shown.experiment.results.summary().map(|_| anchor(name))
    };
    html! {
        h3 id=(claim_anchor(&claim.name)) { (line(&claim.name)) ": " (verdict.name()) }
        p { (line(claim.statement.trim())) " (" (line(claim.source.trim())) ")" }
        ul {
            @for check in checks {
                li {
                    (inline(&check.finding)) ": " b { (check.verdict.name()) } "."
                    @if let Some(to) = link(check) { " " a href=(format!("#{to}")) { "Results" } "." }
                }
            }
            @for remark in evaluated.remarks() { li { (inline(&remark)) } }
        }
    }
}

/// The id of an experiment's place on the page.
fn anchor(name: &str) -> String {
    format!("of-{}", encoded(name))
}

/// The id of the place of what a verdict rests on.
fn claim_anchor(name: &str) -> String {
    format!("claim-{}", encoded(name))
}

/// What stands for itself in a path.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A name as part of a URL.
fn encoded(name: &str) -> String {
    utf8_percent_encode(name, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_are_parts_of_urls() {
        assert_eq!(encoded("rank-sweep_2.0"), "rank-sweep_2.0");
        assert_eq!(encoded("a b#c?d%\""), "a%20b%23c%3Fd%25%22");
    }
}
