//! The report as one HTML page: it asks for nothing outside itself and is read without scripts. No
//! other folder uses maud.

mod curve;
mod overview;
mod runs;
mod samples;
mod style;

pub use overview::{ShownExperiment, ShownSpectrum, overview};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts::ChartFile;
use super::samples::SampleOutputs;
use super::summary::Summary;
use super::table::{Align, ShownColumn, Table};
use super::text::{Piece, pieces, visible_line};
use crate::spec::flatten;

/// A chart for the page: its title, and its drawing as SVG.
pub struct Figure<'a> {
    pub title: &'a str,
    pub svg: &'a str,
}

impl Figure<'_> {
    /// From an SVG file, whose declaration is left out. None if it has no drawing.
    pub fn new<'a>(title: &'a str, svg: &'a str) -> Option<Figure<'a>> {
        Some(Figure { title, svg: &svg[svg.find("<svg")?..] })
    }

    fn markup(&self) -> Markup {
        html! {
            figure {
                div class="wide" role="img" aria-label=(line(self.title)) { (PreEscaped(self.svg)) }
                figcaption { (line(self.title)) }
            }
        }
    }
}

/// The charts that a page shows.
pub fn figures(charts: &[ChartFile]) -> Vec<Figure<'_>> {
    let svg =
        charts.iter().filter_map(|(name, title, content)| Some((title, svg_text(name, content)?)));
    svg.filter_map(|(title, svg)| Figure::new(title, svg)).collect()
}

/// The text of a drawn file, if it is an SVG.
pub fn svg_text<'a>(name: &str, content: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(content).ok().filter(|_| name.ends_with(".svg"))
}

/// An HTML document of this title and content.
fn document(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // An empty icon, so that a browser asks for none.
                link rel="icon" href="data:,";
                title { (line(title)) }
                style { (PreEscaped(style::STYLE)) }
            }
            body { main { (content) } }
        }
    };
    page.into_string() + "\n"
}

/// The whole page.
pub fn page(summary: &Summary, outputs: Option<&SampleOutputs>, figures: &[Figure]) -> String {
    let record = &summary.record;
    let content = html! {
        h1 { (line(&record.name)) }
        p { (text(&record.description)) }
        (question(summary))
        h2 id="results" { "Results" }
        (of_table(&summary.table()))
        @for section in summary.sections() {
            h2 id=(section.id) { (section.title) }
            (of_table(&section.table))
            (notes(&section.notes))
        }
        h2 id="charts" { "Charts" }
        @for figure in figures { (figure.markup()) }
        @if let Some(outputs) = outputs { (samples::samples(outputs)) }
        h2 id="notes" { "How it was done" }
        (notes(&summary.notes()))
        h2 id="arms" { "What the arms differ in" }
        (differences(summary))
        h2 id="runs" { "Runs" }
        (runs::runs(summary))
    };
    document(&record.name, &content)
}

/// What is compared, in a few lines.
fn question(summary: &Summary) -> Markup {
    let record = &summary.record;
    let runs = summary.runs().count();
    let planned = summary.planned_runs();
    let seeds: Vec<String> = record.seeds.iter().map(u64::to_string).collect();
    html! {
        table class="facts" {
            tr { th { "Arms" } td { (summary.arms.len()) ", the baseline is " code { (line(&record.baseline)) } } }
            tr { th { "Metric" } td { "test " (summary.metric().title()) } }
            tr { th { "Seeds" } td { (seeds.join(", ")) } }
            tr { th { "Runs" } td { (runs) " of " (planned) " finished" } }
            @if let Some(primary) = &record.primary_contrast {
                tr { th { "Primary contrast" } td { code { (line(&primary.label)) } } }
            }
            @if !record.overrides.is_empty() {
                tr { th { "Set by the command" } td { (line(&record.overrides.join(", "))) } }
            }
        }
    }
}

/// The fields in which the arms' specs differ, one row an arm.
fn differences(summary: &Summary) -> Markup {
    let specs: Vec<_> = summary.arms.iter().map(|arm| flatten(&arm.variant.spec)).collect();
    let mut fields: Vec<&String> = specs.iter().flat_map(|spec| spec.keys()).collect();
    fields.sort();
    fields.dedup();
    // Where an arm has no such field, as a dense one has no rank, the others alone are compared.
    fields.retain(|field| {
        let values: Vec<&String> = specs.iter().filter_map(|spec| spec.get(*field)).collect();
        values.windows(2).any(|pair| pair[0] != pair[1])
    });
    let shown = |value: &String| line(value.trim_matches('"'));
    html! {
        @if fields.is_empty() {
            p { "Nothing." }
        } @else {
            div class="wide" {
                table {
                    thead { tr { th { "arm" } @for field in &fields { th { code { (line(field)) } } } } }
                    tbody {
                        @for (arm, spec) in summary.arms.iter().zip(&specs) {
                            tr {
                                td { (line(&arm.variant.label)) }
                                @for field in &fields {
                                    td { (spec.get(*field).map_or("—".into(), shown)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn of_table(table: &Table) -> Markup {
    let (columns, rows) = table.shown();
    let class = |column: &ShownColumn| (column.align == Align::Right).then_some("number");
    html! {
        div class="wide" {
            table {
                thead {
                    tr { @for column in &columns { th class=[class(column)] { (line(column.title)) } } }
                }
                tbody {
                    @for row in &rows {
                        tr {
                            @for (cell, column) in row.iter().zip(&columns) {
                                td class=[class(column)] {
                                    @if cell.bold { b { (line(cell.text)) } } @else { (line(cell.text)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Notes in Markdown as a list.
fn notes(notes: &[String]) -> Markup {
    html! {
        ul { @for note in notes { li { (inline(note)) } } }
    }
}

/// A note in Markdown.
fn inline(note: &str) -> Markup {
    html! {
        @for piece in pieces(note) {
            @match piece {
                Piece::Text(text) => (text),
                Piece::Code(code) => code { (code) },
                Piece::Bold(text) => b { (text) },
            }
        }
    }
}

/// Text from outside on one line; maud escapes what HTML would read.
fn line(text: &str) -> String {
    visible_line(text).into_owned()
}

/// Text of several lines.
fn text(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
