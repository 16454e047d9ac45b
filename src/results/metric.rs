//! Metrics and units of work as values: name, direction and how a number is printed. A metric is
//! computed from the outcomes of examples in its task.

/// A number that runs are compared by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// The name in records and titles.
    pub name: &'static str,
    /// Printed after a value; empty for a metric without unit.
    pub unit: &'static str,
    /// The unit of a difference of two values.
    pub difference_unit: &'static str,
    /// Factor from a stored to a printed value: 100 for a share shown as per cent.
    pub scale: f64,
    pub decimals: usize,
    pub better: Better,
}

/// The name of the metric that is the loss itself, the mean that training minimises.
pub const LOSS_NAME: &str = "loss";

/// Whether higher or lower values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

impl Better {
    /// The factor that makes higher values the better ones.
    pub fn sign(self) -> f64 {
        match self {
            Better::Higher => 1.0,
            Better::Lower => -1.0,
        }
    }
}

#[cfg(test)]
impl Metric {
    /// A sample for tests.
    pub const SHARE: Metric = Metric {
        name: "share",
        unit: "%",
        difference_unit: "points",
        scale: 100.0,
        decimals: 1,
        better: Better::Higher,
    };
}

impl Metric {
    /// Whether it is the loss itself, which then need not be shown twice.
    pub fn is_loss(&self) -> bool {
        self.name == LOSS_NAME
    }

    /// Whether `value` is better than `other`.
    pub fn is_better(&self, value: f64, other: f64) -> bool {
        match self.better {
            Better::Higher => value > other,
            Better::Lower => value < other,
        }
    }

    /// A stored value, or a difference of two, in the printed unit.
    pub fn shown(&self, value: f64) -> f64 {
        self.scale * value
    }

    /// The value without its unit: `82.4`.
    pub fn number(&self, value: f64) -> String {
        format!("{:.*}", self.decimals, self.shown(value))
    }

    /// The value with its unit: `82.4 %`, `36.5 BLEU`, `1.47 nats`.
    pub fn text(&self, value: f64) -> String {
        match self.unit {
            "" => self.number(value),
            unit => format!("{} {unit}", self.number(value)),
        }
    }

    /// The title of a column or axis: the name with the unit in brackets. A unit that equals the
    /// name is not repeated.
    pub fn title(&self) -> String {
        match self.unit.is_empty() || self.unit == self.name {
            true => self.name.to_string(),
            false => format!("{} ({})", self.name, self.unit),
        }
    }
}

/// The unit in which training work is counted: images, tokens, sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkUnit {
    pub singular: &'static str,
    pub plural: &'static str,
}

impl WorkUnit {
    /// The title of a throughput column: the plural and `/s`.
    pub fn per_second(&self) -> String {
        format!("{}/s", self.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Metric = Metric::SHARE;

    #[test]
    fn values_are_printed_with_their_unit() {
        let nats = Metric { name: "loss", unit: "nats", scale: 1.0, decimals: 2, ..SHARE };
        let named = Metric { name: "BLEU", unit: "BLEU", scale: 1.0, ..SHARE };
        let bare = Metric { name: "R²", unit: "", scale: 1.0, decimals: 3, ..SHARE };
        let shown = |metric: &Metric, value| (metric.title(), metric.text(value));
        assert_eq!(shown(&SHARE, 0.8237), ("share (%)".into(), "82.4 %".into()));
        assert_eq!(shown(&nats, 1.469), ("loss (nats)".into(), "1.47 nats".into()));
        assert_eq!(shown(&named, 36.52), ("BLEU".into(), "36.5 BLEU".into()));
        assert_eq!(shown(&bare, -0.25), ("R²".into(), "-0.250".into()));
    }

    #[test]
    fn better_follows_the_direction() {
        let lower = Metric { better: Better::Lower, ..SHARE };
        assert!(SHARE.is_better(0.5, 0.4) && !SHARE.is_better(0.4, 0.5));
        assert!(lower.is_better(0.4, 0.5) && !lower.is_better(0.5, 0.4));
        // An equal value is not better, so the earlier one is kept.
        assert!(!SHARE.is_better(0.5, 0.5) && !lower.is_better(0.5, 0.5));
        assert!(!SHARE.is_better(f64::NAN, 0.5) && !lower.is_better(f64::NAN, 0.5));
    }
}
