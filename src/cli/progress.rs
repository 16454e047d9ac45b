//! The progress of runs on standard error: bars on a terminal, plain lines elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::eprint_line;
use crate::report::count;
use crate::results::{EpochRecord, Metric, RunResult, WorkUnit};
use crate::runner::{Observer, Outcome, Plan, PlannedRun, PlannedVariant};
use crate::size::clock;
use crate::tasks::evidence;
use crate::terminal::{draws_bars, set_message};
use crate::train::Step;

pub struct Progress {
    show: Show,
    /// Without bars, each run gets a line at least this often.
    every: Duration,
    /// Several runs are trained at once, so lines name their run.
    several: bool,
    runs: usize,
    ended: BTreeSet<String>,
    /// Whether this process has trained a step.
    has_trained: bool,
    /// FLOPs of all runs, of ended runs, and of ended runs as far as this process trained them.
    total_flops: f64,
    ended_flops: f64,
    trained_flops: f64,
    started: Instant,
    /// The running runs, by id.
    current: BTreeMap<String, CurrentRun>,
}

enum Show {
    Nothing,
    Lines,
    /// One bar for all runs, and one below it for each running run.
    Bars {
        bars: MultiProgress,
        all: ProgressBar,
    },
}

struct CurrentRun {
    name: String,
    epochs: usize,
    steps_per_epoch: u64,
    bar: Option<ProgressBar>,
    started: Instant,
    /// Steps of the whole run, steps done before this process, and steps done now.
    steps: u64,
    skipped: u64,
    done: u64,
    flops: f64,
    /// Units of work done by this process, and their name.
    units: u64,
    unit: WorkUnit,
    loss: f64,
    metric: &'static Metric,
    /// The validation metric of the last whole epoch.
    validation: Option<f64>,
    /// When the last line about it was written.
    written: Instant,
}

impl Progress {
    pub fn has_trained(&self) -> bool {
        self.has_trained
    }
}

impl CurrentRun {
    /// Units of work per second so far, including evaluation.
    fn rate(&self) -> f64 {
        self.units as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
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
        set_message(bar, &self.beside_bar(epoch));
    }

    /// The message beside the bar. With a short name, bar and message fit 80 columns up to the
    /// validation metric.
    fn beside_bar(&self, epoch: usize) -> String {
        let validation = self.validation.map(|v| format!("  val {}", self.metric.text(v)));
        let validation = validation.unwrap_or_default();
        format!(
            "{}  epoch {epoch}/{}  loss {:.3}{validation}  {}",
            self.name,
            self.epochs,
            self.loss,
            self.rate_text()
        )
    }

    fn rate_text(&self) -> String {
        format!("{:.0} {}", self.rate(), self.unit.per_second())
    }
}

/// The common style of all bars.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

impl Progress {
    /// For the runs `only` of a plan, None being all of them, with `jobs` runs at once. Without a terminal,
    /// each running run gets a line at least once per `every`.
    pub fn new(
        plan: &Plan,
        only: Option<&BTreeSet<String>>,
        jobs: usize,
        quiet: bool,
        every: Duration,
    ) -> Progress {
        let is_wanted = |run: &&PlannedRun| only.is_none_or(|only| only.contains(&run.id));
        let wanted = |v: &PlannedVariant| v.runs.iter().filter(is_wanted).count();
        let runs = plan.variants.iter().map(wanted).sum();
        let total_flops = plan.variants.iter().map(|v| v.flops * wanted(v) as f64).sum();
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
            every,
            several: jobs > 1,
            runs,
            ended: BTreeSet::new(),
            has_trained: false,
            total_flops,
            ended_flops: 0.0,
            trained_flops: 0.0,
            started: Instant::now(),
            current: BTreeMap::new(),
        }
    }

    /// Removes the bars.
    pub fn finish(&mut self) {
        if let Show::Bars { bars, all } = &self.show {
            all.disable_steady_tick();
            for bar in self.current.values().filter_map(|run| run.bar.as_ref()) {
                bar.finish_and_clear();
            }
            all.finish_and_clear();
            // Failing to clear the terminal does no harm.
            let _ = bars.clear();
        }
    }

    /// Prints a permanent line.
    fn line(&self, text: &str) {
        match &self.show {
            Show::Nothing => {}
            Show::Lines => eprint_line(text),
            Show::Bars { bars, .. } => bars.suspend(|| eprint_line(text)),
        }
    }

    /// The name of the run, if several are trained at once.
    fn prefix(&self, run: &CurrentRun) -> String {
        if self.several { format!("{}: ", run.name) } else { String::new() }
    }

    fn left_text(&self) -> String {
        self.time_left().map(|left| format!(", about {left} left")).unwrap_or_default()
    }

    fn write_step_line(&self, id: &str, step: &Step) {
        let Some(run) = self.current.get(id) else { return };
        eprint_line(&format!(
            "      {}step {}/{}, epoch {}/{}: loss {:.4}, {}{}",
            self.prefix(run),
            count(step.record.step),
            count(run.steps),
            step.record.epoch,
            run.epochs,
            run.loss,
            run.rate_text(),
            self.left_text(),
        ));
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
    fn run_started(&mut self, variant: &PlannedVariant, run: &PlannedRun, resumed_at: u64) {
        // A run that failed, or that another process held, may start again.
        if self.ended.remove(&run.id) {
            self.ended_flops -= variant.flops;
            if let Show::Bars { all, .. } = &self.show {
                all.set_position(self.ended.len() as u64);
            }
        }
        let name = format!("{} seed {}", variant.variant.label, run.seed);
        let length = variant.length;
        let resumed = match resumed_at {
            0 => String::new(),
            step => format!(", resumed after step {}", count(step)),
        };
        self.line(&format!(
            "[{}/{}] {name}: {} parameters, {} steps{resumed}",
            self.ended.len() + self.current.len() + 1,
            self.runs,
            count(variant.cost.parameters),
            count(variant.steps()),
        ));
        let bar = match &self.show {
            Show::Bars { bars, .. } => {
                let bar = bars.add(ProgressBar::new(variant.steps()));
                bar.set_style(style("{bar:14} {pos}/{len}  {msg}"));
                bar.set_position(resumed_at);
                Some(bar)
            }
            Show::Nothing | Show::Lines => None,
        };
        let evidence = evidence(&variant.variant.spec);
        let current = CurrentRun {
            name,
            epochs: length.epochs,
            steps_per_epoch: length.steps_per_epoch.max(1) as u64,
            bar,
            started: Instant::now(),
            steps: variant.steps(),
            skipped: resumed_at,
            done: resumed_at,
            flops: variant.flops,
            units: 0,
            unit: evidence.work_unit(),
            loss: f64::NAN,
            metric: evidence.primary(),
            validation: None,
            written: Instant::now(),
        };
        self.current.insert(run.id.clone(), current);
    }

    fn recovered(&mut self, _: &PlannedRun, reason: &str) {
        self.line(&format!("note: the checkpoint before the newest is used: {reason}"));
    }

    fn step(&mut self, run: &PlannedRun, step: &Step) {
        self.has_trained = true;
        let id = &run.id;
        let Some(run) = self.current.get_mut(id) else { return };
        let record = &step.record;
        run.done = record.step;
        run.units += step.units;
        // Smoothed over about twenty steps, to be readable.
        let loss = record.loss;
        run.loss = if run.loss.is_nan() { loss } else { 0.95 * run.loss + 0.05 * loss };
        run.show(record.epoch);
        // No line at the last step of an epoch, since the epoch's line follows.
        let is_whole = run.done.is_multiple_of(run.steps_per_epoch) || run.done == run.steps;
        let is_due = !is_whole && run.written.elapsed() >= self.every;
        if is_due {
            run.written = Instant::now();
        }
        match &self.show {
            Show::Bars { all, .. } => {
                if let Some(left) = self.time_left() {
                    set_message(all, &format!(" about {left} left"));
                }
            }
            Show::Lines if is_due => self.write_step_line(id, step),
            Show::Lines | Show::Nothing => {}
        }
    }

    fn epoch(&mut self, run: &PlannedRun, e: &EpochRecord) {
        if let Some(run) = self.current.get_mut(&run.id) {
            run.validation = e.validation_metric.or(run.validation);
            run.written = Instant::now();
            run.show(e.epoch);
        }
        if let (Show::Lines, Some(run)) = (&self.show, self.current.get(&run.id)) {
            let Metric { name, .. } = run.metric;
            let loss = e.validation_loss.map(|loss| format!(", validation loss {loss:.4}"));
            let metric = e.validation_metric.map(|m| format!(", {name} {}", run.metric.text(m)));
            let validation: String = loss.into_iter().chain(metric).collect();
            eprint_line(&format!(
                "      {}epoch {}/{}: training loss {:.4}{validation}, {}{}",
                self.prefix(run),
                e.epoch,
                run.epochs,
                e.train_loss,
                run.rate_text(),
                self.left_text(),
            ));
        }
    }

    fn run_ended(&mut self, variant: &PlannedVariant, run: &PlannedRun, outcome: &Outcome) {
        let name = format!("{} seed {}", variant.variant.label, run.seed);
        let is_held = *outcome == Outcome::HeldElsewhere;
        // A run that fails may be tried again, and one that another process holds may be waited for.
        if self.ended.insert(run.id.clone()) {
            self.ended_flops += variant.flops;
        } else if is_held {
            return;
        }
        if let Some(run) = self.current.remove(&run.id) {
            self.trained_flops += run.trained_flops();
            if let (Show::Bars { bars, .. }, Some(bar)) = (&self.show, &run.bar) {
                bar.finish_and_clear();
                bars.remove(bar);
            }
        }
        let place = format!("[{}/{}]", self.ended.len(), self.runs);
        let metric = evidence(&variant.variant.spec).primary();
        let test = |r: &RunResult| format!("test {} {}", r.metric_name, metric.text(r.test_metric));
        match outcome {
            Outcome::Finished(r) => {
                let early = match r.steps < variant.steps() {
                    true => format!(
                        ", ended early at step {} of {}, weights of epoch {}",
                        count(r.steps),
                        count(variant.steps()),
                        r.selected_epoch
                    ),
                    false => String::new(),
                };
                self.line(&format!(
                    "{place} {name}: {} after {}{early}",
                    test(r),
                    clock(r.training_seconds)
                ));
            }
            Outcome::AlreadyFinished(r) => {
                self.line(&format!("{place} {name}: finished before, {}", test(r)));
            }
            Outcome::TakenOver(r, from) => self.line(&format!(
                "{place} {name}: taken from {}, which has finished the same run, {}",
                from.display(),
                test(r)
            )),
            Outcome::Failed(reason) => self.line(&format!("{place} {name}: FAILED: {reason}")),
            Outcome::HeldElsewhere => {
                self.line(&format!(
                    "{place} {name}: another process is training it, or what it starts from"
                ));
            }
        }
        if let Show::Bars { all, .. } = &self.show {
            all.set_position(self.ended.len() as u64);
        }
    }
}
