//! The tables with their notes as documents: Markdown and LaTeX.

use super::summary::Summary;
use super::table::{Format, Table};
use super::text::{latex, latex_note, markdown, markdown_lines};

/// A table below the main one.
pub struct Section {
    /// For links and labels.
    pub id: &'static str,
    pub title: &'static str,
    pub table: Table,
    /// What programs get, if that is more than the table.
    data: Option<Table>,
    /// As Markdown.
    pub notes: Vec<String>,
}

const COMPARISONS: &str = "comparisons";
pub const EQUIVALENTS: &str = "dense-equivalents";
const LAYERS: &str = "layers";
const TRIVIAL_BASELINES: &str = "trivial-baselines";
const TRIALS: &str = "tuning-trials";

impl Section {
    /// The files of all sections that a report can have.
    pub fn files() -> impl Iterator<Item = String> {
        [TRIVIAL_BASELINES, COMPARISONS, TRIALS, EQUIVALENTS, LAYERS]
            .into_iter()
            .map(|id| format!("{id}.csv"))
    }

    pub fn file(&self) -> String {
        format!("{}.csv", self.id)
    }

    pub fn data(&self) -> &Table {
        self.data.as_ref().unwrap_or(&self.table)
    }
}

impl Summary {
    /// The tables below the main one that the evidence allows.
    pub fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        if let Some(table) = self.trivial_baselines_table() {
            sections.push(Section {
                id: TRIVIAL_BASELINES,
                title: "Trivial baselines",
                table,
                data: None,
                notes: self.trivial_baselines_notes(),
            });
        }
        if !self.comparisons().is_empty() {
            sections.push(Section {
                id: COMPARISONS,
                title: "Comparisons with the baseline",
                table: self.comparison_table(),
                data: None,
                notes: self.comparison_notes(),
            });
        }
        if let Some(table) = self.trials_table() {
            sections.push(Section {
                id: TRIALS,
                title: "Tuning trials",
                table,
                data: None,
                notes: self.trials_notes(),
            });
        }
        if let Some(table) = self.equivalent_table() {
            sections.push(Section {
                id: EQUIVALENTS,
                title: "Dense-equivalent sizes",
                table,
                data: None,
                notes: self.equivalent_notes(),
            });
        }
        if let Some(table) = self.layers_table() {
            sections.push(Section {
                id: LAYERS,
                title: "Layer by layer",
                table,
                data: Some(self.layers_data()),
                notes: self.layers_notes(),
            });
        }
        sections
    }

    /// The table with its notes.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n", markdown(&self.record.name));
        if !self.record.description.is_empty() {
            out += &format!("{}\n\n", markdown_lines(&self.record.description));
        }
        out += &self.table().markdown();
        out.push('\n');
        for note in self.notes() {
            out += &format!("- {note}\n");
        }
        for section in self.sections() {
            out += &format!("\n## {}\n\n", section.title);
            out += &section.table.render(Format::Markdown);
            out.push('\n');
            for note in section.notes {
                out += &format!("- {note}\n");
            }
        }
        out
    }

    /// The tables as LaTeX floats, with their notes.
    pub fn latex(&self) -> String {
        let name = &self.record.name;
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
        let plain_name: String = name.chars().filter(is_plain).collect();
        let mut out = String::from(
            "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}. Letters beyond Latin and Greek ones\n\
             % need LuaLaTeX or XeLaTeX, and a font that has them.\n",
        );
        let described = match self.record.description.trim() {
            "" => format!("{}.", latex(name)),
            text => latex(&text.split_whitespace().collect::<Vec<_>>().join(" ")),
        };
        out += &float(&plain_name, &described, &self.table(), &self.notes());
        for section in self.sections() {
            let caption = format!("{}: {}.", latex(name), section.title.to_lowercase());
            let label = format!("{plain_name}-{}", section.id);
            out += &float(&label, &caption, &section.table, &section.notes);
        }
        out
    }
}

/// A table as a LaTeX float with its notes below. It is scaled down if it is wider than the text.
fn float(label: &str, caption: &str, table: &Table, notes: &[String]) -> String {
    let notes: Vec<String> = notes.iter().map(|note| latex_note(note)).collect();
    let fitting = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}";
    format!(
        "\n\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\label{{tab:{label}}}\n\\footnotesize\n\
         {fitting}{{%\n{}}}\\par\\medskip\n\\begin{{minipage}}{{\\linewidth}}\n\\scriptsize\n{}\n\
         \\end{{minipage}}\n\\end{{table}}\n",
        table.render(Format::Latex),
        notes.join("\\par\n")
    )
}
