//! Which columns of a file are read, and the error where it does not have them.

use super::table::Kind;
use crate::error::{Error, Fault, Result};
use crate::spec::nearest;

/// Columns to read.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a> {
    /// Every one that can be read.
    All,
    Named(&'a [String]),
    /// Those that fields of a spec name.
    Wanted(&'a [Wanted<'a>]),
}

/// A column that a field of a spec names.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub name: &'a str,
    /// The field, `data.label_column`.
    pub field: &'static str,
    /// What it may hold, the surest kinds first: where no column has the name, the only one of the
    /// first kinds that a column has is proposed.
    pub kinds: &'static [&'static [Kind]],
    /// The help where no column is of these kinds and one holds text.
    pub otherwise: &'static str,
    /// The help where CSV or TSV has no such column: it may lack the row of names.
    pub unnamed: Option<&'static str>,
    /// It holds labels.
    pub labels: bool,
}

impl<'a> Wanted<'a> {
    /// A column of class labels.
    pub const fn labels(name: &'a str) -> Wanted<'a> {
        // Numbers and names are taken for labels where no column is sure to hold them.
        let kinds: &[&[Kind]] = &[&[Kind::ClassLabel], &[Kind::Integer, Kind::Text]];
        let field = "data.label_column";
        Wanted { name, field, kinds, otherwise: "", unnamed: None, labels: true }
    }

    /// A column of encoded images.
    pub const fn images(name: &'a str) -> Wanted<'a> {
        let kinds: &[&[Kind]] = &[&[Kind::Image]];
        let field = "data.image_column";
        Wanted { name, field, kinds, otherwise: PATHS, unnamed: None, labels: false }
    }

    /// A column of texts, which a field of the spec names.
    pub const fn texts(name: &'a str, field: &'static str) -> Wanted<'a> {
        let kinds: &[&[Kind]] = &[&[Kind::Text]];
        Wanted { name, field, kinds, otherwise: "", unnamed: Some(UNNAMED), labels: false }
    }

    /// The help for a file with these columns, none of which has the name.
    fn help(&self, fields: &[(String, Kind)]) -> Option<String> {
        let of = |kinds: &[Kind]| fields.iter().filter(|(_, kind)| kinds.contains(kind)).count();
        if let Some(kinds) = self.kinds.iter().find(|kinds| of(kinds) > 0) {
            return hint(fields, self.field, kinds);
        }
        let text = fields.iter().any(|(_, kind)| *kind == Kind::Text);
        (text && !self.otherwise.is_empty()).then(|| self.otherwise.to_string())
    }
}

impl<'a> Select<'a> {
    pub fn wants(&self, column: &str) -> bool {
        match self {
            Select::All => true,
            Select::Named(names) => names.iter().any(|name| name == column),
            Select::Wanted(wanted) => wanted.iter().any(|wanted| wanted.name == column),
        }
    }

    /// The column of labels, where a spec names one.
    pub fn labels(&self) -> Option<&'a str> {
        match self {
            Select::All | Select::Named(_) => None,
            Select::Wanted(all) => all.iter().find(|wanted| wanted.labels).map(|w| w.name),
        }
    }

    /// The help where CSV or TSV lacks a column that may be there without a name.
    pub fn unnamed(&self) -> Option<&'static str> {
        match self {
            Select::All | Select::Named(_) => None,
            Select::Wanted(all) => all.iter().find_map(|wanted| wanted.unnamed),
        }
    }

    /// Refuses a file without a column that is named. Where just one column, which no other field names,
    /// holds what the field's column should hold, the error proposes it.
    pub fn check(&self, file: &str, fields: &[(String, Kind)]) -> Result<()> {
        match self {
            Select::All => Ok(()),
            Select::Named(names) => {
                names.iter().try_for_each(|name| missing(file, fields, name, || None))
            }
            Select::Wanted(all) => all.iter().try_for_each(|wanted| {
                let is_other = |name: &str| all.iter().any(|other| other.name == name);
                missing(file, fields, wanted.name, || {
                    let free = fields.iter().filter(|(name, _)| !is_other(name)).cloned();
                    wanted.help(&free.collect::<Vec<_>>())
                })
            }),
        }
    }
}

/// The help where just one column is of one of the kinds.
fn hint(fields: &[(String, Kind)], field: &str, kinds: &[Kind]) -> Option<String> {
    let mut found = fields.iter().filter(|(_, kind)| kinds.contains(kind));
    match (found.next(), found.next()) {
        (Some((name, kind)), None) => Some(format!("{field}: {name} (it holds {kind})")),
        _ => None,
    }
}

/// How columns get names where the file has none.
const UNNAMED: &str = "if the first row is an example, `data.columns` names the columns, as in \
    `columns: [label, text]`";

/// How a table of paths is laid out, so that its images are read.
pub const PATHS: &str = "where a column holds paths of images, call the table metadata.csv or \
    metadata.jsonl, the column file_name, and lay it in the folder of the images";

/// The help for a table of one column whose name holds what may be meant as a separator.
fn other_separator(fields: &[(String, Kind)]) -> Option<String> {
    let [(name, _)] = fields else { return None };
    let found = [(';', "`;`"), ('\t', "tabs"), ('|', "`|`")];
    let (_, separator) = found.into_iter().find(|(c, _)| name.contains(*c))?;
    Some(format!(
        "the values seem to be separated by {separator}: write them with commas in .csv, \
         with tabs in .tsv"
    ))
}

fn missing(
    file: &str,
    fields: &[(String, Kind)],
    name: &str,
    help: impl Fn() -> Option<String>,
) -> Result<()> {
    if fields.iter().any(|(field, _)| field == name) {
        return Ok(());
    }
    let columns: Vec<String> =
        fields.iter().map(|(field, kind)| format!("{field} ({kind})")).collect();
    let columns = if columns.is_empty() { "no columns".into() } else { columns.join(", ") };
    let fault = Fault::new(format!("there is no column `{name}`"))
        .source(file)
        .found(columns)
        .expected("a column of this name");
    let near = nearest(name, fields.iter().map(|(field, _)| field.as_str()));
    Err(Error::from(match other_separator(fields).or_else(help) {
        Some(help) => fault.help(help),
        None => fault.did_you_mean(near),
    }))
}
