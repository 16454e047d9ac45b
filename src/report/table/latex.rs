//! A table as LaTeX.

use super::{Align, Cell, Table};
use crate::report::text;

impl Table {
    /// A tabular with the rules of the booktabs package.
    pub(super) fn latex(&self) -> String {
        let aligned = self.visible().map(|(_, c)| if c.align == Align::Right { 'r' } else { 'l' });
        let line = |cells: Vec<String>| cells.join(" & ") + " \\\\\n";
        let cell = |cell: &Cell| match cell.bold {
            true => format!("\\textbf{{{}}}", text::latex(&cell.text)),
            false => text::latex(&cell.text),
        };
        let mut out = format!("\\begin{{tabular}}{{{}}}\n\\toprule\n", aligned.collect::<String>());
        out += &line(self.visible().map(|(_, c)| text::latex(&c.title)).collect());
        out += "\\midrule\n";
        for row in &self.rows {
            out += &line(self.visible().map(|(i, _)| cell(&row[i])).collect());
        }
        out + "\\bottomrule\n\\end{tabular}\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_tabular() {
        let mut table = Table::new().column("arm", "arm", Align::Left).hidden("id").column(
            "x",
            "accuracy (%)",
            Align::Right,
        );
        table.row(vec![Cell::text("a_b"), Cell::text("1"), Cell::text("−2.0 ± 0.1").bold_if(true)]);
        table.row(vec![Cell::text("[c]"), Cell::none(), Cell::none()]);
        assert_eq!(
            table.latex(),
            "\\begin{tabular}{lr}\n\\toprule\narm & accuracy (\\%) \\\\\n\\midrule\n\
             a\\_b & \\textbf{$-$2.0 $\\pm$ 0.1} \\\\\n{[}c] & --- \\\\\n\\bottomrule\n\\end{tabular}\n"
        );
    }
}
