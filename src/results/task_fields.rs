//! Fields of a record that belong to the run's task.
//!
//! A record such as `provenance.json` has fields that every run has and fields that only its task
//! knows. The task's fields are kept as JSON values. Other code passes them through unchanged; the
//! task gives them their types.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Named values, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFields(Vec<(String, Value)>);

impl TaskFields {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a field. A value that JSON cannot represent becomes null.
    pub fn with(mut self, name: &str, value: &impl Serialize) -> TaskFields {
        self.0.push((name.to_string(), serde_json::to_value(value).unwrap_or_default()));
        self
    }

    /// Appends a field if there is a value for it.
    pub fn with_some(self, name: &str, value: Option<&impl Serialize>) -> TaskFields {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Appends the fields of `others`.
    pub fn and(mut self, others: TaskFields) -> TaskFields {
        self.0.extend(others.0);
        self
    }

    /// The value of a field; None where it is missing, null or of another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let (_, value) = self.0.iter().find(|(field, _)| field == name)?;
        T::deserialize(value).ok()
    }
}

impl Serialize for TaskFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for TaskFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TaskFields, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = TaskFields;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("named values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TaskFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(TaskFields(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        first: u32,
        #[serde(flatten)]
        task: TaskFields,
        last: u32,
    }

    #[test]
    fn task_fields_keep_their_place_and_order() {
        let task = TaskFields::default()
            .with("z", &[0.1f64, 0.30000000000000004])
            .with_some("none", None::<&u32>)
            .with("a", &"text");
        let record = Record { first: 1, task, last: 2 };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"first":1,"z":[0.1,0.30000000000000004],"a":"text","last":2}"#);
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.task.get::<Vec<f64>>("z"), Some(vec![0.1, 0.30000000000000004]));
        assert_eq!(read.task.get::<String>("a").as_deref(), Some("text"));
        assert_eq!(read.task.get::<u32>("a"), None);
        assert_eq!(read.task.get::<u32>("missing"), None);
    }
}
