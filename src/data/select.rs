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
                let images = || match help("data.image_column", &[Kind::Image]) {
                    none if none.is_empty() => no_images(fields),
                    some => some,
                };
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

/// The help where no column holds images but one may hold their paths.
fn no_images(fields: &[(String, Kind)]) -> String {
    let is = |kind: Kind| fields.iter().any(|(_, own)| *own == kind);
    match !is(Kind::Image) && is(Kind::Text) {
        true => format!("\n  help:     {PATHS}"),
        false => String::new(),
    }
}

/// How a table of paths is laid out, so that its images are read.
pub const PATHS: &str = "where a column holds paths of images, call the table metadata.csv or \
    metadata.jsonl, the column file_name, and lay it in the folder of the images";

/// The help for a table of one column whose name holds what may be meant as a separator.
fn other_separator(fields: &[(String, Kind)]) -> Option<String> {
    let [(name, _)] = fields else { return None };
    let found = [(';', "`;`"), ('\t', "tabs"), ('|', "`|`")];
    let (_, separator) = found.into_iter().find(|(c, _)| name.contains(*c))?;
    Some(format!(
        "\n  help:     the values seem to be separated by {separator}: write them with commas in .csv, \
         with tabs in .tsv"
    ))
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
    let help = match other_separator(fields).unwrap_or_else(help) {
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
