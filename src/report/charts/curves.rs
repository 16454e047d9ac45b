//! Learning curves by arm: training loss and validation metric against epochs.

use super::legend::{Key, Legend};
use super::marks::{Look, looks};
use super::panels::{Panel, Panels, Series};
use crate::report::summary::{ArmSummary, Summary};
use crate::results::EpochRecord;

/// None if no run that was trained has finished.
pub fn learning_curves(summary: &Summary) -> Option<Panels> {
    let arms: Vec<(&ArmSummary, Look)> = summary
        .arms
        .iter()
        .zip(looks(&summary.baselines()))
        .filter(|(arm, _)| arm.runs.iter().any(|run| !run.epochs.is_empty()))
        .collect();
    if arms.is_empty() {
        return None;
    }
    let panel = |title: String, value: &dyn Fn(&EpochRecord) -> Option<f64>| Panel {
        title,
        x_title: "Epoch",
        series: arms.iter().map(|(arm, look)| series(arm, *look, value)).collect(),
    };
    let metric = summary.metric();
    let shown = |e: &EpochRecord| e.validation_metric.map(|value| metric.shown(value));
    let mut legend =
        Legend::new(arms.iter().map(|(arm, look)| (summary.marked_label(arm), *look, Key::Both)));
    legend.add_notes(summary);
    let panels = vec![
        panel("Training loss".into(), &|e| Some(e.train_loss)),
        panel(format!("Validation {}", metric.title()), &shown),
    ];
    // Without validation there is only the training loss.
    let panels = panels.into_iter().filter(|p| p.series.iter().any(|s| !s.points.is_empty()));
    Some(Panels { panels: panels.collect(), legend })
}

/// The values of one arm, at the epochs for which every run has a value.
fn series(arm: &ArmSummary, look: Look, value: &dyn Fn(&EpochRecord) -> Option<f64>) -> Series {
    let epochs = arm.runs.iter().map(|r| r.epochs.len()).min().unwrap_or(0);
    let values = (0..epochs).filter_map(|i| {
        let values: Option<Vec<f64>> = arm.runs.iter().map(|r| value(&r.epochs[i])).collect();
        Some((arm.runs[0].epochs[i].epoch as f64, values?))
    });
    Series::over_runs(look, values)
}
