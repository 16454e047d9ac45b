//! The tables with their notes as documents: Markdown and LaTeX.

use super::summary::Summary;
use super::table::{Format, Table};
use super::text::{latex, latex_note, markdown, markdown_lines};

impl Summary {
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
        if !self.comparisons().is_empty() {
            out += "\n## Comparisons with the baseline\n\n";
            out += &self.comparison_table().render(Format::Markdown);
            out.push('\n');
            for note in self.comparison_notes() {
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
        if !self.comparisons().is_empty() {
            let caption = format!("{}: comparisons with the baseline.", latex(name));
            let label = format!("{plain_name}-comparisons");
            out += &float(&label, &caption, &self.comparison_table(), &self.comparison_notes());
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
