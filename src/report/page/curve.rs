//! A run's validation metric, epoch by epoch, as a line of a few pixels.

use maud::{Markup, html};

use crate::report::summary::FinishedRun;

const WIDTH: f64 = 160.0;
const HEIGHT: f64 = 36.0;

/// Epochs whose metric was not measured have no point. None with fewer than two points.
pub fn curve(run: &FinishedRun) -> Option<Markup> {
    let measured = run.epochs.iter().enumerate();
    let values: Vec<(usize, f64)> =
        measured.filter_map(|(i, e)| Some((i, e.validation_metric?))).collect();
    if values.len() < 2 {
        return None;
    }
    let low = values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let high = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    let last = run.epochs.len() - 1;
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let room = (high - low).max(f64::MIN_POSITIVE);
    let point = |(i, value): &(usize, f64)| {
        let x = 2.0 + (WIDTH - 4.0) * *i as f64 / last as f64;
        let y = 2.0 + (HEIGHT - 4.0) * (high - value) / room;
        format!("{x:.1},{y:.1}")
    };
    let points: Vec<String> = values.iter().map(point).collect();
    Some(html! {
        svg width=(WIDTH) height=(HEIGHT) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
            aria-label="validation metric by epoch" {
            polyline points=(points.join(" ")) fill="none" stroke="#0072b2" stroke-width="1.5" {}
        }
    })
}
