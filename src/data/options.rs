//! Options in a dataset card's configuration that change how `datasets` reads its files.

use serde_json::Value;

/// Options of `datasets` 5.2 that change the values it reads: those of the builders for CSV, JSON,
/// Parquet and folders of images. A builder ignores options that it does not have.
const OPTIONS: &[&str] = &[
    "column_names",
    "columns",
    "comment",
    "converters",
    "date_format",
    "decimal",
    "delimiter",
    "dialect",
    "doublequote",
    "drop_labels",
    "drop_metadata",
    "encoding",
    "encoding_errors",
    "error_bad_lines",
    "escapechar",
    "false_values",
    "features",
    "field",
    "filters",
    "header",
    "index_col",
    "keep_default_na",
    "lineterminator",
    "metadata_filenames",
    "na_filter",
    "na_values",
    "names",
    "nrows",
    "on_bad_lines",
    "on_mixed_types",
    "prefix",
    "quotechar",
    "quoting",
    "sep",
    "skip_blank_lines",
    "skipfooter",
    "skipinitialspace",
    "skiprows",
    "thousands",
    "true_values",
    "usecols",
];

/// The options of a configuration whose values are not the defaults.
pub fn options(entry: &Value) -> Vec<(String, Value)> {
    let is_default = |name: &str, value: &Value| match (name, value) {
        (_, Value::Null) => true,
        ("drop_labels" | "drop_metadata" | "skipinitialspace", Value::Bool(set)) => !set,
        ("keep_default_na" | "na_filter" | "doublequote" | "skip_blank_lines", value) => {
            value.as_bool() == Some(true)
        }
        ("header", Value::String(text)) => text == "infer",
        ("header" | "skiprows" | "skipfooter" | "quoting", value) => value.as_i64() == Some(0),
        ("encoding", Value::String(text)) => {
            ["utf-8", "utf8"].contains(&&text.to_ascii_lowercase()[..])
        }
        ("decimal", value) => value.as_str() == Some("."),
        ("quotechar", value) => value.as_str() == Some("\""),
        ("encoding_errors", value) => value.as_str() == Some("strict"),
        ("on_bad_lines", value) => value.as_str() == Some("error"),
        _ => false,
    };
    let set = entry.as_object().into_iter().flatten();
    set.filter(|(name, value)| OPTIONS.contains(&&name[..]) && !is_default(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
