//! The table of dense-equivalent sizes.

use super::dense_ladder::DenseLadder;
use super::numbers::level;
use super::statistics::{Interval, Place};
use super::summary::{ArmSummary, Summary};
use super::table::{Align, Cell, Table, count};
use super::text::code;

impl Summary {
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
            let (parameters, interval) = (placed.arm.variant.parameters, placed.interval);
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
                Cell::number(parameters, count(parameters)),
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
                    let ratio = size / parameters as f64;
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

/// Parameters to three digits: more would say more than the curve knows.
fn rounded(parameters: f64) -> String {
    let unit = 10f64.powf((parameters.max(1.0).log10().floor() - 2.0).max(0.0));
    count(((parameters / unit).round() * unit) as u64)
}

fn decimal(value: f64) -> String {
    format!("{value:.1}").replace('-', "−")
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
