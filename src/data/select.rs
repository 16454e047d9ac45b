//! Which columns of a file are asked for, and the error where it has them not.

use super::table::Kind;
use crate::error::{Error, Result};
use crate::spec::nearest;

/// Columns to read.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a> {
    /// Every one that can be read.
    All,
    Named(&'a [String]),
    /// Those that `data.image_column` and `data.label_column` name.
    Images {
        image: &'a str,
        label: &'a str,
    },
}

impl Select<'_> {
    pub fn wants(&self, column: &str) -> bool {
        match self {
            Select::All => true,
            Select::Named(names) => names.iter().any(|name| name == column),
            Select::Images { image, label } => column == *image || column == *label,
        }
    }

    /// Refuses a file without a column that is asked for. Where just one column is what an image
    /// or label column is, the error tells the field that names it.
    pub fn check(&self, file: &str, fields: &[(String, Kind)]) -> Result<()> {
        match self {
            Select::All => Ok(()),
            Select::Named(names) => {
                names.iter().try_for_each(|name| missing(file, fields, name, String::new))
            }
            Select::Images { image, label } => {
                let help = |field: &str, kinds: &[Kind]| hint(fields, field, kinds);
                let images = || help("data.image_column", &[Kind::Image]);
                missing(file, fields, image, images)?;
                // A column of whole numbers is taken for the labels where no column is sure to be.
                let labels = || match help("data.label_column", &[Kind::ClassLabel]) {
                    none if none.is_empty() => {
                        help("data.label_column", &[Kind::Integer, Kind::Text])
                    }
                    some => some,
                };
                missing(file, fields, label, labels)
            }
        }
    }
}

/// The help where just one column is of one of the kinds.
fn hint(fields: &[(String, Kind)], field: &str, kinds: &[Kind]) -> String {
    let mut found = fields.iter().filter(|(_, kind)| kinds.contains(kind));
    match (found.next(), found.next()) {
        (Some((name, kind)), None) => format!("\n  help:     {field}: {name} (it holds {kind})"),
        _ => String::new(),
    }
}

fn missing(
    file: &str,
    fields: &[(String, Kind)],
    name: &str,
    help: impl Fn() -> String,
) -> Result<()> {
    if fields.iter().any(|(field, _)| field == name) {
        return Ok(());
    }
    let help = match help() {
        none if none.is_empty() => nearest(name, fields.iter().map(|(field, _)| field.as_str()))
            .map(|near| format!("\n  help:     did you mean `{near}`?"))
            .unwrap_or_default(),
        help => help,
    };
    let columns: Vec<String> =
        fields.iter().map(|(field, kind)| format!("{field} ({kind})")).collect();
    let columns = if columns.is_empty() { "no columns".into() } else { columns.join(", ") };
    Err(Error::Input(format!(
        "{file}: there is no column `{name}`\n  found:    {columns}\n  expected: a column of this \
         name{help}"
    )))
}
