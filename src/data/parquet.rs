//! Reads an image dataset's Parquet file in the layout of the Hugging Face `datasets` library:
//! an image column `struct{bytes: binary, path: string}`, an integer label column, and class
//! names in the file's `huggingface` metadata. The only file of `data/` that knows polars.

use std::io::Cursor;

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::hub::File;

/// Encoded images and labels, row by row.
#[derive(Debug)]
pub struct Rows {
    pub images: Vec<Vec<u8>>,
    pub labels: Vec<u32>,
    /// Empty where the file does not name them.
    pub class_names: Vec<String>,
}

/// Reads every row; labels must lie in 0..classes.
pub fn read(file: &File, image_column: &str, label_column: &str, classes: usize) -> Result<Rows> {
    let fail = |problem: String| Error::Input(format!("{}: {problem}", file.name));

    let (frame, columns, class_names) = guarded(|| {
        let mut reader = ParquetReader::new(Cursor::new(&file.bytes));
        let names = class_names(&mut reader, label_column);
        let columns: Vec<String> = reader.schema()?.iter_names().map(|n| n.to_string()).collect();
        // A column that is missing is told below, with those there are.
        let wanted = [image_column, label_column].map(str::to_string).into_iter();
        let wanted = wanted.filter(|name| columns.contains(name)).collect();
        Ok((reader.with_columns(Some(wanted)).finish()?, columns, names))
    })
    .map_err(|e| {
        fail(format!(
            "the Parquet file cannot be read: {e}\n  expected: struct{{bytes: binary, path: \
             string}} in `{image_column}`, 32- or 64-bit whole numbers in `{label_column}`"
        ))
    })?;
    let broken = |e: PolarsError| fail(format!("the Parquet file cannot be read: {e}"));
    let column = |name: &str| {
        frame.column(name).map_err(|_| {
            fail(format!(
                "there is no column `{name}`\n  found:    {}\n  expected: the columns that \
                 data.image_column and data.label_column name",
                columns.join(", ")
            ))
        })
    };

    let image = column(image_column)?;
    let wrong = |name: &str, found: &DataType, expected: &str| {
        fail(format!(
            "column `{name}` has the wrong type\n  found:    {found}\n  expected: {expected}"
        ))
    };
    let bytes = match image.dtype() {
        DataType::Struct(_) => {
            image.struct_().and_then(|s| s.field_by_name("bytes")).map_err(|_| {
                wrong(image_column, image.dtype(), "struct{bytes: binary, path: string}")
            })?
        }
        _ => image.as_materialized_series().clone(),
    };
    let bytes = bytes
        .binary()
        .map_err(|_| wrong(image_column, image.dtype(), "struct{bytes: binary, path: string}"))?;
    let images = bytes
        .iter()
        .enumerate()
        .map(|(row, b)| match b {
            Some(b) => Ok(b.to_vec()),
            None => Err(fail(format!("row {row}: column `{image_column}` has no bytes"))),
        })
        .collect::<Result<Vec<_>>>()?;

    let label = column(label_column)?;
    if !label.dtype().is_integer() {
        return Err(wrong(label_column, label.dtype(), "whole numbers"));
    }
    let label = label.strict_cast(&DataType::Int64).map_err(broken)?;
    let labels = label
        .i64()
        .map_err(broken)?
        .iter()
        .enumerate()
        .map(|(row, label)| match label {
            Some(label) if (0..classes as i64).contains(&label) => Ok(label as u32),
            Some(label) => Err(fail(format!(
                "row {row}: label out of range\n  found:    {label}\n  expected: 0 to {} \
                 (model.classes is {classes})",
                classes - 1
            ))),
            None => Err(fail(format!("row {row}: column `{label_column}` is empty"))),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Rows { images, labels, class_names })
}

/// Runs `f`; a panic inside, which polars has for column types it was built without, is an error.
fn guarded<T>(f: impl FnOnce() -> PolarsResult<T>) -> std::result::Result<T, String> {
    let hook = std::panic::take_hook();
    // The panic's own message would go to the terminal.
    std::panic::set_hook(Box::new(|_| {}));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    match caught {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it is damaged, or has columns of a type that is not supported".into()),
    }
}

/// The names in `{"info": {"features": {<label>: {"names": […]}}}}`, where the file has them.
fn class_names(
    reader: &mut ParquetReader<Cursor<&std::borrow::Cow<'static, [u8]>>>,
    label: &str,
) -> Vec<String> {
    let names = || -> Option<Vec<String>> {
        let metadata = reader.get_metadata().ok()?.clone();
        let entry =
            metadata.key_value_metadata().as_ref()?.iter().find(|kv| kv.key == "huggingface")?;
        let json: serde_json::Value = serde_json::from_str(entry.value.as_ref()?).ok()?;
        let names = json.pointer("/info/features")?.get(label)?.get("names")?;
        serde_json::from_value(names.clone()).ok()
    };
    let mut names = names;
    names().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, Kind, Source};
    use crate::random::{Purpose, Stream};

    fn embedded() -> File {
        let source = Source::Embedded("fashion-mnist-mini".into());
        Hub::default().open(&source, Kind::Dataset).unwrap().read("test.parquet").unwrap()
    }

    #[test]
    fn reads_the_hugging_face_layout() {
        let rows = read(&embedded(), "image", "label", 10).unwrap();
        assert_eq!((rows.images.len(), rows.labels.len()), (1000, 1000));
        assert!(rows.images.iter().all(|png| png.starts_with(b"\x89PNG")));
        assert_eq!(rows.class_names[1], "Trouser");
    }

    #[test]
    fn faults_are_named() {
        let told = |image: &str, label: &str, classes| {
            read(&embedded(), image, label, classes).unwrap_err().to_string()
        };
        let missing = told("img", "label", 10);
        assert!(missing.contains("no column `img`") && missing.contains("image, label"));
        assert!(told("label", "label", 10).contains("column `label` has the wrong type"));
        assert!(told("image", "image", 10).contains("column `image` has the wrong type"));
        assert!(told("image", "label", 3).contains("label out of range"));
    }

    /// Damaged files end in an error or in other rows, never in a panic.
    #[test]
    fn damage_never_panics() {
        let whole = embedded();
        let n = whole.bytes.len();
        let mut stream = Stream::new(0, Purpose::Audit, "damage");
        for i in 0..60 {
            let mut bytes = whole.bytes.to_vec();
            match i % 3 {
                0 => bytes.truncate(stream.below(n as u32) as usize),
                1 => bytes[stream.below(n as u32) as usize] ^= 1 << stream.below(8),
                // The metadata stands at the end.
                _ => bytes[n - 1 - stream.below(3000) as usize] ^= 1 << stream.below(8),
            }
            let file = File { bytes: bytes.into(), ..whole.clone() };
            let _ = read(&file, "image", "label", 10).map_err(|e| e.to_string());
        }
    }
}
