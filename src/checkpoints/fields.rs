//! Fields of a JSON object in another program's file, checked for type and range.
//!
//! `null` counts as a missing field, as in the programs that write these files. The caller decides
//! whether unknown fields are an error; [`Fields::unknown`] finds the first.

use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Map, Value};

use super::fault::json_fault;
use crate::error::{Fault, Result};

/// A JSON object and its file.
pub struct Fields<'a> {
    path: &'a Path,
    /// The prefix of field names in errors: the section and a dot.
    prefix: String,
    object: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Parses a file that is one JSON object. `what` names its subject in errors.
    pub fn parse(path: &'a Path, bytes: &[u8], what: &str) -> Result<Fields<'a>> {
        let fault = || Fault::of_file(path, format!("{what} cannot be used"));
        let text = std::str::from_utf8(bytes)
            .map_err(|_| fault().found("something that is not text").expected("JSON"))?;
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(Fields { path, prefix: String::new(), object }),
            Ok(other) => Err(fault().found(kind(&other)).expected("an object").into()),
            Err(e) => Err(fault().found(json_fault(text, &e)).into()),
        }
    }

    /// The field's value; None if it is missing or null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The fields of a nested object; None if it is missing.
    pub fn section(&self, name: &str) -> Result<Option<Fields<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Fields {
                path: self.path,
                prefix: format!("{}{name}.", self.prefix),
                object: object.clone(),
            })),
            Some(other) => Err(self.wrong(name, other, "an object").into()),
        }
    }

    /// The field's name with its section.
    pub fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The first field that is not in `known`. Null fields do not count.
    pub fn unknown(&self, known: &[&[&str]]) -> Option<(&str, &Value)> {
        let is_known = |name: &str| known.iter().any(|names| names.contains(&name));
        let mut fields = self.object.iter().filter(|(_, value)| !value.is_null());
        fields.find(|(name, _)| !is_known(name)).map(|(name, value)| (name.as_str(), value))
    }

    /// An error about a field; `name` may be a path such as `id2label.3`.
    pub fn fault(&self, name: &str, summary: &str) -> Fault {
        Fault::of_file(self.path, format!("{}{name}: {summary}", self.prefix))
    }

    fn wrong(&self, name: &str, found: &Value, expected: &str) -> Fault {
        self.fault(name, "the field has another type or size").found(found).expected(expected)
    }

    fn missing(&self, name: &str, expected: &str) -> Fault {
        self.fault(name, "the field is missing").expected(expected)
    }

    /// A whole number within `range`.
    pub fn whole(&self, name: &str, range: RangeInclusive<usize>) -> Result<usize> {
        let expected = format!("a whole number, {} to {}", range.start(), range.end());
        match self.get(name) {
            None => Err(self.missing(name, &expected).into()),
            Some(value) => match value.as_u64().and_then(|v| usize::try_from(v).ok()) {
                Some(number) if range.contains(&number) => Ok(number),
                _ => Err(self.wrong(name, value, &expected).into()),
            },
        }
    }

    /// A whole number within `range`, or `default` if the field is missing.
    pub fn whole_or(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize> {
        self.get(name).map_or(Ok(default), |_| self.whole(name, range))
    }

    /// The side of a square, given as one whole number or as two equal ones.
    pub fn square(&self, name: &str, range: RangeInclusive<usize>) -> Result<usize> {
        match self.get(name).and_then(Value::as_array).map(Vec::as_slice) {
            Some([rows, columns]) if rows == columns => {
                let object = Map::from_iter([(name.to_string(), rows.clone())]);
                Fields { path: self.path, prefix: self.prefix.clone(), object }.whole(name, range)
            }
            Some([rows @ Value::Number(_), columns @ Value::Number(_)]) => Err(self
                .fault(name, "the model is not supported")
                .found(format!("{rows} × {columns}"))
                .expected("as many rows as columns")
                .into()),
            _ => self.whole(name, range),
        }
    }

    /// A text, or `default` if the field is missing.
    pub fn text_or<'b>(&'b self, name: &str, default: &'b str) -> Result<&'b str> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(name, other, "a text").into()),
        }
    }

    /// One of some names, as what it stands for; `default` if the field is missing.
    pub fn one_of<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
        default: Option<T>,
    ) -> Result<T> {
        let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        let expected = format!("one of {}", names.join(", "));
        match (self.get(name), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.missing(name, &expected).into()),
            (Some(found), _) => {
                let chosen = choices.iter().find(|(choice, _)| found == choice);
                let chosen = chosen.map(|(_, value)| *value);
                chosen.ok_or_else(|| self.wrong(name, found, &expected).into())
            }
        }
    }

    /// True or false. The field must not be missing.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Err(self.missing(name, "true or false").into()),
            Some(_) => self.flag_or(name, false),
        }
    }

    /// True or false, or `default` if the field is missing.
    pub fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, other, "true or false").into()),
        }
    }

    /// A number above 0 and at most `most`, or `default` if the field is missing.
    pub fn positive_or(&self, name: &str, most: f64, default: f64) -> Result<f64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_f64() {
            Some(number) if number > 0.0 && number <= most => Ok(number),
            _ => Err(self.wrong(name, value, &format!("a number above 0, at most {most}")).into()),
        }
    }

    /// A number from 0 to below 1, or `default` if the field is missing.
    pub fn share_or(&self, name: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_f64() {
            Some(share) if (0.0..1.0).contains(&share) => Ok(share),
            _ => Err(self.wrong(name, value, "a number from 0 to below 1").into()),
        }
    }

    /// Names by number: a list of texts, or an object whose keys are the numbers from 0 on. None if
    /// the field is missing.
    pub fn names(&self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = |number: usize, value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            other => {
                let fault = self.fault(&format!("{name}.{number}"), "a class's name is no text");
                Err(fault.found(other).expected("a text").into())
            }
        };
        let names = match value {
            Value::Array(names) => {
                let each = names.iter().enumerate().map(|(number, value)| text(number, value));
                return each.collect::<Result<Vec<String>>>().map(Some);
            }
            Value::Object(names) => names,
            other => {
                let fault = self.fault(name, "the classes' names cannot be used");
                return Err(fault.found(other).expected("an object of numbers and names").into());
            }
        };
        let each = (0..names.len()).map(|number| match names.get(&number.to_string()) {
            Some(value) => text(number, value),
            None => Err(self
                .fault(&format!("{name}.{number}"), "a class has no name")
                .found(format!("{} names, none with this number", names.len()))
                .expected("the numbers from 0 on, without a gap")
                .into()),
        });
        each.collect::<Result<Vec<String>>>().map(Some)
    }

    /// One number for each of `count` channels, given as a list or as one number for all. `default`
    /// for each if the field is missing.
    pub fn channels_or(&self, name: &str, count: usize, default: f64) -> Result<Vec<f64>> {
        let Some(value) = self.get(name) else { return Ok(vec![default; count]) };
        let number = |value: &Value| value.as_f64().filter(|v| v.is_finite());
        let each = match value {
            Value::Array(values) if values.len() == count => values.iter().map(number).collect(),
            Value::Array(_) => None,
            one => number(one).map(|v| vec![v; count]),
        };
        let expected = format!("{count} numbers, one for each of the model's channels");
        each.ok_or_else(|| self.wrong(name, value, &expected).into())
    }
}

/// The name of a JSON value's type, for errors.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
