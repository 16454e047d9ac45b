//! Selects the columns to read, and makes the error if a file lacks one.

use super::table::Kind;
use crate::error::{Error, Fault, Result};
use crate::spec::nearest;

/// Columns to read.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a> {
    /// Every column that can be read.
    All,
    Named(&'a [String]),
    /// The columns that fields of a spec name.
    Wanted(&'a [Wanted<'a>]),
}

/// A column that a field of a spec names.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub name: &'a str,
    /// The spec's field, such as `data.label_column`.
    pub field: &'static str,
    /// Groups of kinds that the column may hold, the best first. If no column has the name, an
    /// error takes the first group that occurs, and proposes its column if there is only one.
    pub kinds: &'static [&'static [Kind]],
    /// The help if no column is of these kinds and one holds text.
    pub text_help: &'static str,
    /// The help if a CSV or TSV file has no such column: its first row may be an example.
    pub no_names_help: Option<&'static str>,
    /// Whether the column holds labels.
    pub labels: bool,
    /// Whether a language of this name in a column of translations will do.
    pub or_language: bool,
}

impl<'a> Wanted<'a> {
    /// A column of class labels.
    pub const fn labels(name: &'a str) -> Wanted<'a> {
        // If no column has class labels, one of numbers or text may hold the labels.
        let kinds: &[&[Kind]] = &[&[Kind::ClassLabel], &[Kind::Integer, Kind::Text]];
        let field = "data.label_column";
        Wanted {
            name,
            field,
            kinds,
            text_help: "",
            no_names_help: None,
            labels: true,
            or_language: false,
        }
    }

    /// A column of encoded images.
    pub const fn images(name: &'a str) -> Wanted<'a> {
        let kinds: &[&[Kind]] = &[&[Kind::Image]];
        let field = "data.image_column";
        Wanted {
            name,
            field,
            kinds,
            text_help: PATHS_HELP,
            no_names_help: None,
            labels: false,
            or_language: false,
        }
    }

    /// A column of texts, named by this field of the spec.
    pub const fn texts(name: &'a str, field: &'static str) -> Wanted<'a> {
        let kinds: &[&[Kind]] = &[&[Kind::Text]];
        let no_names_help = Some(NO_NAMES_HELP);
        Wanted {
            name,
            field,
            kinds,
            text_help: "",
            no_names_help,
            labels: false,
            or_language: false,
        }
    }

    /// A column of sentences, or the language of this name in a column of translations.
    pub const fn sentences(name: &'a str, field: &'static str) -> Wanted<'a> {
        Wanted { or_language: true, ..Wanted::texts(name, field) }
    }

    /// Whether a column holds what is wanted. `kind` is None if the column has no values.
    fn is(&self, column: &str, kind: Option<&Kind>) -> bool {
        let has_language = |kind: &Kind| match kind {
            Kind::Languages(languages) => languages.iter().any(|language| language == self.name),
            _ => false,
        };
        self.name == column || (self.or_language && kind.is_some_and(has_language))
    }

    /// The help for a file in which no column has the name.
    fn help(&self, fields: &[(String, Kind)]) -> Option<String> {
        let of = |kinds: &[Kind]| fields.iter().filter(|(_, kind)| kinds.contains(kind)).count();
        if let Some(kinds) = self.kinds.iter().find(|kinds| of(kinds) > 0) {
            return hint(fields, self.field, kinds);
        }
        let text = fields.iter().any(|(_, kind)| *kind == Kind::Text);
        (text && !self.text_help.is_empty()).then(|| self.text_help.to_string())
    }
}

impl<'a> Select<'a> {
    /// Whether a column is read. `kind` is None if the column has no values.
    pub fn wants(&self, column: &str, kind: Option<&Kind>) -> bool {
        match self {
            Select::All => true,
            Select::Named(names) => names.iter().any(|name| name == column),
            Select::Wanted(wanted) => wanted.iter().any(|wanted| wanted.is(column, kind)),
        }
    }

    /// The column of labels, if a spec names one.
    pub fn labels(&self) -> Option<&'a str> {
        match self {
            Select::All | Select::Named(_) => None,
            Select::Wanted(all) => all.iter().find(|wanted| wanted.labels).map(|w| w.name),
        }
    }

    /// The help if a CSV or TSV file lacks a column whose name it may not give.
    pub fn no_names_help(&self) -> Option<&'static str> {
        match self {
            Select::All | Select::Named(_) => None,
            Select::Wanted(all) => all.iter().find_map(|wanted| wanted.no_names_help),
        }
    }

    /// Errors if the file lacks a named column. The error proposes another column if only one has
    /// the right kind and no other field names it.
    pub fn check(&self, file: &str, fields: &[(String, Kind)]) -> Result<()> {
        match self {
            Select::All => Ok(()),
            Select::Named(names) => {
                names.iter().try_for_each(|name| missing(file, fields, name, || None))
            }
            Select::Wanted(all) => all.iter().try_for_each(|wanted| {
                if fields.iter().any(|(name, kind)| wanted.is(name, Some(kind))) {
                    return Ok(());
                }
                if wanted.or_language {
                    return Err(no_sentences(file, fields, wanted));
                }
                let is_other = |name: &str| all.iter().any(|other| other.name == name);
                missing(file, fields, wanted.name, || {
                    let free = fields.iter().filter(|(name, _)| !is_other(name)).cloned();
                    wanted.help(&free.collect::<Vec<_>>())
                })
            }),
        }
    }
}

/// Proposes a column if it is the only one of these kinds.
fn hint(fields: &[(String, Kind)], field: &str, kinds: &[Kind]) -> Option<String> {
    let mut found = fields.iter().filter(|(_, kind)| kinds.contains(kind));
    match (found.next(), found.next()) {
        (Some((name, kind)), None) => Some(format!("{field}: {name} (it holds {kind})")),
        _ => None,
    }
}

/// Help on how columns get names if the file has none.
const NO_NAMES_HELP: &str = "if the first row is an example, `data.columns` names the columns, as in \
    `columns: [label, text]`";

/// Help on how to lay out a table of image paths.
pub const PATHS_HELP: &str = "where a column holds paths of images, call the table metadata.csv or \
    metadata.jsonl, the column file_name, and lay it in the folder of the images";

/// Help for a table of one column whose name contains a likely separator.
fn other_separator(fields: &[(String, Kind)]) -> Option<String> {
    let [(name, _)] = fields else { return None };
    let found = [(';', "`;`"), ('\t', "tabs"), ('|', "`|`")];
    let (_, separator) = found.into_iter().find(|(c, _)| name.contains(*c))?;
    Some(format!(
        "the values seem to be separated by {separator}: write them with commas in .csv, \
         with tabs in .tsv"
    ))
}

/// The error for a file that has no sentences of a language.
fn no_sentences(file: &str, fields: &[(String, Kind)], wanted: &Wanted) -> Error {
    let mut known: Vec<&str> = Vec::new();
    for (name, kind) in fields {
        match kind {
            Kind::Languages(languages) => known.extend(languages.iter().map(String::as_str)),
            Kind::Text => known.push(name),
            _ => {}
        }
    }
    let Wanted { name, field, .. } = wanted;
    let fault = Fault::new(format!("there is no column `{name}`"))
        .source(file)
        .found(match known.is_empty() {
            true => "no column of texts".to_string(),
            false => format!("texts in {}", known.join(", ")),
        })
        .expected(format!("the column or the language that `{field}` names"));
    Error::from(match (other_separator(fields), nearest(name, known)) {
        (Some(help), _) => fault.help(help),
        (None, Some(near)) => fault.help(format!("did you mean `{field}: {near}`?")),
        (None, None) => fault,
    })
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
