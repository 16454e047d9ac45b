//! Rows of a dataset in memory, independent of the files' format. Every reader makes a [`Table`].

use super::class_names;
pub use super::values::{Blobs, Kind, Rows, Values};
use crate::error::{Error, Fault, Result};

/// Named columns of equal length.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: usize,
    sources: Vec<Source>,
}

/// A file that rows came from.
#[derive(Clone, Debug)]
struct Source {
    file: String,
    /// Index of its first row.
    first: usize,
    /// Whether the file is a single row, such as an image.
    single: bool,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub values: Values,
    /// Class names of the labels 0, 1, …; empty if they have no names.
    pub class_names: Vec<String>,
    /// Whether the files hold names that became numbers. The files alone do not define the numbers.
    pub named: bool,
    /// Whether one file holds whole numbers and another one text.
    pub mixed: bool,
}

impl Column {
    pub fn new(name: impl Into<String>, values: Values) -> Column {
        Column { name: name.into(), values, class_names: Vec::new(), named: false, mixed: false }
    }

    fn is_whole(&self) -> bool {
        matches!(self.values, Values::Integers(_))
    }

    pub fn kind(&self) -> Kind {
        match &self.values {
            Values::Images(_) | Values::Pixels { .. } => Kind::Image,
            Values::Integers(_) if !self.class_names.is_empty() => Kind::ClassLabel,
            Values::Integers(_) => Kind::Integer,
            Values::Floats(_) => Kind::Float,
            Values::Text(_) => Kind::Text,
            Values::Languages { languages, .. } => Kind::Languages(languages.clone()),
            Values::Other(name) => Kind::Other(name.clone()),
        }
    }
}

impl Table {
    /// The rows of one file. All columns have equal length, except those of an unsupported type.
    pub fn new(file: &str, columns: Vec<Column>, rows: usize) -> Table {
        let sources = vec![Source { file: file.to_string(), first: 0, single: false }];
        Table::of(sources, columns, rows)
    }

    /// One row for each file.
    pub fn of_files(files: Vec<String>, columns: Vec<Column>) -> Table {
        let rows = files.len();
        let source = |(first, file)| Source { file, first, single: true };
        Table::of(files.into_iter().enumerate().map(source).collect(), columns, rows)
    }

    fn of(sources: Vec<Source>, columns: Vec<Column>, rows: usize) -> Table {
        debug_assert!(columns.iter().all(|c| match c.values {
            Values::Other(_) => true,
            _ => c.values.len() == rows,
        }));
        Table { columns, rows, sources }
    }

    /// The origin of a row for errors: the file, and the row in it.
    pub fn place(&self, row: usize) -> String {
        match self.sources.iter().rev().find(|source| source.first <= row) {
            Some(Source { file, single: true, .. }) => file.clone(),
            Some(Source { file, first, .. }) => format!("{file}: row {}", row - first),
            None => format!("row {row}"),
        }
    }

    /// The file of the first row.
    pub fn file(&self) -> &str {
        self.sources.first().map_or("", |source| &source.file)
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Names and kinds of the columns, in the file's order.
    pub fn fields(&self) -> Vec<(String, Kind)> {
        self.columns.iter().map(|c| (c.name.clone(), c.kind())).collect()
    }

    /// Appends the rows of another file of the same split. Errors if its columns differ.
    pub fn append(&mut self, more: Table) -> Result<()> {
        let file = more.file().to_string();
        let differs = |found: String, expected: String| {
            Error::from(
                Fault::new("the columns differ from those of the split's other files")
                    .source(&file)
                    .found(found)
                    .expected(expected),
            )
        };
        let list = |table: &Table| {
            let fields = table.fields().into_iter();
            fields.map(|(name, kind)| format!("{name} ({kind})")).collect::<Vec<_>>().join(", ")
        };
        let (found, expected) = (list(&more), list(self));
        if self.columns.len() != more.columns.len() {
            return Err(differs(found, expected));
        }
        for column in more.columns {
            let existing = self.columns.iter_mut().find(|existing| existing.name == column.name);
            let Some(existing) = existing else { return Err(differs(found, expected)) };
            let names = class_names::difference(&column.class_names, &existing.class_names);
            if let Some(difference) = names {
                let column = format!("column `{}`", column.name);
                return Err(difference.source(&file).within(column).into());
            }
            let differ = existing.is_whole() != column.is_whole();
            let values = std::mem::replace(&mut existing.values, Values::Text(Vec::new()));
            existing.values = values
                .join(column.values)
                .ok_or_else(|| differs(found.clone(), expected.clone()))?;
            existing.named |= column.named;
            let text = matches!(existing.values, Values::Text(_));
            existing.mixed |= column.mixed || (differ && text);
        }
        let moved = |source: Source| Source { first: source.first + self.rows, ..source };
        self.sources.extend(more.sources.into_iter().map(moved));
        self.rows += more.rows;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(rows: &[&str]) -> Blobs {
        Blobs::new(rows.iter().map(|r| Some(r.as_bytes().to_vec())).collect::<Vec<_>>())
    }

    #[test]
    fn tables_of_the_same_columns_are_joined() {
        let table = |images: &[&str], numbers: &[i64]| {
            let numbers: Vec<_> = numbers.iter().copied().map(Some).collect();
            let columns = vec![
                Column::new("image", Values::Images(blobs(images))),
                Column::new("label", Values::Integers(numbers)),
            ];
            Table::new("first", columns, images.len())
        };
        let mut all = table(&["a", "b"], &[1, 2]);
        all.append(table(&["c"], &[3])).unwrap();
        assert_eq!(all.rows, 3);
        assert_eq!((all.place(1), all.place(2)), ("first: row 1".into(), "first: row 0".into()));
        let Values::Images(images) = &all.columns[0].values else { panic!() };
        assert_eq!((images.get(1), images.get(2)), (Some(&b"b"[..]), Some(&b"c"[..])));
        assert_eq!(images.get(3), None);
        let mut other = table(&["c"], &[3]);
        other.columns[1].values = Values::Text(vec![Some("x".into())]);
        other.columns[0].name = "img".into();
        let error = all.append(other).unwrap_err().to_string();
        assert!(
            error.starts_with("first: the") && error.contains("img (images), label (text)"),
            "{error}"
        );
    }

    #[test]
    fn numbers_of_one_file_join_text_of_another() {
        let table = |values| Table::new("f", vec![Column::new("a", values)], 1);
        let mut all = table(Values::Integers(vec![Some(7)]));
        all.append(table(Values::Text(vec![Some("x".into())]))).unwrap();
        all.append(table(Values::Integers(vec![Some(8)]))).unwrap();
        let Values::Text(texts) = &all.columns[0].values else { panic!() };
        let texts: Vec<_> = texts.iter().map(|t| t.as_deref().unwrap()).collect();
        assert_eq!(texts, ["7", "x", "8"]);
    }

    #[test]
    fn the_type_of_a_column_does_not_depend_on_the_order_of_files() {
        let float = |x| Values::Floats(vec![Some(x)]);
        let text = |x: &str| Values::Text(vec![Some(x.into())]);
        let nothing = || Values::Text(vec![None]);
        let languages = || vec!["de".to_string()];
        let translation =
            Values::Languages { languages: languages(), texts: vec![vec![Some("x".into())]] };
        let cases = [
            (Values::Integers(vec![Some(7)]), float(0.5), Some(Kind::Float)),
            (Values::Integers(vec![Some(7)]), text("x"), Some(Kind::Text)),
            (float(0.5), text("x"), None),
            (nothing(), Values::Integers(vec![Some(7)]), Some(Kind::Integer)),
            (nothing(), float(0.5), Some(Kind::Float)),
            (nothing(), text("x"), Some(Kind::Text)),
            (nothing(), nothing(), Some(Kind::Text)),
            (nothing(), translation, Some(Kind::Languages(languages()))),
            (nothing(), Values::Images(blobs(&["x"])), Some(Kind::Image)),
            (
                Values::Text(vec![]),
                Values::Other("lists".into()),
                Some(Kind::Other("lists".into())),
            ),
            (Values::Images(blobs(&["x"])), text("x"), None),
        ];
        let joined = |a: &Values, b: &Values| -> Option<Column> {
            let table = |values: &Values| {
                Table::new("f", vec![Column::new("a", values.clone())], values.len())
            };
            let mut all = table(a);
            all.append(table(b)).ok()?;
            all.columns.pop()
        };
        for (a, b, kind) in cases {
            for (a, b) in [(&a, &b), (&b, &a)] {
                let column = joined(a, b);
                assert_eq!(column.as_ref().map(Column::kind), kind, "{a:?} and {b:?}");
                if let Some(column) = column {
                    assert_eq!(column.values.len(), a.len() + b.len());
                }
            }
        }
        let Values::Floats(floats) =
            joined(&Values::Integers(vec![Some(7), None]), &float(0.5)).unwrap().values
        else {
            panic!()
        };
        assert_eq!(floats, [Some(7.0), None, Some(0.5)]);
    }
}
