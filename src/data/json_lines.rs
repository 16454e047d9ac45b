//! JSON lines: each line is an object, each of its fields a column.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::select::Select;
use super::table::{Column, Kind, Table, Values};
use super::unpack::unpack;
use super::utf8;
use super::{json_value, limits};
use crate::error::{Error, Fault, Result};
use crate::hub::File;
use crate::spec::shorten;

/// Reads the selected columns. A null value counts as missing, and empty lines are skipped.
pub fn read(file: &File, select: Select) -> Result<Table> {
    let bytes = unpack(file)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut builders: Vec<Builder> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    // Each column is padded to the number of rows, so many columns could fill the memory.
    let bounded =
        |columns: usize, rows: usize| limits::check_cells(columns, rows, file.bytes.len());
    let mut row = 0;
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let place = |error: Error| {
            let place = format!("row {row} (line {}): ", i + 1);
            error.map_fault(|fault| fault.prefixed(place).source(&file.name))
        };
        for (name, value) in object(line).map_err(place)? {
            let at = match places.get(&name) {
                Some(at) => *at,
                None => {
                    bounded(builders.len() + 1, row + 1).map_err(place)?;
                    places.insert(name.clone(), builders.len());
                    builders.push(Builder {
                        name,
                        kind: None,
                        is_wanted: false,
                        values: Vec::new(),
                    });
                    builders.len() - 1
                }
            };
            // Of columns that are not selected, only name and kind are kept.
            let builder = &mut builders[at];
            let first = builder.kind.is_none().then(|| kind(&value));
            if let Some(kind) = &first {
                builder.is_wanted = select.wants(&builder.name, kind.as_ref());
            }
            if builder.is_wanted {
                builder.push(row, value).map_err(place)?;
            } else if let Some(kind) = first {
                builder.kind = kind;
            }
        }
        bounded(builders.len(), row + 1).map_err(place)?;
        row += 1;
    }
    let columns = builders.iter().map(Builder::width).sum();
    bounded(columns, row).map_err(|e| e.map_fault(|fault| fault.source(&file.name)))?;
    let fields: Vec<(String, Kind)> =
        builders.iter().map(|b| (b.name.clone(), b.kind.clone().unwrap_or(Kind::Text))).collect();
    // A file without lines has no columns to check.
    if row > 0 {
        select.check(&file.name, &fields)?;
    }
    let wanted = builders.into_iter().filter(|builder| builder.is_wanted);
    Ok(Table::new(&file.name, wanted.map(|builder| builder.finish(row)).collect(), row))
}

fn object(line: &[u8]) -> Result<Map<String, Json>> {
    let text = utf8::part("the line", line)?;
    let wrong = |problem: &str, found: String| {
        Error::from(Fault::new(problem).found(found).expected("a JSON object a line"))
    };
    match json_value::parse(text) {
        Ok((_, Some(field))) => Err(Fault::new("the line has a field twice")
            .found(format!("`{}`", shorten(&field)))
            .expected("each field once")
            .into()),
        Ok((Json::Object(fields), None)) => Ok(fields),
        Ok((other, None)) => Err(wrong("the line is no JSON object", shorten(&other.to_string()))),
        Err(e) => {
            // The error's own line number is always 1, so it is removed.
            let reason = e.to_string();
            let reason = reason.rsplit_once(" at line").map_or(&reason[..], |(reason, _)| reason);
            Err(wrong("the line is not valid JSON", format!("{reason}, at column {}", e.column())))
        }
    }
}

/// Builds a column.
struct Builder {
    name: String,
    /// None until the first value.
    kind: Option<Kind>,
    /// Whether the column is read.
    is_wanted: bool,
    /// Values up to the last row that has one.
    values: Vec<Json>,
}

impl Builder {
    /// Number of values in each row.
    fn width(&self) -> usize {
        match &self.kind {
            Some(Kind::Languages(languages)) => languages.len(),
            _ => 1,
        }
    }

    fn push(&mut self, row: usize, value: Json) -> Result<()> {
        let joint = match (self.kind.take(), kind(&value)) {
            (before, None) => before,
            (None, now) => now,
            (Some(a), Some(b)) if a == b => Some(a),
            (Some(Kind::Integer | Kind::Float), Some(Kind::Integer | Kind::Float)) => {
                Some(Kind::Float)
            }
            (Some(a), Some(b)) => {
                return Err(Fault::new(format!("column `{}` changes its type", self.name))
                    .found(format!("{b}, {}", shorten(&value.to_string())))
                    .expected(format!("{a}, as in the rows before"))
                    .into());
            }
        };
        self.kind = joint;
        self.values.resize(row, Json::Null);
        self.values.push(value);
        Ok(())
    }

    fn finish(mut self, rows: usize) -> Column {
        self.values.resize(rows, Json::Null);
        let values = self.values;
        let values = match self.kind {
            Some(Kind::Integer) => Values::Integers(values.iter().map(whole).collect()),
            Some(Kind::Float) => Values::Floats(values.iter().map(Json::as_f64).collect()),
            Some(Kind::Text) | None => Values::Text(values.into_iter().map(text).collect()),
            Some(Kind::Languages(languages)) => {
                let of = |language: &String| {
                    let sentence = |v: &Json| text(v.get(language).cloned().unwrap_or(Json::Null));
                    values.iter().map(sentence).collect()
                };
                let texts = languages.iter().map(of).collect();
                Values::Languages { languages, texts }
            }
            Some(other) => Values::Other(other.to_string()),
        };
        Column::new(self.name, values)
    }
}

fn kind(value: &Json) -> Option<Kind> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(_) => Kind::Integer,
        Json::Number(n) if n.as_i64().is_some() => Kind::Integer,
        Json::Number(_) => Kind::Float,
        Json::String(_) => Kind::Text,
        // A translation without any sentence.
        Json::Object(map) if map.len() > 1 && map.values().all(Json::is_null) => return None,
        Json::Object(map) if is_translation(map) => Kind::Languages(map.keys().cloned().collect()),
        Json::Object(_) => Kind::Other("objects".into()),
        Json::Array(_) => Kind::Other("lists".into()),
    })
}

/// Whether an object has a text for each of several languages; some may be missing.
fn is_translation(map: &Map<String, Json>) -> bool {
    let is_text_or_null = |value: &Json| value.is_string() || value.is_null();
    map.len() > 1 && map.values().any(Json::is_string) && map.values().all(is_text_or_null)
}

fn whole(value: &Json) -> Option<i64> {
    value.as_bool().map(i64::from).or(value.as_i64())
}

fn text(value: Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::select::Wanted;

    fn parse(text: &str, select: Select) -> Result<Table> {
        let bytes = text.as_bytes().to_vec();
        read(&File::new("f.jsonl".into(), "f.jsonl".into(), bytes.into()), select)
    }

    #[test]
    fn a_translation_may_lack_sentences() {
        let text = "{\"t\": {\"de\": null, \"en\": null}}\n{\"t\": {\"de\": \"a\", \"en\": \"b\"}}\n\
                    {\"t\": {\"de\": \"c\", \"en\": null}}\n{\"t\": {\"de\": null, \"en\": null}}\n";
        let table = parse(text, Select::All).unwrap();
        let Values::Languages { languages, texts } = &table.columns[0].values else { panic!() };
        assert_eq!(languages, &["de", "en"]);
        let some = |text: &str| Some(text.to_string());
        assert_eq!(
            texts,
            &[vec![None, some("a"), some("c"), None], vec![None, some("b"), None, None]]
        );
    }

    #[test]
    fn sentences_are_read_without_the_other_columns() {
        let wanted = ["de", "en"].map(|name| Wanted::sentences(name, "f"));
        for text in [
            "{\"de\": \"x\", \"en\": \"y\", \"score\": 1}\n{\"de\": \"x\", \"en\": \"y\", \"score\": \"n/a\"}",
            "{\"t\": {\"de\": \"x\", \"en\": \"y\"}, \"id\": 1}\n{\"t\": null, \"id\": \"two\"}",
            "{\"t\": null, \"id\": 1}\n{\"t\": {\"de\": \"x\", \"en\": \"y\"}, \"id\": \"two\"}",
        ] {
            let table = parse(text, Select::Wanted(&wanted)).unwrap();
            assert_eq!(table.rows, 2);
            assert!(table.columns.iter().all(|c| !["score", "id"].contains(&c.name.as_str())));
        }
        let error = parse("{\"da\": \"x\", \"en\": \"y\"}", Select::Wanted(&wanted)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("found:    texts in da, en"), "{error}");
        assert!(error.contains("did you mean `f: da`?"), "{error}");
    }

    #[test]
    fn columns_have_the_type_of_their_values() {
        let text = "{\"a\": 1, \"t\": {\"de\": \"Hund\", \"en\": \"dog\"}}\n\n\
            {\"a\": 2.5, \"b\": \"x\", \"t\": null}\r\n{\"c\": [1], \"d\": true}";
        let table = parse(text, Select::All).unwrap();
        let columns: Vec<String> =
            table.columns.iter().map(|c| format!("{}: {:?}", c.name, c.values)).collect();
        assert_eq!(
            columns,
            [
                "a: Floats([Some(1.0), Some(2.5), None])",
                "t: Languages { languages: [\"de\", \"en\"], texts: [[Some(\"Hund\"), None, None], \
                 [Some(\"dog\"), None, None]] }",
                "b: Text([None, Some(\"x\"), None])",
                "c: Other(\"lists\")",
                "d: Integers([None, None, Some(1)])",
            ]
        );
    }

    #[test]
    fn only_selected_columns_must_have_one_type() {
        let text = "{\"a\": 1, \"b\": 1}\n{\"a\": 2, \"b\": \"x\"}\n";
        let error = parse(text, Select::All).unwrap_err().to_string();
        assert!(error.starts_with("f.jsonl: row 1 (line 2): column `b` changes"), "{error}");
        assert_eq!(parse(text, Select::Named(&["a".into()])).unwrap().columns.len(), 1);
        assert!(parse(text, Select::Named(&["c".into()])).is_err());
    }
}
