//! A table of named columns, rendered as text, CSV, JSON, Markdown or LaTeX.

mod latex;

use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

use super::text::{self, visible_line};
pub use crate::size::percent;
use crate::terminal::output_width;

/// How a command prints its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Aligned text.
    #[default]
    Table,
    Csv,
    Json,
    Markdown,
    /// A tabular with the rules of the booktabs package.
    Latex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// One value in two forms, for programs and for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    value: Value,
    text: String,
    /// Whether it is bold in Markdown, LaTeX and HTML.
    bold: bool,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Cell {
        let text = text.into();
        Cell { value: Value::String(text.clone()), text, bold: false }
    }

    /// A number, shown as `text`.
    pub fn number(value: impl Into<Value>, text: impl Into<String>) -> Cell {
        Cell { value: value.into(), text: text.into(), bold: false }
    }

    /// A JSON value; null becomes an empty cell.
    pub fn of(value: Value) -> Cell {
        match value {
            Value::Null => Cell::none(),
            Value::String(text) => Cell::text(text),
            other => Cell { text: other.to_string(), value: other, bold: false },
        }
    }

    /// A text for people, of numbers that other columns have for programs.
    pub fn shown(text: impl Into<String>) -> Cell {
        Cell { value: Value::Null, text: text.into(), bold: false }
    }

    /// An empty cell: empty in CSV, null in JSON, a dash for people.
    pub fn none() -> Cell {
        Cell { value: Value::Null, text: "—".into(), bold: false }
    }

    /// The cell in bold in Markdown, LaTeX and HTML, if `bold`.
    pub fn bold_if(mut self, bold: bool) -> Cell {
        self.bold = bold;
        self
    }
}

#[derive(Clone, Debug)]
struct Column {
    key: String,
    title: String,
    align: Align,
    /// Hidden columns are for programs only.
    shown: bool,
    /// Whether programs get it, in CSV and JSON.
    is_data: bool,
}

/// A column as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownColumn<'a> {
    pub title: &'a str,
    pub align: Align,
}

/// A cell as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownCell<'a> {
    pub text: &'a str,
    pub bold: bool,
}

/// A row whose cells carry their columns.
#[derive(Clone, Debug, Default)]
pub struct Row {
    cells: Vec<(Column, Cell)>,
}

impl Row {
    pub fn new() -> Row {
        Row::default()
    }

    /// A cell of a column that programs know by `key` and people by `title`.
    pub fn cell(mut self, key: &str, title: &str, align: Align, cell: Cell) -> Row {
        let (key, title) = (key.to_string(), title.to_string());
        self.cells.push((Column { key, title, align, shown: true, is_data: true }, cell));
        self
    }

    /// A value of a column in CSV and JSON only.
    pub fn hidden(mut self, key: &str, value: impl Into<Value>) -> Row {
        let (key, title) = (key.to_string(), String::new());
        let cell = Cell { value: value.into(), text: String::new(), bold: false };
        self.cells
            .push((Column { key, title, align: Align::Left, shown: false, is_data: true }, cell));
        self
    }
}

/// Rows of cells under named columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new() -> Table {
        Table::default()
    }

    /// A column that programs know by `key` and people by `title`.
    pub fn column(self, key: impl Into<String>, title: impl Into<String>, align: Align) -> Table {
        self.column_if(true, key, title, align)
    }

    /// A column in CSV and JSON only.
    pub fn hidden(self, key: impl Into<String>) -> Table {
        self.column_if(false, key, String::new(), Align::Left)
    }

    /// A column that people see only if `shown`.
    pub fn column_if(
        mut self,
        shown: bool,
        key: impl Into<String>,
        title: impl Into<String>,
        align: Align,
    ) -> Table {
        let (key, title) = (key.into(), title.into());
        self.columns.push(Column { key, title, align, shown, is_data: true });
        self
    }

    /// A column that repeats numbers of other columns as a text; programs do not get it.
    pub fn column_for_people(mut self, title: impl Into<String>, align: Align) -> Table {
        let (key, title) = (String::new(), title.into());
        self.columns.push(Column { key, title, align, shown: true, is_data: false });
        self
    }

    /// People do not see the columns with these keys.
    pub fn without(mut self, keys: &[&str]) -> Table {
        for column in &mut self.columns {
            column.shown &= !keys.contains(&column.key.as_str());
        }
        self
    }

    /// The number of columns, hidden ones included.
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// Adds a row with one cell per column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Adds a row that carries its columns. All rows must have the same columns.
    pub fn add(&mut self, row: Row) {
        let (columns, cells): (Vec<Column>, Vec<Cell>) = row.cells.into_iter().unzip();
        if self.columns.is_empty() {
            self.columns = columns;
        }
        self.row(cells);
    }

    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.within(output_width()),
            Format::Csv => self.csv(),
            Format::Json => self.json(),
            Format::Markdown => self.markdown(),
            Format::Latex => self.latex(),
        }
    }

    fn visible(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, c)| c.shown)
    }

    fn data(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, c)| c.is_data)
    }

    /// What people see of the table: its columns, and its rows with a cell for each of them.
    pub fn shown(&self) -> (Vec<ShownColumn<'_>>, Vec<Vec<ShownCell<'_>>>) {
        let columns = self.visible().map(|(_, c)| ShownColumn { title: &c.title, align: c.align });
        let rows = self.rows.iter().map(|row| {
            let cells = self.visible().map(|(i, _)| &row[i]);
            cells.map(|cell| ShownCell { text: &cell.text, bold: cell.bold }).collect()
        });
        (columns.collect(), rows.collect())
    }

    /// Aligned text in lines of at most `width` characters. If a line would be longer, each row
    /// becomes a block of lines instead. Without a width, lines may have any length.
    pub fn within(&self, width: Option<usize>) -> String {
        let text = self.aligned();
        match width {
            Some(most) if text.lines().any(|line| self::width(line) > most) => self.blocks(),
            _ => text,
        }
    }

    /// For each row, its first cell and below it one line per further cell.
    fn blocks(&self) -> String {
        let columns: Vec<(usize, &Column)> = self.visible().collect();
        let Some(((first, _), others)) = columns.split_first() else { return String::new() };
        let longest = others.iter().map(|(_, c)| width(&visible_line(&c.title))).max().unwrap_or(0);
        let block = |row: &Vec<Cell>| {
            let lines = others.iter().map(|(i, column)| {
                let title = pad(&visible_line(&column.title), longest, Align::Left);
                format!("  {title}  {}\n", visible_line(&row[*i].text))
            });
            format!("{}\n{}", visible_line(&row[*first].text), lines.collect::<String>())
        };
        self.rows.iter().map(block).collect::<Vec<_>>().join("\n")
    }

    fn aligned(&self) -> String {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let cells = self.rows.iter().map(|r| width(&visible_line(&r[i].text)));
                cells.chain([width(&visible_line(&c.title))]).max().unwrap_or(0)
            })
            .collect();
        let line = |text: &dyn Fn(usize) -> String| {
            let cells: Vec<String> =
                self.visible().map(|(i, c)| pad(&text(i), widths[i], c.align)).collect();
            cells.join("  ").trim_end().to_string() + "\n"
        };
        let mut out = line(&|i| visible_line(&self.columns[i].title).into_owned());
        out += &line(&|i| "─".repeat(widths[i]));
        for row in &self.rows {
            out += &line(&|i| visible_line(&row[i].text).into_owned());
        }
        out
    }

    /// A GitHub-flavoured Markdown table.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut out = line(self.visible().map(|(_, c)| text::markdown(&c.title)).collect());
        let rule = |c: &Column| if c.align == Align::Right { "---:" } else { ":---" };
        out += &line(self.visible().map(|(_, c)| rule(c).to_string()).collect());
        for row in &self.rows {
            let cell = |cell: &Cell| match cell.bold {
                true => format!("**{}**", text::markdown(&cell.text)),
                false => text::markdown(&cell.text),
            };
            out += &line(self.visible().map(|(i, _)| cell(&row[i])).collect());
        }
        out
    }

    fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let plain = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(s) => text::csv_cell(s).into_owned(),
            other => other.to_string(),
        };
        // Writing into memory cannot fail, and every row has one cell per column.
        let titles = self.data().map(|(_, c)| text::csv_cell(&c.key).into_owned());
        let _ = writer.write_record(titles);
        for row in &self.rows {
            let _ = writer.write_record(self.data().map(|(i, _)| plain(&row[i].value)));
        }
        writer.into_inner().ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default()
    }

    fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let object: Map<String, Value> =
                    self.data().map(|(i, c)| (c.key.clone(), row[i].value.clone())).collect();
                Value::Object(object)
            })
            .collect();
        format!("{:#}\n", json!(rows))
    }
}

/// Terminal columns that the text needs: two for a wide character, none for a combining one.
fn width(text: &str) -> usize {
    text.width()
}

fn pad(text: &str, to: usize, align: Align) -> String {
    let space = " ".repeat(to.saturating_sub(width(text)));
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

/// `23,751,400`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// The share of the baseline's parameters that an arm saves.
pub fn reduction(parameters: u64, baseline: u64) -> f64 {
    1.0 - parameters as f64 / baseline as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut t = Table::new()
            .column("arm", "arm", Align::Left)
            .column("parameters", "parameters", Align::Right)
            .hidden("id");
        t.row(vec![Cell::text("a,b"), Cell::number(1234, count(1234)), Cell::text("x")]);
        t.row(vec![Cell::text("c"), Cell::none(), Cell::none()]);
        t
    }

    #[test]
    fn every_format_renders_the_table() {
        let t = sample();
        assert_eq!(
            t.within(None),
            "arm  parameters\n───  ──────────\na,b       1,234\nc             —\n"
        );
        assert_eq!(t.render(Format::Csv), "arm,parameters,id\n\"a,b\",1234,x\nc,,\n");
        assert_eq!(
            t.markdown(),
            "| arm | parameters |\n| :--- | ---: |\n| a,b | 1,234 |\n| c | — |\n"
        );
        let json: Value = serde_json::from_str(&t.render(Format::Json)).unwrap();
        assert_eq!(json[0]["parameters"], 1234);
        assert_eq!(json[1]["id"], Value::Null);
    }

    #[test]
    fn rows_with_their_own_columns_make_the_same_table() {
        let row = |arm: &str, parameters: Option<u64>, id: Option<&str>| {
            let parameters =
                parameters.map_or(Cell::none(), |number| Cell::number(number, count(number)));
            Row::new()
                .cell("arm", "arm", Align::Left, Cell::text(arm))
                .cell("parameters", "parameters", Align::Right, parameters)
                .hidden("id", id)
        };
        let mut t = Table::new();
        t.add(row("a,b", Some(1234), Some("x")));
        t.add(row("c", None, None));
        for format in [Format::Csv, Format::Json] {
            assert_eq!(t.render(format), sample().render(format));
        }
        assert_eq!(t.within(None), sample().within(None));
    }

    #[test]
    fn texts_are_escaped_within_their_cells() {
        let mut t =
            Table::new().column("name", "na|me", Align::Left).column("x", "x", Align::Right);
        t.row(vec![Cell::text("a|b\n\x1b[31m<b>"), Cell::number(-1, "-1")]);
        t.row(vec![Cell::text("=cmd()"), Cell::text("-x")]);
        let lines = t.within(None);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[2..], ["a|b\\n\\x1b[31m<b>  -1", "=cmd()            -x"]);
        assert!(
            t.markdown().contains("| a\\|b\\\\n\\\\x1b\\[31m\\<b\\> | -1 |"),
            "{}",
            t.markdown()
        );
        assert_eq!(t.render(Format::Csv), "name,x\na|b\\n\\x1b[31m<b>,-1\n'=cmd(),'-x\n");
        let json: Value = serde_json::from_str(&t.render(Format::Json)).unwrap();
        assert_eq!(json[0]["name"], "a|b\n\x1b[31m<b>");
    }

    /// Columns are aligned on a terminal for any cell content.
    #[test]
    fn cells_are_as_wide_as_they_are_printed() {
        let texts =
            ["plain", "日本語", "e\u{301}a\u{308}", "a\x1b[31mb", "\u{202e}x", "größer", ""];
        let mut t = Table::new().column("name", "name", Align::Left).column("x", "x", Align::Right);
        texts.iter().for_each(|text| t.row(vec![Cell::text(*text), Cell::text("|")]));
        let text = t.within(None);
        let printed = crate::terminal::visible(&text);
        assert_eq!(printed, text, "it is escaped once");
        for (line, text) in printed.lines().skip(2).zip(texts) {
            // The widest text is `a\x1b[31mb`, printed as ten characters.
            assert_eq!(line.width(), 13, "{text}: {line}");
            assert!(line.ends_with('|'));
        }
    }

    #[test]
    fn a_table_that_is_too_wide_becomes_blocks() {
        let t = sample();
        assert_eq!(t.within(Some(15)), t.within(None));
        let blocks = "a,b\n  parameters  1,234\n\nc\n  parameters  —\n";
        assert_eq!(t.within(Some(14)), blocks);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(86_567_656), "86,567,656");
        assert_eq!(crate::size::bytes(3 << 30), "3.0 GiB");
    }
}
