//! The runs as a polars table. The only file of `report/` that knows polars.

use polars::prelude::*;
use serde_json::Value;

use super::summary::{FinishedRun, Summary};
use crate::error::{Error, Result};
use crate::spec::flatten;

/// A row a finished run: identity, arm, every field of its spec, result and costs, as
/// Parquet.
pub fn runs_parquet(summary: &Summary) -> Result<Vec<u8>> {
    let failed = |e: PolarsError| Error::Failed(format!("runs.parquet cannot be made: {e}"));
    let mut frame = runs_frame(summary).map_err(failed)?;
    let mut out = Vec::new();
    ParquetWriter::new(&mut out).finish(&mut frame).map_err(failed)?;
    Ok(out)
}

fn runs_frame(summary: &Summary) -> PolarsResult<DataFrame> {
    let rows: Vec<_> =
        summary.arms.iter().flat_map(|arm| arm.runs.iter().map(move |run| (arm, run))).collect();
    let n = rows.len();
    let text = |name: &str, f: &dyn Fn(usize) -> Option<String>| {
        Column::new(name.into(), (0..n).map(f).collect::<Vec<Option<String>>>())
    };
    let float = |name: &str, f: &dyn Fn(&FinishedRun) -> f64| {
        Column::new(name.into(), rows.iter().map(|(_, run)| f(run)).collect::<Vec<f64>>())
    };
    let whole = |name: &str, f: &dyn Fn(&FinishedRun) -> Option<u64>| {
        Column::new(name.into(), rows.iter().map(|(_, run)| f(run)).collect::<Vec<Option<u64>>>())
    };
    let mut columns = vec![
        text("run", &|i| Some(rows[i].1.id.clone())),
        text("arm", &|i| Some(rows[i].0.variant.arm.clone())),
        text("label", &|i| Some(rows[i].0.variant.label.clone())),
        whole("seed", &|r| Some(r.seed)),
        whole("parameters", &|r| Some(r.result.parameters)),
        whole("trained", &|r| Some(r.result.trained)),
        text("metric", &|i| Some(rows[i].1.result.metric_name.clone())),
        float("test_metric", &|r| r.result.test_metric),
        float("test_loss", &|r| r.result.test_loss),
        whole("selected_epoch", &|r| Some(r.result.selected_epoch as u64)),
        whole("steps", &|r| Some(r.result.steps)),
        float("training_seconds", &|r| r.result.training_seconds),
        float("evaluation_seconds", &|r| r.result.evaluation_seconds),
        float("throughput", &|r| r.result.throughput),
        whole("peak_bytes", &|r| r.result.peak_bytes),
        text("model_sha256", &|i| Some(rows[i].1.result.model_sha256.clone())),
    ];
    let specs: Vec<_> = rows.iter().map(|(arm, _)| flatten(&arm.variant.spec)).collect();
    let fields: std::collections::BTreeSet<&String> = specs.iter().flat_map(|s| s.keys()).collect();
    for field in fields {
        let values: Vec<Option<Value>> =
            specs.iter().map(|spec| serde_json::from_str(spec.get(field)?).ok()).collect();
        columns.push(typed(&format!("spec.{field}"), &values));
    }
    DataFrame::new(n, columns)
}

/// A column of whole numbers, numbers, truth values or text, whichever holds all of `values`.
fn typed(name: &str, values: &[Option<Value>]) -> Column {
    let all = |is: fn(&Value) -> bool| values.iter().flatten().all(is);
    let each = |value: &Option<Value>| value.clone().filter(|v| !v.is_null());
    let name = name.into();
    if all(|v| v.is_u64() || v.is_null()) {
        let of = |v: &Option<Value>| each(v).and_then(|v| v.as_u64());
        return Column::new(name, values.iter().map(of).collect::<Vec<Option<u64>>>());
    }
    if all(|v| v.is_number() || v.is_null()) {
        let of = |v: &Option<Value>| each(v).and_then(|v| v.as_f64());
        return Column::new(name, values.iter().map(of).collect::<Vec<Option<f64>>>());
    }
    if all(|v| v.is_boolean() || v.is_null()) {
        let of = |v: &Option<Value>| each(v).and_then(|v| v.as_bool());
        return Column::new(name, values.iter().map(of).collect::<Vec<Option<bool>>>());
    }
    let of = |v: &Option<Value>| {
        each(v).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string))
    };
    Column::new(name, values.iter().map(of).collect::<Vec<Option<String>>>())
}
