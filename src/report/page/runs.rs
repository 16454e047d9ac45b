//! Every run of the experiment: what it came to, and where its numbers come from.

use maud::{Markup, html};

use super::curve::curve;
use super::{line, text};
use crate::report::summary::{ArmSummary, FinishedRun, Summary};
use crate::report::table::count;
use crate::results::Metric;

/// One entry per run, in the order of the arms and seeds. Details are folded in.
pub fn runs(summary: &Summary) -> Markup {
    let metric = summary.metric();
    html! {
        @for arm in &summary.arms {
            @for run in &arm.runs {
                (finished(arm, run, metric))
            }
            @for (seed, reason) in &arm.failures {
                details {
                    summary class="failed" { (line(&arm.variant.label)) ", seed " (seed) ": failed" }
                    p { (text(reason)) }
                }
            }
            @for run in &arm.damaged {
                details {
                    summary class="failed" {
                        (line(&arm.variant.label)) ", seed " (run.seed) ", run "
                        code { (line(&run.id)) } ": left out"
                    }
                    p { (line(run.summary())) }
                }
            }
            @if arm.unfinished > 0 {
                p { (line(&arm.variant.label)) ": not finished: " (arm.unfinished) }
            }
        }
    }
}

fn finished(arm: &ArmSummary, run: &FinishedRun, metric: &Metric) -> Markup {
    let result = &run.result;
    let session = run.provenance.sessions.last();
    let fact = |name: &str, value: String| html! { tr { th { (name) } td { (value) } } };
    let validation = run.validation.map_or("—".to_string(), |value| metric.text(value));
    let difference = arm.comparison.as_ref();
    let difference = difference.and_then(|c| c.pairs.iter().find(|pair| pair.seed == run.seed));
    html! {
        details {
            summary {
                (line(&arm.variant.label)) ", seed " (run.seed) ": " (metric.text(result.test_metric)) " ("
                code { (line(&run.id)) } ")"
            }
            @if let Some(curve) = curve(run) { (curve) }
            table class="facts run" {
                (fact("test", metric.text(result.test_metric)))
                (fact("validation", validation))
                @if let Some(pair) = difference {
                    (fact("minus the baseline's", crate::report::numbers::signed(metric, pair.difference)))
                }
                @if !metric.is_loss() {
                    (fact("test loss", format!("{:.4}", result.test_loss)))
                }
                (fact("parameters", count(result.parameters)))
                (fact("steps", count(result.steps)))
                @if let Some(seconds) = result.of_training(result.training_seconds) {
                    (fact("training", format!("{seconds:.1} s")))
                }
                (fact("data", line(&run.provenance.data_sha256)))
                (fact("weights", line(&result.model_sha256)))
                @if let Some(session) = session {
                    (fact("program", format!("{} (numerics {})", line(&session.program), session.numerics_version)))
                    (fact("device", format!("{}: {}, {} threads", line(&session.device), line(&session.processor), session.threads)))
                    (fact("started", line(&session.started)))
                    @if let Some(command) = &session.command { (fact("command", line(command))) }
                    @if let Some(repository) = &session.repository {
                        (fact("commit", line(&repository.commit)))
                    }
                }
            }
        }
    }
}
