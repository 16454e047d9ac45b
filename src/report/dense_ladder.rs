//! Dense-equivalent sizes: the arms with increments placed on a ladder of dense arms of growing size.

use std::collections::{BTreeMap, BTreeSet};

use super::numbers::level;
use super::statistics::{Estimate, FEWEST_RUNGS, Interval, Ladder, Place};
use super::summary::{ArmSummary, FinishedRun, Summary, is_same_test};
use super::table::{Align, Cell, Table, count};
use super::text::code;
use crate::results::{Better, VariantRecord};
use crate::spec::{Method, Rank, RunSpec, flatten, last_field};

/// Dense arms that differ from a baseline only in the size of the model, with the baseline.
pub struct DenseLadder<'a> {
    /// What the arms differ in, the last part of each field.
    pub fields: Vec<String>,
    /// By growing size, the baseline included.
    pub rungs: Vec<&'a ArmSummary>,
    baseline: &'a ArmSummary,
}

/// An arm with increments on a ladder.
pub struct Placed<'a> {
    pub arm: &'a ArmSummary,
    pub ladder: usize,
    /// The seeds that the arm and all rungs have finished.
    pub seeds: usize,
    pub place: Place,
    pub interval: Option<Interval>,
    /// Parameters of the ladder that one parameter of the increments is worth, over the same layers
    /// without increments.
    pub rate: Option<Estimate>,
}

/// The fields that say how large a model is.
const SIZES: [&str; 4] = ["model.dim", "model.depth", "model.heads", "model.mlp_ratio"];

impl Summary {
    /// The ladders of at least [`FEWEST_RUNGS`] sizes. Arms that differ from the baseline in one field
    /// in common belong to one ladder.
    pub fn ladders(&self) -> Vec<DenseLadder<'_>> {
        let is_finished = |arm: &&ArmSummary| !arm.runs.is_empty();
        let baselines = self.arms.iter().filter(|a| a.variant.arm == self.record.baseline);
        baselines.filter(is_finished).flat_map(|baseline| self.ladders_of(baseline)).collect()
    }

    fn ladders_of<'a>(&'a self, baseline: &'a ArmSummary) -> Vec<DenseLadder<'a>> {
        if baseline.variant.spec.method != Method::Dense {
            return Vec::new();
        }
        let own = self.untuned(&baseline.variant.spec);
        let mut groups: Vec<(BTreeSet<String>, Vec<&ArmSummary>)> = Vec::new();
        for arm in self.compared_with(baseline).filter(|arm| !arm.runs.is_empty()) {
            let fields = differing(&own, &self.untuned(&arm.variant.spec));
            if fields.is_empty() || !fields.iter().all(|field| SIZES.contains(&field.as_str())) {
                continue;
            }
            // All groups with a field in common become one.
            let (mut fields, mut arms) = (fields, vec![arm]);
            groups.retain(|(other, members)| {
                let is_apart = other.is_disjoint(&fields);
                if !is_apart {
                    fields.extend(other.iter().cloned());
                    arms.extend(members);
                }
                is_apart
            });
            groups.push((fields, arms));
        }
        let ladders = groups.into_iter().filter_map(|(fields, mut rungs)| {
            rungs.push(baseline);
            rungs.sort_by_key(|arm| arm.variant.parameters);
            let sizes: BTreeSet<u64> = rungs.iter().map(|arm| arm.variant.parameters).collect();
            let fields = fields.iter().map(|field| last_field(field).to_string()).collect();
            (sizes.len() >= FEWEST_RUNGS).then_some(DenseLadder { fields, rungs, baseline })
        });
        ladders.collect()
    }

    /// The arms that are compared with this baseline.
    fn compared_with<'a>(
        &'a self,
        baseline: &'a ArmSummary,
    ) -> impl Iterator<Item = &'a ArmSummary> {
        self.compared_arms().filter(|arm| {
            let of_arm = self.record.baseline_of(&arm.variant);
            of_arm.is_some_and(|of_arm| of_arm.label == baseline.variant.label)
        })
    }

    /// Every arm with increments on every ladder of its baseline.
    pub fn placed<'a>(&'a self, ladders: &[DenseLadder<'a>]) -> Vec<Placed<'a>> {
        let mut placed = Vec::new();
        for (number, ladder) in ladders.iter().enumerate() {
            for arm in self.compared_with(ladder.baseline) {
                if arm.variant.spec.method == Method::Vlora {
                    placed.extend(self.place(ladder, number, arm));
                }
            }
        }
        placed
    }

    fn place<'a>(
        &'a self,
        ladder: &DenseLadder,
        number: usize,
        arm: &'a ArmSummary,
    ) -> Option<Placed<'a>> {
        let (rungs, [values]) = self.aligned(ladder, [arm])?;
        let on = Ladder::new(rungs)?;
        let (place, interval) = on.equivalent(&values);
        let (seeds, rate) = (values.len(), self.rate(ladder, arm));
        Some(Placed { arm, ladder: number, seeds, place, interval, rate })
    }

    /// The fields of a spec without those that were tuned.
    fn untuned(&self, spec: &RunSpec) -> BTreeMap<String, String> {
        let mut fields = flatten(spec);
        fields.retain(|field, _| !self.record.tuned.contains(field));
        fields
    }

    /// What is left of an arm's spec without its increments: which layers share weights, and the rest.
    fn bare(&self, variant: &VariantRecord) -> BTreeMap<String, String> {
        let mut spec = variant.spec.clone();
        spec.training.increment_learning_rate = None;
        spec.training.increment_weight_decay = None;
        if let Some(vlora) = &mut spec.vlora {
            vlora.rank = Rank::Of(0);
            vlora.alpha = 1.0;
            vlora.init = Default::default();
            vlora.increment_on = Default::default();
            for own in &mut vlora.targets {
                (own.rank, own.alpha) = (None, None);
            }
        }
        self.untuned(&spec)
    }

    /// The exchange rate of an arm's increments, if there is an arm with the same layers shared.
    fn rate(&self, ladder: &DenseLadder, arm: &ArmSummary) -> Option<Estimate> {
        let shared = self.compared_with(ladder.baseline).find(|other| {
            is_shared(&other.variant)
                && !is_shared(&arm.variant)
                && self.bare(&other.variant) == self.bare(&arm.variant)
        })?;
        let (rungs, [values, without]) = self.aligned(ladder, [arm, shared])?;
        let more = arm.variant.parameters.checked_sub(shared.variant.parameters);
        let more = more.filter(|more| *more > 0)?;
        Ladder::new(rungs)?.exchange_rate(&values, &without, more as f64)
    }

    /// The metric of every rung and of some arms, of the seeds that all of them have finished on the
    /// same data; higher is better.
    #[allow(clippy::type_complexity)]
    fn aligned<const N: usize>(
        &self,
        ladder: &DenseLadder,
        arms: [&ArmSummary; N],
    ) -> Option<(Vec<(u64, Vec<f64>)>, [Vec<f64>; N])> {
        let sign = match self.metric().better {
            Better::Higher => 1.0,
            Better::Lower => -1.0,
        };
        let all: Vec<&ArmSummary> = ladder.rungs.iter().copied().chain(arms).collect();
        let first = all.first()?;
        let mut columns: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
        for run in &first.runs {
            let same = |arm: &&ArmSummary| {
                arm.runs.iter().find(|other| is_same_test(run, other)).map(metric_of)
            };
            let Some(values) = all.iter().map(same).collect::<Option<Vec<f64>>>() else { continue };
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(sign * value));
        }
        let of_arms = columns.split_off(ladder.rungs.len()).try_into().ok()?;
        let sizes = ladder.rungs.iter().map(|arm| arm.variant.parameters);
        Some((sizes.zip(columns).collect(), of_arms))
    }

    /// Points (parameters, metric) of the curve through a ladder's means.
    pub fn ladder_points(&self, ladder: &DenseLadder) -> Vec<(f64, f64)> {
        const BETWEEN: usize = 12;
        let Some((rungs, [])) = self.aligned(ladder, []) else { return Vec::new() };
        let sign = match self.metric().better {
            Better::Higher => 1.0,
            Better::Lower => -1.0,
        };
        let points = Ladder::new(rungs).map(|on| on.points(BETWEEN)).unwrap_or_default();
        points.into_iter().map(|(size, value)| (size, sign * value)).collect()
    }

    /// One row an arm with increments and ladder; None without a ladder or without such an arm.
    pub fn equivalent_table(&self) -> Option<Table> {
        let ladders = self.ladders();
        let placed = self.placed(&ladders);
        if placed.is_empty() {
            return None;
        }
        let right = Align::Right;
        let mut table = Table::new()
            .column("arm", "arm", Align::Left)
            .column_if(ladders.len() > 1, "ladder", "ladder", Align::Left)
            .hidden("ladder_baseline")
            .column("parameters", "parameters", right)
            .column("equivalent", "dense equivalent", right)
            .hidden("beyond")
            .hidden("equivalent_low")
            .hidden("equivalent_high")
            .column_for_people(format!("{} interval", level()), right)
            .column("ratio", "equivalent / own", right)
            .column("rate", "exchange rate", right)
            .hidden("rate_low")
            .hidden("rate_high")
            .column_for_people(format!("its {} interval", level()), right)
            .column("seeds", "seeds", right);
        for placed in &placed {
            let ladder = &ladders[placed.ladder];
            let full = |value: Option<f64>| {
                value.map_or_else(Cell::none, |v| Cell::number(v, v.to_string()))
            };
            let (own, interval) = (placed.arm.variant.parameters, placed.interval);
            let [low, high] = ladder.bounds(interval);
            let (size, beyond, text) = ladder.shown(placed.place);
            let rate = placed.rate.map(|rate| rate.value);
            let rates = placed.rate.and_then(|rate| rate.interval);
            let two = |i: Interval, text: &dyn Fn(f64) -> String| {
                Cell::shown(format!("{} to {}", text(i.low), text(i.high)))
            };
            table.row(vec![
                Cell::text(&placed.arm.variant.label),
                Cell::text(ladder.fields.join(", ")),
                Cell::text(&ladder.baseline.variant.label),
                Cell::number(own, count(own)),
                match size {
                    Some(size) => Cell::number(size, text),
                    None => Cell::shown(text),
                },
                beyond.map_or_else(Cell::none, Cell::text),
                full(low),
                full(high),
                interval.map_or_else(Cell::none, |_| {
                    let [below, above] =
                        [Place::Below, Place::Above].map(|place| ladder.shown(place).2);
                    let text = |bound: Option<f64>, beyond: String| bound.map_or(beyond, rounded);
                    Cell::shown(format!("{} to {}", text(low, below), text(high, above)))
                }),
                size.map_or_else(Cell::none, |size| {
                    let ratio = size / own as f64;
                    Cell::number(ratio, format!("{ratio:.2}"))
                }),
                rate.map_or_else(Cell::none, |rate| Cell::number(rate, decimal(rate))),
                full(rates.map(|i| i.low)),
                full(rates.map(|i| i.high)),
                rates.map_or_else(Cell::none, |i| two(i, &decimal)),
                Cell::number(placed.seeds, placed.seeds.to_string()),
            ]);
        }
        Some(table)
    }

    /// How the table of dense-equivalent sizes is read, as Markdown.
    pub fn equivalent_notes(&self) -> Vec<String> {
        let ladders = self.ladders();
        let metric = self.metric().name;
        let mut notes = vec![format!(
            "The dense equivalent is the number of parameters at which dense models reach the same test \
             {metric}, by a monotone curve over the logarithm of the size. Nothing is said beyond the \
             smallest and the largest dense model. Intervals leave out one seed at a time, of the arm and \
             of all dense models."
        )];
        for ladder in &ladders {
            let labels: Vec<String> = ladder
                .rungs
                .iter()
                .map(|arm| {
                    format!("{} ({})", code(&arm.variant.label), count(arm.variant.parameters))
                })
                .collect();
            notes.push(format!(
                "Dense models that differ in {}: {}.",
                ladder.fields.join(", "),
                labels.join(", ")
            ));
        }
        if self.placed(&ladders).iter().any(|placed| placed.rate.is_some()) {
            notes.push(
                "The exchange rate is how many parameters of a dense model one parameter of the \
                 increments is worth: the dense equivalent minus that of the same layers shared without \
                 increments, over the parameters of the increments."
                    .into(),
            );
        }
        notes
    }
}

impl DenseLadder<'_> {
    /// The bounds of an interval of sizes, as far as they lie on the ladder.
    fn bounds(&self, interval: Option<Interval>) -> [Option<f64>; 2] {
        let size = |arm: Option<&&ArmSummary>| arm.map(|arm| arm.variant.parameters as f64);
        let (smallest, largest) = (size(self.rungs.first()), size(self.rungs.last()));
        let is_on = |bound: &f64| {
            smallest.is_some_and(|s| s <= *bound) && largest.is_some_and(|l| *bound <= l)
        };
        [interval.map(|i| i.low).filter(is_on), interval.map(|i| i.high).filter(is_on)]
    }

    /// A place as a number, as a word for programs, and as text.
    fn shown(&self, place: Place) -> (Option<f64>, Option<&'static str>, String) {
        let parameters = |arm: Option<&&ArmSummary>| arm.map_or(0, |arm| arm.variant.parameters);
        match place {
            Place::At(size) => (Some(size), None, rounded(size)),
            Place::Below => {
                (None, Some("below"), format!("below {}", count(parameters(self.rungs.first()))))
            }
            Place::Above => {
                (None, Some("above"), format!("above {}", count(parameters(self.rungs.last()))))
            }
        }
    }
}

fn metric_of(run: &FinishedRun) -> f64 {
    run.result.test_metric
}

/// Parameters to three digits: more would say more than the curve knows.
fn rounded(parameters: f64) -> String {
    let unit = 10f64.powf((parameters.max(1.0).log10().floor() - 2.0).max(0.0));
    count(((parameters / unit).round() * unit) as u64)
}

fn decimal(value: f64) -> String {
    format!("{value:.1}").replace('-', "−")
}

/// The fields in which two specs differ.
fn differing(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> BTreeSet<String> {
    let fields = a.keys().chain(b.keys());
    fields.filter(|field| a.get(*field) != b.get(*field)).cloned().collect()
}

/// Whether its layers are shared without any increment.
fn is_shared(variant: &VariantRecord) -> bool {
    let Some(vlora) = &variant.spec.vlora else { return false };
    let none = Rank::Of(0);
    vlora.targets.iter().all(|own| own.rank.unwrap_or(vlora.rank) == none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_three_digits() {
        let got = [7.4, 123.0, 1_234.0, 63_754.0, 23_751_400.0].map(rounded);
        assert_eq!(got, ["7", "123", "1,230", "63,800", "23,800,000"]);
        assert_eq!(decimal(-1.26), "−1.3");
    }
}
