//! What a run shows while it goes: bars on a terminal, plain lines elsewhere, on standard error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::tell;
use crate::report::count;
use crate::runner::{Observer, Outcome, Plan, PlannedRun, PlannedVariant};
use crate::terminal::{draws_bars, set_message};
use crate::train::{EpochSummary, Step};

pub struct Progress {
    show: Show,
    /// Several runs go on at once: lines about them say which.
    several: bool,
    runs: usize,
    ended: usize,
    /// Of all runs, of the ended ones, and of those this process has trained itself.
    total_flops: f64,
    ended_flops: f64,
    trained_flops: f64,
    started: Instant,
    /// Those under way, by their ids.
    current: BTreeMap<String, CurrentRun>,
}

enum Show {
    Nothing,
    Lines,
    /// One bar for all runs, and below it one for each run under way.
    Bars {
        bars: MultiProgress,
        all: ProgressBar,
    },
}

struct CurrentRun {
    name: String,
    epochs: usize,
    bar: Option<ProgressBar>,
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

    fn skipped_flops(&self) -> f64 {
        self.flops * self.skipped as f64 / self.steps.max(1) as f64
    }

    fn show(&self, epoch: usize) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(self.done);
        let (name, epochs, loss, rate) = (&self.name, self.epochs, self.loss, self.rate());
        let text = format!("{name}  epoch {epoch}/{epochs}  loss {loss:.3}  {rate:.0} images/s");
        set_message(bar, &text);
    }
}

/// Bars of one look.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

impl Progress {
    /// For a plan of which `jobs` runs are trained at once.
    pub fn new(plan: &Plan, jobs: usize, quiet: bool) -> Progress {
        let runs = plan.run_count();
        let show = if quiet {
            Show::Nothing
        } else if draws_bars() {
            let bars = MultiProgress::new();
            let all = bars.add(ProgressBar::new(runs as u64));
            all.set_style(style("runs  {bar:30} {pos}/{len}  {elapsed} {msg}"));
            all.enable_steady_tick(Duration::from_millis(500));
            Show::Bars { bars, all }
        } else {
            Show::Lines
        };
        Progress {
            show,
            several: jobs > 1,
            runs,
            ended: 0,
            total_flops: plan.flops(),
            ended_flops: 0.0,
            trained_flops: 0.0,
            started: Instant::now(),
            current: BTreeMap::new(),
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        if let Show::Bars { bars, all } = &self.show {
            all.disable_steady_tick();
            for bar in self.current.values().filter_map(|run| run.bar.as_ref()) {
                bar.finish_and_clear();
            }
            all.finish_and_clear();
            // Nothing is lost where the terminal cannot be cleared.
            let _ = bars.clear();
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        match &self.show {
            Show::Nothing => {}
            Show::Lines => tell(text),
            Show::Bars { bars, .. } => bars.suspend(|| tell(text)),
        }
    }

    /// The time left for all runs at the rate so far.
    fn time_left(&self) -> Option<String> {
        let now: f64 = self.current.values().map(CurrentRun::trained_flops).sum();
        let skipped: f64 = self.current.values().map(CurrentRun::skipped_flops).sum();
        let trained = self.trained_flops + now;
        let left = self.total_flops - self.ended_flops - now - skipped;
        let seconds = self.started.elapsed().as_secs_f64() * left / trained;
        (trained > 0.0 && seconds.is_finite()).then(|| clock(seconds))
    }
}

impl Observer for Progress {
    fn run_started(&mut self, variant: &PlannedVariant, run: &PlannedRun, resumed_at: usize) {
        let name = format!("{} seed {}", variant.variant.label, run.seed);
        let epochs = variant.variant.spec.training.epochs;
        let skipped = variant.steps * resumed_at as u64 / epochs as u64;
        let resumed = match resumed_at {
            0 => String::new(),
            n => format!(", resumed after epoch {n}"),
        };
        self.line(&format!(
            "[{}/{}] {name}: {} parameters, {} steps{resumed}",
            self.ended + self.current.len() + 1,
            self.runs,
            count(variant.cost.parameters),
            count(variant.steps),
        ));
        let bar = match &self.show {
            Show::Bars { bars, .. } => {
                let bar = bars.add(ProgressBar::new(variant.steps));
                bar.set_style(style("steps {bar:30} {pos}/{len}  {msg}"));
                bar.set_position(skipped);
                Some(bar)
            }
            Show::Nothing | Show::Lines => None,
        };
        let current = CurrentRun {
            name,
            epochs,
            bar,
            started: Instant::now(),
            steps: variant.steps,
            skipped,
            done: skipped,
            flops: variant.flops,
            examples: 0,
            loss: f64::NAN,
        };
        self.current.insert(run.id.clone(), current);
    }

    fn step(&mut self, run: &PlannedRun, step: &Step) {
        let Some(run) = self.current.get_mut(&run.id) else { return };
        run.done = step.step;
        run.examples += step.examples;
        // Smoothed over about twenty steps, so that it can be read.
        run.loss = if run.loss.is_nan() { step.loss } else { 0.95 * run.loss + 0.05 * step.loss };
        run.show(step.epoch);
        if let (Show::Bars { all, .. }, Some(left)) = (&self.show, self.time_left()) {
            set_message(all, &format!(" about {left} left"));
        }
    }

    fn epoch(&mut self, run: &PlannedRun, e: &EpochSummary) {
        if let (Show::Lines, Some(run)) = (&self.show, self.current.get(&run.id)) {
            let name = if self.several { format!("{}: ", run.name) } else { String::new() };
            let left = self.time_left().map(|l| format!(", about {l} left")).unwrap_or_default();
            let validation = match (e.validation_loss, e.validation_metric) {
                (Some(loss), Some(metric)) => {
                    format!(", validation loss {loss:.4}, accuracy {:.1} %", 100.0 * metric)
                }
                _ => String::new(),
            };
            tell(&format!(
                "      {name}epoch {}/{}: training loss {:.4}{validation}, {:.0} images/s{left}",
                e.epoch,
                run.epochs,
                e.train_loss,
                run.rate(),
            ));
        }
    }

    fn run_ended(&mut self, variant: &PlannedVariant, run: &PlannedRun, outcome: &Outcome) {
        let name = format!("{} seed {}", variant.variant.label, run.seed);
        self.ended += 1;
        self.ended_flops += variant.flops;
        if let Some(run) = self.current.remove(&run.id) {
            self.trained_flops += run.trained_flops();
            if let (Show::Bars { bars, .. }, Some(bar)) = (&self.show, &run.bar) {
                bar.finish_and_clear();
                bars.remove(bar);
            }
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
