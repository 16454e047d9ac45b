//! Parquet files with the conventions of Hugging Face's `datasets` library: images are
//! `struct{bytes, path}`, translations a struct of texts, and class names are in the file's
//! metadata. Only this file of `data/` uses polars.

use std::io::Cursor;
use std::sync::Arc;

use polars::prelude::*;
use polars_parquet::read::infer_schema;
use polars_parquet::write::schema_to_metadata_key;
use serde_json::Value as Json;

use super::limits;
use super::quiet::quietly_with_threads;
use super::select::Select;
use super::table::{Blobs, Column as TableColumn, Kind, Rows, Table, Values};
use crate::error::{Error, Fault, Result};
use crate::hub::File;

type Reader<'a> = ParquetReader<Cursor<&'a [u8]>>;

/// Reads the selected columns. Of columns with an unsupported type, only name and type are kept.
pub fn read(file: File, select: Select) -> Result<Table> {
    let unreadable = |e: String| {
        Error::from(
            Fault::new("the Parquet file cannot be read")
                .source(&file.name)
                .found(e.trim_end())
                .expected("a whole Parquet file"),
        )
    };
    let head = guarded(|| {
        let mut reader = open(&file.bytes)?;
        let features = features(&mut reader);
        let schema = reader.schema()?;
        let kind = |name: &str, field: &ArrowField| kind(field, features.get(name));
        let fields: Vec<(String, Kind)> =
            schema.iter().map(|(name, f)| (name.to_string(), kind(name, f))).collect();
        Ok((fields, features, Footprint::of(reader.get_metadata()?)))
    });
    let (fields, features, footprint) = head.map_err(unreadable)?;
    select.check(&file.name, &fields)?;
    let rows = footprint.rows;
    let most = limits::max_unpacked(file.bytes.len());

    let wanted: Vec<String> = fields
        .iter()
        .filter(|(name, kind)| select.wants(name, Some(kind)) && !matches!(kind, Kind::Other(_)))
        .map(|(name, _)| name.clone())
        .collect();
    footprint
        .check(width(&fields, select), file.bytes.len())
        .map_err(|e| e.map_fault(|fault| fault.source(&file.name)))?;
    let frame = match wanted.is_empty() {
        true => DataFrame::empty(),
        false => guarded(|| {
            let reader = open(&file.bytes)?;
            reader.with_columns(Some(wanted)).finish()
        })
        .map_err(unreadable)?,
    };
    if frame.width() > 0 && frame.height() != rows {
        let found = format!("{} rows where the metadata states {rows}", frame.height());
        return Err(unreadable(found));
    }
    let File { name: file_name, bytes, .. } = file;
    // Frees the encoded bytes as soon as the frame is read.
    drop(bytes);

    let columns = fields.into_iter().filter(|(name, kind)| select.wants(name, Some(kind))).map(
        |(name, kind)| {
            let values = match &kind {
                Kind::Other(other) => Values::Other(other.clone()),
                kind => guarded(|| values(frame.column(&name)?, kind, most)).map_err(|e| {
                    Error::from(
                        Fault::new(format!("column `{name}` cannot be read: {}", e.trim_end()))
                            .source(&file_name),
                    )
                })?,
            };
            let class_names = features.get(&name).and_then(class_names).unwrap_or_default();
            Ok(TableColumn { class_names, ..TableColumn::new(name, values) })
        },
    );
    Ok(Table::new(&file_name, columns.collect::<Result<_>>()?, rows))
}

/// A reader of a file's bytes that supports all types of its columns.
fn open(bytes: &[u8]) -> PolarsResult<Reader<'_>> {
    let mut reader: Reader = ParquetReader::new(Cursor::new(bytes));
    if let Some(metadata) = widened(reader.get_metadata()?)? {
        reader.set_metadata(Arc::new(metadata));
    }
    Ok(reader)
}

/// Changed metadata, so that 8-bit and 16-bit columns are read as 32-bit (as Parquet stores them)
/// and dictionaries as their values. None if the file has no such column. Otherwise polars would
/// need extra features, and each of these compiles every operation once more.
fn widened(metadata: &FileMetadata) -> PolarsResult<Option<FileMetadata>> {
    let stored = infer_schema(metadata)?;
    let mut schema = stored.clone();
    schema.iter_values_mut().for_each(|field| field.dtype = wide(&field.dtype));
    if schema == stored {
        return Ok(None);
    }
    // Readers prefer the Arrow schema in this entry to the Parquet types.
    let entry = schema_to_metadata_key(&schema);
    let mut metadata = metadata.clone();
    let entries = metadata.key_value_metadata.get_or_insert_default();
    entries.retain(|other| other.key != entry.key);
    entries.push(entry);
    Ok(Some(metadata))
}

fn wide(dtype: &ArrowDataType) -> ArrowDataType {
    use ArrowDataType::*;
    match dtype {
        Int8 | UInt8 | Int16 | UInt16 => Int32,
        Dictionary(_, values, _) => wide(values),
        Struct(fields) => {
            let field =
                |field: &ArrowField| ArrowField { dtype: wide(&field.dtype), ..field.clone() };
            Struct(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

/// A file's size in memory, by its metadata.
struct Footprint {
    rows: usize,
    /// Uncompressed bytes of all columns.
    bytes: u64,
}

impl Footprint {
    fn of(metadata: &FileMetadata) -> Footprint {
        let groups = || metadata.row_groups.iter();
        // Both numbers of rows are equal in a valid file.
        let rows = groups().fold(0usize, |n, group| n.saturating_add(group.num_rows()));
        let columns = groups().flat_map(|group| group.parquet_columns());
        let sizes =
            columns.map(|column| u64::try_from(column.uncompressed_size()).unwrap_or(u64::MAX));
        Footprint { rows: rows.max(metadata.num_rows), bytes: sizes.fold(0, u64::saturating_add) }
    }

    /// Errors if the file would fill the memory. It is called before reading.
    fn check(&self, columns: usize, bytes: usize) -> Result<()> {
        limits::check_cells(columns, self.rows, bytes)?;
        let most = limits::max_unpacked(bytes);
        if self.bytes > most as u64 {
            return Err(Fault::new("the Parquet file is too large when unpacked")
                .found(format!("{} bytes of values in {bytes}", self.bytes))
                .expected(format!("at most {most}: this is taken for a decompression bomb"))
                .into());
        }
        Ok(())
    }
}

/// Number of values in each row, for the selected columns.
fn width(fields: &[(String, Kind)], select: Select) -> usize {
    let read = fields.iter().filter(|(name, kind)| select.wants(name, Some(kind)));
    let width = |(_, kind): &(String, Kind)| match kind {
        Kind::Other(_) => 0,
        Kind::Languages(languages) => languages.len(),
        _ => 1,
    };
    read.map(width).sum()
}

/// A column's kind, by its type in the file and its entry in the metadata's features.
fn kind(field: &ArrowField, feature: Option<&Json>) -> Kind {
    use ArrowDataType::*;
    let binary = |d: &ArrowDataType| matches!(d, Binary | LargeBinary | BinaryView);
    let text = |d: &ArrowDataType| matches!(d, Utf8 | LargeUtf8 | Utf8View);
    match field.dtype() {
        Int32 | Int64 | UInt32 | UInt64 | Boolean if feature.and_then(class_names).is_some() => {
            Kind::ClassLabel
        }
        Int32 | Int64 | UInt32 | UInt64 | Boolean => Kind::Integer,
        Float32 | Float64 => Kind::Float,
        d if text(d) => Kind::Text,
        d if binary(d) => Kind::Image,
        Struct(fields) if fields.iter().any(|f| f.name == "bytes" && binary(f.dtype())) => {
            Kind::Image
        }
        Struct(fields) if fields.len() > 1 && fields.iter().all(|f| text(f.dtype())) => {
            Kind::Languages(fields.iter().map(|f| f.name.to_string()).collect())
        }
        Struct(fields) => {
            let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
            Kind::Other(format!("struct of {}", names.join(", ")))
        }
        List(_) | LargeList(_) | FixedSizeList(..) => Kind::Other("lists".into()),
        Date32 | Date64 | Timestamp(..) => Kind::Other("dates".into()),
        other => Kind::Other(format!("{other:?}")),
    }
}

/// A column's values. Errors if text has more than `most` bytes.
fn values(column: &Column, kind: &Kind, most: usize) -> PolarsResult<Values> {
    let series = column.as_materialized_series();
    let texts = |series: &Series| -> PolarsResult<Vec<Option<String>>> {
        let texts = series.str()?;
        // Many rows may share the bytes of one text, so a small file can have much text.
        let bytes = texts.iter().flatten().fold(0usize, |n, text| n.saturating_add(text.len()));
        polars_ensure!(
            bytes <= most,
            ComputeError: "{bytes} bytes of text are more than the {most} that the file's size \
             allows: this is taken for a decompression bomb"
        );
        Ok(texts.iter().map(|text| text.map(str::to_string)).collect())
    };
    Ok(match kind {
        Kind::Image => {
            let bytes = match series.dtype() {
                DataType::Struct(_) => series.struct_()?.field_by_name("bytes")?,
                _ => series.clone(),
            };
            Values::Images(Blobs::new(Binary(bytes.binary()?.clone())))
        }
        Kind::ClassLabel | Kind::Integer => {
            Values::Integers(series.strict_cast(&DataType::Int64)?.i64()?.iter().collect())
        }
        Kind::Float => {
            Values::Floats(series.strict_cast(&DataType::Float64)?.f64()?.iter().collect())
        }
        Kind::Text => Values::Text(texts(series)?),
        Kind::Languages(languages) => {
            let fields = series.struct_()?;
            let of = |language: &String| texts(&fields.field_by_name(language)?);
            let texts = languages.iter().map(of).collect::<PolarsResult<_>>()?;
            Values::Languages { languages: languages.clone(), texts }
        }
        Kind::Other(name) => Values::Other(name.clone()),
    })
}

/// A binary column in polars' memory. Its chunks are not joined, since that would copy every image.
#[derive(Debug)]
struct Binary(BinaryChunked);

impl Rows for Binary {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn row(&self, row: usize) -> Option<&[u8]> {
        self.0.get(row)
    }
}

/// Runs `f` and turns a panic into an error. polars panics on damaged files and on column types
/// that it was built without.
fn guarded<T>(f: impl FnOnce() -> PolarsResult<T>) -> std::result::Result<T, String> {
    match quietly_with_threads(f) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("it is damaged, or has columns of a type that is not supported".into()),
    }
}

/// The features of each column in the metadata that `datasets` writes; empty if there are none.
fn features(reader: &mut Reader) -> serde_json::Map<String, Json> {
    let mut read = || -> Option<serde_json::Map<String, Json>> {
        let metadata = reader.get_metadata().ok()?.clone();
        let entries = metadata.key_value_metadata().as_ref()?;
        let entry = entries.iter().find(|entry| entry.key == "huggingface")?;
        let json: Json = serde_json::from_str(entry.value.as_ref()?).ok()?;
        json.pointer("/info/features")?.as_object().cloned()
    };
    read().unwrap_or_default()
}

fn class_names(feature: &Json) -> Option<Vec<String>> {
    let names: Vec<String> = serde_json::from_value(feature.get("names")?.clone()).ok()?;
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::select::Wanted;
    use crate::hub::{Hub, Kind as Repo, Source};
    use crate::random::{Purpose, Stream};

    const SELECT: Select = Select::Wanted(&[Wanted::images("image"), Wanted::labels("label")]);

    fn embedded() -> File {
        let source = Source::Embedded("fashion-mnist-mini".into());
        Hub::default().open(&source, Repo::Dataset).unwrap().read("test.parquet").unwrap()
    }

    #[test]
    fn images_and_class_labels_of_datasets_are_read() {
        let table = read(embedded(), SELECT).unwrap();
        assert_eq!(table.rows, 1000);
        let Values::Images(images) = &table.column("image").unwrap().values else { panic!() };
        assert!((0..1000).all(|row| images.get(row).unwrap().starts_with(b"\x89PNG")));
        let label = table.column("label").unwrap();
        assert_eq!((label.kind(), &label.class_names[1][..]), (Kind::ClassLabel, "Trouser"));
    }

    #[test]
    fn the_error_for_a_missing_column_lists_the_existing_ones() {
        let error = |image, label| {
            let wanted = [Wanted::images(image), Wanted::labels(label)];
            read(embedded(), Select::Wanted(&wanted)).unwrap_err().to_string()
        };
        let missing = error("img", "label");
        assert!(missing.contains("image (images), label (class labels)"), "{missing}");
        assert!(missing.contains("data.image_column: image"), "{missing}");
        assert!(error("image", "fine_label").contains("data.label_column: label"));
    }

    /// A damaged file gives an error or other rows, but never a panic.
    #[test]
    fn damage_never_panics() {
        let whole = embedded();
        let n = whole.bytes.len();
        let mut stream = Stream::new(0, Purpose::Audit, "damage");
        for i in 0..200 {
            let mut bytes = whole.bytes.to_vec();
            match i % 3 {
                0 => bytes.truncate(stream.below(n as u32) as usize),
                1 => bytes[stream.below(n as u32) as usize] ^= 1 << stream.below(8),
                // The metadata is at the end of the file.
                _ => bytes[n - 1 - stream.below(3000) as usize] ^= 1 << stream.below(8),
            }
            let file = File { bytes: bytes.into(), ..whole.clone() };
            let _ = read(file, SELECT).map_err(|e| e.to_string());
        }
    }

    #[test]
    fn text_that_rows_share_is_limited() {
        let column = Column::new("a".into(), ["abc", "abc"]);
        assert!(values(&column, &Kind::Text, 6).is_ok());
        let error = values(&column, &Kind::Text, 5).unwrap_err().to_string();
        assert!(error.contains("6 bytes of text are more than the 5"), "{error}");
    }
}
