//! What a run shows while it goes: bars on a terminal, plain lines elsewhere, on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::tell;
use crate::report::count;
use crate::runner::{Observer, Outcome, Plan, PlannedRun, PlannedVariant};
use crate::train::{EpochSummary, Step};

pub struct Progress {
    show: Show,
    epochs: usize,
    runs: usize,
    ended: usize,
    /// Of all runs, of the ended ones, and of those this process has trained itself.
    total_flops: f64,
    ended_flops: f64,
    trained_flops: f64,
    started: Instant,
    run: Option<CurrentRun>,
}

enum Show {
    Nothing,
    Lines,
    Bars { both: MultiProgress, all: ProgressBar, run: ProgressBar },
}

struct CurrentRun {
    name: String,
    started: Instant,
    /// Steps of the whole run, done at the start, and done now.
    steps: u64,
    skipped: u64,
    done: u64,
    flops: f64,
    examples: usize,
    loss: f64,
}

impl CurrentRun {
    /// Training examples a second so far, evaluation included.
    fn rate(&self) -> f64 {
        self.examples as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    fn trained_flops(&self) -> f64 {
        self.flops * (self.done - self.skipped) as f64 / self.steps.max(1) as f64
    }
}

impl Progress {
    pub fn new(plan: &Plan, quiet: bool) -> Progress {
        let runs = plan.run_count();
        let show = if quiet {
            Show::Nothing
        } else if std::io::stderr().is_terminal() {
            let both = MultiProgress::new();
            let style = |template: &str| {
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("━╸─")
            };
            let all = both.add(ProgressBar::new(runs as u64));
            all.set_style(style("runs  {bar:30} {pos}/{len}  {elapsed} {msg}"));
            let run = both.add(ProgressBar::new(0));
            run.set_style(style("steps {bar:30} {pos}/{len}  {msg}"));
            all.enable_steady_tick(Duration::from_millis(500));
            Show::Bars { both, all, run }
        } else {
            Show::Lines
        };
        Progress {
            show,
            epochs: 0,
            runs,
            ended: 0,
            total_flops: plan.flops(),
            ended_flops: 0.0,
            trained_flops: 0.0,
            started: Instant::now(),
            run: None,
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        if let Show::Bars { both, all, run } = &self.show {
            all.disable_steady_tick();
            run.finish_and_clear();
            all.finish_and_clear();
            // Nothing is lost where the terminal cannot be cleared.
            let _ = both.clear();
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        match &self.show {
            Show::Nothing => {}
            Show::Lines => tell(text),
            Show::Bars { both, .. } => both.suspend(|| tell(text)),
        }
    }

    /// The time left for all runs at the rate so far.
    fn time_left(&self) -> Option<String> {
        let run = self.run.as_ref();
        let now = run.map_or(0.0, CurrentRun::trained_flops);
        let skipped = run.map_or(0.0, |r| r.flops * r.skipped as f64 / r.steps.max(1) as f64);
        let trained = self.trained_flops + now;
        let left = self.total_flops - self.ended_flops - now - skipped;
        let seconds = self.started.elapsed().as_secs_f64() * left / trained;
        (trained > 0.0 && seconds.is_finite()).then(|| clock(seconds))
    }
}

impl Observer for Progress {
    fn run_started(&mut self, variant: &PlannedVariant, run: &PlannedRun, resumed_at: usize) {
        let name = format!("{} seed {}", variant.variant.label, run.seed);
        self.epochs = variant.variant.spec.training.epochs;
        let skipped = variant.steps * resumed_at as u64 / self.epochs as u64;
        let resumed = match resumed_at {
            0 => String::new(),
            n => format!(", resumed after epoch {n}"),
        };
        self.line(&format!(
            "[{}/{}] {name}: {} parameters, {} steps{resumed}",
            self.ended + 1,
            self.runs,
            count(variant.cost.parameters),
            count(variant.steps),
        ));
        if let Show::Bars { run: bar, .. } = &self.show {
            bar.reset();
            bar.set_length(variant.steps);
            bar.set_position(skipped);
        }
        self.run = Some(CurrentRun {
            name,
            started: Instant::now(),
            steps: variant.steps,
            skipped,
            done: skipped,
            flops: variant.flops,
            examples: 0,
            loss: f64::NAN,
        });
    }

    fn step(&mut self, step: &Step) {
        let Some(run) = &mut self.run else { return };
        run.done = step.step;
        run.examples += step.examples;
        // Smoothed over about twenty steps, so that it can be read.
        run.loss = if run.loss.is_nan() { step.loss } else { 0.95 * run.loss + 0.05 * step.loss };
        if let Show::Bars { all, run: bar, .. } = &self.show {
            let Some(run) = &self.run else { return };
            bar.set_position(run.done);
            let (loss, rate) = (run.loss, run.rate());
            bar.set_message(format!(
                "{}  epoch {}/{}  loss {loss:.3}  {rate:.0} images/s",
                run.name, step.epoch, self.epochs
            ));
            if let Some(left) = self.time_left() {
                all.set_message(format!(" about {left} left"));
            }
        }
    }

    fn epoch(&mut self, e: &EpochSummary) {
        if let (Show::Lines, Some(run)) = (&self.show, &self.run) {
            let left = self.time_left().map(|l| format!(", about {l} left")).unwrap_or_default();
            tell(&format!(
                "      epoch {}/{}: training loss {:.4}, validation loss {:.4}, accuracy {:.1} %, \
                 {:.0} images/s{left}",
                e.epoch,
                self.epochs,
                e.train_loss,
                e.validation_loss,
                100.0 * e.validation_metric,
                run.rate(),
            ));
        }
    }

    fn run_ended(&mut self, variant: &PlannedVariant, run: &PlannedRun, outcome: &Outcome) {
        let name = format!("{} seed {}", variant.variant.label, run.seed);
        self.ended += 1;
        self.ended_flops += variant.flops;
        if let Some(run) = self.run.take() {
            self.trained_flops += run.trained_flops();
        }
        let place = format!("[{}/{}]", self.ended, self.runs);
        match outcome {
            Outcome::Finished(r) => self.line(&format!(
                "{place} {name}: test {} {:.1} % after {}",
                r.metric_name,
                100.0 * r.test_metric,
                clock(r.training_seconds)
            )),
            Outcome::AlreadyFinished(r) => self.line(&format!(
                "{place} {name}: finished before, test {} {:.1} %",
                r.metric_name,
                100.0 * r.test_metric
            )),
            Outcome::Failed(reason) => self.line(&format!("{place} {name}: FAILED: {reason}")),
            Outcome::Elsewhere => {
                self.line(&format!("{place} {name}: another process is training it"));
            }
        }
        if let Show::Bars { all, .. } = &self.show {
            all.set_position(self.ended as u64);
        }
    }
}

/// `1:05`, `2:03:04`.
fn clock(seconds: f64) -> String {
    let s = seconds.round().max(0.0) as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn clock_reads_as_a_clock() {
        let got: Vec<String> = [0.4, 65.0, 7384.0].into_iter().map(super::clock).collect();
        assert_eq!(got, ["0:00", "1:05", "2:03:04"]);
    }
}
