//! All experiments on one page: the verdicts on claims, and what each experiment behind them found.

use maud::{Markup, html};

use super::{Figure, document, inline, line, notes, of_table, text};
use crate::report::claims::{
    EvaluatedCheck, EvaluatedClaim, claims_table, contrast_note, contrast_table, contrasts,
};
use crate::report::document::EQUIVALENTS;
use crate::report::spectrum_tables::{findings, spectrum_table};
use crate::report::summary::Summary;
use crate::report::text::markdown;
use crate::results::SpectrumRecord;
use crate::spec::{Claims, Reference, Task};

/// An experiment on the page.
pub struct ShownExperiment<'a> {
    pub summary: &'a Summary,
    /// Title and SVG of its charts.
    pub charts: Vec<(String, String)>,
}

/// The differences between the layers of a model.
pub struct ShownSpectrum {
    pub record: SpectrumRecord,
    /// Its folder, relative to the page's.
    pub folder: String,
    /// How much each rank keeps of the differences, as SVG.
    pub svg: String,
}

/// The page. `contrasts_svg`: the chart of the arms that claims are about. Links lead to the experiments' own pages
/// in folders beside it.
pub fn overview(
    claims: &Claims,
    evaluated: &[EvaluatedClaim],
    contrasts_svg: Option<&str>,
    experiments: &[ShownExperiment],
    spectra: &[ShownSpectrum],
) -> String {
    let mut tasks: Vec<Task> = Vec::new();
    for task in experiments.iter().filter_map(task_of) {
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    let compared = contrasts(evaluated);
    let chart = contrasts_svg.and_then(|svg| Figure::new("The same in margins", svg));
    let content = html! {
        h1 { "All results" }
        p { (text(claims.about.trim())) }
        (contents(&tasks, experiments, !spectra.is_empty()))
        h2 id="claims" { "Claims" }
        (of_table(&claims_table(evaluated)))
        @if !compared.is_empty() {
            h2 id="performance" { "Performance beside what it is compared with" }
            (of_table(&contrast_table(&compared)))
            @if let Some(chart) = chart { (chart.markup()) }
            p { (inline(&contrast_note(&compared))) }
        }
        @for task in &tasks {
            h2 id=(task.name()) { (heading(*task)) }
            @for shown in of_task(experiments, *task) { (experiment(shown)) }
        }
        @if !spectra.is_empty() {
            h2 id="spectra" { "How layers differ" }
            @for shown in spectra { (spectrum(shown)) }
        }
        h2 id="findings" { "What each verdict rests on" }
        @for evaluated in evaluated { (claim(evaluated, experiments)) }
        h2 id="margins" { "Margins" }
        ul {
            @for margin in &claims.margins {
                li {
                    code { (margin.task.name()) } ": " (margin.value) ". " (line(margin.reason.trim()))
                    @if !margin.known.is_empty() { " Known when it was set: " (line(margin.known.trim())) }
                }
            }
        }
    };
    document("All results", &content)
}

/// Links to the parts of the page.
fn contents(tasks: &[Task], experiments: &[ShownExperiment], has_spectra: bool) -> Markup {
    html! {
        ul {
            li { a href="#claims" { "Claims" } }
            @for task in tasks {
                li {
                    a href=(format!("#{}", task.name())) { (heading(*task)) } ": "
                    @for (i, shown) in of_task(experiments, *task).enumerate() {
                        @let name = &shown.summary.record.name;
                        @if i > 0 { ", " }
                        a href=(format!("#{}", anchor(name))) { (line(name)) }
                    }
                }
            }
            @if has_spectra { li { a href="#spectra" { "How layers differ" } } }
            li { a href="#findings" { "What each verdict rests on" } }
        }
    }
}

/// `Language modelling`.
fn heading(task: Task) -> String {
    let name = task.name().replace('-', " ");
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn of_task<'a>(
    experiments: &'a [ShownExperiment<'a>],
    task: Task,
) -> impl Iterator<Item = &'a ShownExperiment<'a>> {
    experiments.iter().filter(move |shown| task_of(shown) == Some(task))
}

/// None for an experiment without arms.
fn task_of(shown: &ShownExperiment) -> Option<Task> {
    shown.summary.arms.first().map(|arm| arm.variant.spec.task)
}

/// Its main table, the table of dense-equivalent sizes, and its charts. The rest is on its own page.
fn experiment(shown: &ShownExperiment) -> Markup {
    let summary = shown.summary;
    let record = &summary.record;
    let finished = summary.runs().count();
    let planned: usize = summary.arms.iter().map(|arm| arm.variant.runs.len()).sum();
    let sections = summary.sections();
    let equivalents = sections.iter().find(|section| section.id == EQUIVALENTS);
    html! {
        section id=(anchor(&record.name)) {
            h3 { (line(&record.name)) }
            p { (text(record.description.trim())) }
            p {
                (finished) " of " (planned) " runs are finished"
                @if let Some(primary) = &record.primary_contrast {
                    "; the primary contrast is " code { (line(&primary.label)) } ", named before them"
                }
                ". " a href=(format!("{}/report.html", record.name)) { "All of it" } "."
            }
            (of_table(&summary.table()))
            @if let Some(section) = equivalents {
                h4 { (section.title) }
                (of_table(&section.table))
                (notes(&section.notes))
            }
            @for (title, svg) in &shown.charts {
                @if let Some(figure) = Figure::new(title, svg) { (figure.markup()) }
            }
        }
    }
}

fn spectrum(shown: &ShownSpectrum) -> Markup {
    let title = "Share of a difference's energy that each rank keeps, mean over layers";
    let beside = match shown.record.reference {
        Reference::Base => "the first of its compound",
        Reference::Previous => "the one before",
    };
    html! {
        section {
            h3 { (line(&shown.record.title)) ", each layer beside " (beside) }
            (of_table(&spectrum_table(&shown.record)))
            (notes(&findings(&shown.record)))
            @if let Some(figure) = Figure::new(title, &shown.svg) { (figure.markup()) }
            p { a href=(format!("{}/spectrum.md", shown.folder)) { "What the columns are" } "." }
        }
    }
}

/// A claim with the findings behind its verdict.
fn claim(evaluated: &EvaluatedClaim, experiments: &[ShownExperiment]) -> Markup {
    let EvaluatedClaim { claim, verdict, checks, .. } = evaluated;
    let link = |check: &EvaluatedCheck| {
        let name = check.experiment.as_ref()?;
        experiments.iter().any(|shown| shown.summary.record.name == *name).then(|| anchor(name))
    };
    html! {
        h3 { (line(&claim.name)) ": " (verdict.name()) }
        p { (line(claim.statement.trim())) " (" (line(claim.source.trim())) ")" }
        ul {
            @for check in checks {
                li {
                    (inline(&check.finding)) ": " b { (check.verdict.name()) } "."
                    @if let Some(to) = link(check) { " " a href=(format!("#{to}")) { "Results" } "." }
                }
            }
            @if checks.is_empty() { li { "No check is about it yet." } }
            @if let Some(note) = evaluated.missing_note() { li { (inline(&note)) "." } }
            @if !claim.open.is_empty() { li { "Open: " (inline(&markdown(claim.open.trim()))) } }
        }
    }
}

/// The id of an experiment's place on the page.
fn anchor(name: &str) -> String {
    format!("of-{name}")
}
