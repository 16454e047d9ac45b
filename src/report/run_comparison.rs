//! Two finished runs side by side: what differs in their specs, what they came to, their curves, the
//! test examples on which they disagree, and how many of each class they have right.

use std::collections::BTreeMap;

use super::comparison::{Examples, bootstrap};
use super::numbers::{difference_title, p_value, signed};
use super::table::{Align, Cell, Table, count};
use crate::error::{Fault, Result};
use crate::results::{
    Assessment, Better, CheckLevel, Confusion, EpochRecord, Evidence, Flags, IntactRun, Metric,
    RunFolder, StartRecord,
};
use crate::spec::{comparable_fields, source_fields};

/// A run that is compared.
struct Side {
    intact: IntactRun,
    assessment: Assessment,
    epochs: Vec<EpochRecord>,
    confusion: Option<Confusion>,
    /// The weights that it starts from: their file or run, and the beginning of their SHA-256.
    start: Option<String>,
}

/// Two finished runs of one task.
pub struct RunComparison {
    metrics: &'static [Metric],
    sides: [Side; 2],
}

/// Most epochs that are shown.
const MAX_EPOCHS: usize = 20;

/// The share of a class's examples that are predicted right.
const RECALL: Metric = Metric {
    name: "recall",
    unit: "%",
    difference_unit: "points",
    scale: 100.0,
    decimals: 1,
    better: Better::Higher,
};

impl RunComparison {
    /// Reads both runs, `evidence` being that of the first one's task. Refuses runs of two tasks, and
    /// runs that are not finished or damaged.
    pub fn read(
        evidence: &dyn Fn(&IntactRun) -> &'static dyn Evidence,
        runs: [&RunFolder; 2],
    ) -> Result<RunComparison> {
        let intact = [runs[0].verify(CheckLevel::Thorough)?, runs[1].verify(CheckLevel::Thorough)?];
        let tasks = [0, 1].map(|i| intact[i].spec.spec.task);
        if tasks[0] != tasks[1] {
            return Err(Fault::new("runs of two tasks do not compare")
                .source(runs[1].path().display())
                .found(format!("`{}`", tasks[1].name()))
                .expected(format!("`{}`, as in {}", tasks[0].name(), runs[0].path().display()))
                .into());
        }
        let evidence = evidence(&intact[0]);
        let side = |run: &RunFolder, intact: IntactRun| -> Result<Side> {
            let (assessment, epochs) = (evidence.assess(run)?, run.read_lines(RunFolder::EPOCHS)?);
            let start = match intact.spec.spec.start {
                Some(_) => Some(run.read_json::<StartRecord>(RunFolder::START)?),
                None => None,
            };
            let start = start.map(|start| {
                format!("{} ({}…)", start.from, start.sha256.get(..12).unwrap_or_default())
            });
            Ok(Side { intact, assessment, epochs, confusion: evidence.confusion(run)?, start })
        };
        let [first, second] = intact;
        let sides = [side(runs[0], first)?, side(runs[1], second)?];
        Ok(RunComparison { metrics: evidence.metrics(), sides })
    }

    /// The fields of the specs that differ, the seed and the names of data and weights among them: field,
    /// first, second.
    pub fn spec_differences(&self) -> Vec<(String, String, String)> {
        let [first, second] = &self.sides;
        let [a, b] = comparable_fields([&first.intact.spec.spec, &second.intact.spec.spec]);
        let fields = |mut fields: BTreeMap<String, String>, side: &Side| {
            fields.extend(source_fields(&side.intact.spec.spec));
            if let Some(start) = &side.start {
                fields.insert("start".into(), start.clone());
            }
            fields.insert("seed".into(), side.intact.spec.seed.to_string());
            fields
        };
        let all = [fields(a, first), fields(b, second)];
        let mut names: Vec<&String> = all.iter().flat_map(BTreeMap::keys).collect();
        names.sort();
        names.dedup();
        let value = |i: usize, name: &String| {
            let value = all[i].get(name).map(|value| value.trim_matches('"').to_string());
            value.unwrap_or_else(|| "not used".into())
        };
        let rows = names.into_iter().map(|name| (name.clone(), value(0, name), value(1, name)));
        rows.filter(|(_, first, second)| first != second).collect()
    }

    /// What both came to, one row a number.
    pub fn results(&self) -> Table {
        let mut table = Table::new()
            .column("what", "", Align::Left)
            .column("first", "first", Align::Right)
            .column("second", "second", Align::Right)
            .column("difference", "second − first", Align::Right);
        let mut row = |what: String,
                       values: [Option<f64>; 2],
                       text: &dyn Fn(f64) -> String,
                       difference: &dyn Fn(f64) -> String| {
            let cell =
                |value: Option<f64>| value.map_or_else(Cell::none, |v| Cell::number(v, text(v)));
            let by = values[0].zip(values[1]).map(|(first, second)| second - first);
            table.row(vec![
                Cell::text(what),
                cell(values[0]),
                cell(values[1]),
                by.map_or_else(Cell::none, |by| Cell::number(by, difference(by))),
            ]);
        };
        let both = |of: &dyn Fn(&Side) -> Option<f64>| [of(&self.sides[0]), of(&self.sides[1])];
        for (i, metric) in self.metrics.iter().enumerate() {
            let values = both(&|side| side.assessment.scores.metrics.get(i).copied());
            let title = format!("test {}", metric.title());
            row(title, values, &|v| metric.number(v), &|v| signed(metric, v));
        }
        if let Some(metric) = self.metrics.first() {
            let values = both(&|side| side.validation());
            let title = format!("validation {}", metric.title());
            row(title, values, &|v| metric.number(v), &|v| signed(metric, v));
        }
        let decimals = |n: usize| move |v: f64| format!("{v:.n$}").replace('-', "−");
        let whole = |v: f64| match v < 0.0 {
            true => format!("−{}", count(-v as u64)),
            false => count(v as u64),
        };
        if !self.metrics.first().is_some_and(Metric::is_loss) {
            let losses = both(&|s| Some(s.assessment.scores.loss));
            row("test loss".into(), losses, &decimals(4), &decimals(4));
        }
        row(
            "parameters".into(),
            both(&|s| Some(s.intact.result.parameters as f64)),
            &whole,
            &whole,
        );
        row("steps".into(), both(&|s| Some(s.intact.result.steps as f64)), &whole, &whole);
        let seconds = both(&|s| {
            let result = &s.intact.result;
            result.of_training(result.training_seconds)
        });
        row("training (s)".into(), seconds, &decimals(1), &decimals(1));
        table
    }

    /// Both curves: training loss, and the validation metric where there is one. Of many epochs some are
    /// left out, evenly, but never the last.
    pub fn curves(&self) -> Table {
        let epochs = self.sides.iter().map(|side| side.epochs.len()).max().unwrap_or(0);
        let step = epochs.div_ceil(MAX_EPOCHS).max(1);
        let mut table = Table::new().column("epoch", "epoch", Align::Right);
        for (key, title) in [("loss", "training loss"), ("validation", "validation")] {
            for side in ["first", "second"] {
                table =
                    table.column(format!("{key}_{side}"), format!("{title}, {side}"), Align::Right);
            }
        }
        for epoch in (1..=epochs).filter(|epoch| (epochs - epoch).is_multiple_of(step)) {
            let cells = |of: &dyn Fn(&EpochRecord) -> Option<(f64, String)>| {
                [0, 1].map(|i| {
                    let record = self.sides[i].epochs.get(epoch - 1).and_then(of);
                    record.map_or_else(Cell::none, |(value, text)| Cell::number(value, text))
                })
            };
            let mut row = vec![Cell::number(epoch, epoch.to_string())];
            row.extend(cells(&|e| Some((e.train_loss, format!("{:.4}", e.train_loss)))));
            row.extend(cells(&|e| {
                let value = e.validation_metric?;
                Some((value, self.metrics.first()?.number(value)))
            }));
            table.row(row);
        }
        table
    }

    /// How the test examples fall to both; None where answers are not simply right or wrong, or the
    /// runs were tested on other examples.
    pub fn examples(&self) -> Option<ExampleCounts> {
        let [first, second] = [0, 1].map(|i| &self.sides[i].assessment);
        if first.examples_hash != second.examples_hash {
            return None;
        }
        let (first, second) = (first.correct.as_ref()?, second.correct.as_ref()?);
        let Examples { arm_only, baseline_only, p } = Examples::of(Some(first), Some(second))?;
        let only = |a: &Flags, b: &Flags| -> Vec<usize> {
            (0..a.len()).filter(|i| a.get(*i) && !b.get(*i)).collect()
        };
        let right = (0..first.len()).filter(|i| first.get(*i)).count() as u64;
        Some(ExampleCounts {
            both: right - arm_only,
            neither: first.len() as u64 - right - baseline_only,
            first_only: only(first, second),
            second_only: only(second, first),
            p,
        })
    }

    /// The p-value of the paired bootstrap in words. None where the metric is not computed from sums
    /// over examples, or the runs were tested on other examples.
    pub fn bootstrap(&self) -> Option<String> {
        let [first, second] = [0, 1].map(|i| &self.sides[i].assessment);
        if first.examples_hash != second.examples_hash {
            return None;
        }
        bootstrap(first.statistics.as_ref(), second.statistics.as_ref()).map(p_value)
    }

    /// The recall of each class in both runs, one row a class, those with the
    /// largest difference first. Only `most` rows are made; with them comes the number of further
    /// classes. None where predictions are not classes, or the runs were tested on other examples.
    pub fn classes(&self, most: usize) -> Option<(Table, usize)> {
        let [first, second] = &self.sides;
        if first.assessment.examples_hash != second.assessment.examples_hash {
            return None;
        }
        let (first, second) = (first.confusion.as_ref()?, second.confusion.as_ref()?);
        if first.classes != second.classes {
            return None;
        }
        let shares = |class: usize| Some((class, first.recall(class)?, second.recall(class)?));
        let mut rows: Vec<(usize, f64, f64)> =
            (0..first.classes.len()).filter_map(shares).collect();
        // Classes with equal differences stay in the order of their labels.
        rows.sort_by(|(_, a, b), (_, c, d)| (d - c).abs().total_cmp(&(b - a).abs()));
        let more = rows.len().saturating_sub(most);
        rows.truncate(most);
        let metric = &RECALL;
        let mut table = Table::new()
            .column("class", "class", Align::Left)
            .column("examples", "examples", Align::Right)
            .column("first", "first (%)", Align::Right)
            .column("second", "second (%)", Align::Right)
            .column("difference", difference_title(metric), Align::Right);
        for (class, first_share, second_share) in rows {
            let (examples, by) = (first.examples(class), second_share - first_share);
            table.row(vec![
                Cell::text(first.classes[class].as_str()),
                Cell::number(examples, count(examples)),
                Cell::number(first_share, metric.number(first_share)),
                Cell::number(second_share, metric.number(second_share)),
                Cell::number(by, signed(metric, by)),
            ]);
        }
        Some((table, more))
    }
}

impl Side {
    /// Validation metric of the epoch whose weights were tested.
    fn validation(&self) -> Option<f64> {
        self.intact.result.tested_epoch(&self.epochs)?.validation_metric
    }
}

/// The test examples of two runs by who has them right.
pub struct ExampleCounts {
    pub both: u64,
    pub neither: u64,
    /// Places of examples in the test split.
    pub first_only: Vec<usize>,
    pub second_only: Vec<usize>,
    /// Of McNemar's exact test.
    pub p: f64,
}

impl ExampleCounts {
    /// One row per example on which the runs disagree, in the order of the split.
    pub fn disagreements(&self) -> Table {
        let mut table = Table::new().column("example", "example", Align::Right).column(
            "right",
            "right",
            Align::Left,
        );
        let first = self.first_only.iter().map(|example| (*example, "first"));
        let mut all: Vec<(usize, &str)> =
            first.chain(self.second_only.iter().map(|example| (*example, "second"))).collect();
        all.sort_unstable();
        for (example, right) in all {
            table.row(vec![Cell::number(example, example.to_string()), Cell::text(right)]);
        }
        table
    }

    /// The p-value in words.
    pub fn p_text(&self) -> String {
        p_value(self.p)
    }
}
