//! The runs as a polars table. No other file of `report/` uses polars.

use polars::prelude::*;
use serde_json::Value;

use super::fields::{self, Field, Kind};
use super::summary::{FinishedRun, Summary};
use crate::error::{Error, Fault, Result};

/// One row per finished run as Parquet: identity, arm, every field of its spec, result and costs.
/// Column types depend on the field alone ([`fields::columns`]).
pub fn runs_parquet(summary: &Summary) -> Result<Vec<u8>> {
    let failed =
        |e: PolarsError| Error::from(Fault::failed(format!("runs.parquet cannot be made: {e}")));
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
    let optional = |name: &str, f: &dyn Fn(&FinishedRun) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(|(_, run)| f(run)).collect::<Vec<Option<f64>>>())
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
        optional("validation_metric", &|r| r.validation),
        float("test_metric", &|r| r.result.test_metric),
        float("test_loss", &|r| r.result.test_loss),
        optional("trivial_metric", &FinishedRun::trivial_value),
        Column::new(
            "learned".into(),
            rows.iter().map(|(_, run)| run.learned()).collect::<Vec<bool>>(),
        ),
        whole("selected_epoch", &|r| Some(r.result.selected_epoch as u64)),
        whole("steps", &|r| Some(r.result.steps)),
        optional("training_seconds", &|r| r.result.of_training(r.result.training_seconds)),
        float("evaluation_seconds", &|r| r.result.evaluation_seconds),
        optional("throughput", &|r| r.result.of_training(r.result.throughput)),
        whole("peak_bytes", &|r| r.result.peak_bytes),
        text("model_sha256", &|i| Some(rows[i].1.result.model_sha256.clone())),
    ];
    // For each run, the index of its arm.
    let arms: Vec<usize> = summary
        .arms
        .iter()
        .enumerate()
        .flat_map(|(place, arm)| arm.runs.iter().map(move |_| place))
        .collect();
    for field in fields::columns(summary, &fields::all(summary)) {
        columns.push(of_runs(&field, &arms));
    }
    DataFrame::new(n, columns)
}

/// A field's column: for each run, the value of its arm.
fn of_runs(field: &Field, arms: &[usize]) -> Column {
    let name = field.column.as_str().into();
    let values = || arms.iter().map(|arm| &field.values[*arm]);
    match field.kind {
        Kind::Integer => Column::new(name, values().map(Value::as_u64).collect::<Vec<_>>()),
        Kind::Number => Column::new(name, values().map(Value::as_f64).collect::<Vec<_>>()),
        Kind::Boolean => Column::new(name, values().map(Value::as_bool).collect::<Vec<_>>()),
        Kind::Text => Column::new(name, values().map(Value::as_str).collect::<Vec<_>>()),
    }
}
