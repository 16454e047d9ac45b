//! How statistics of a metric are printed.

use super::statistics::{CONFIDENCE, Interval, Spread};
use super::table::percent;
use crate::results::Metric;

/// `81.3 ± 0.4` in the metric's unit.
pub fn plus_minus(metric: &Metric, s: Spread) -> String {
    match s.sd {
        Some(sd) => format!("{} ± {}", number(metric, s.mean), number(metric, sd)),
        None => number(metric, s.mean),
    }
}

/// A difference with its sign: `+0.4`, `−2.1`. What is rounded to zero is `+0.0`.
pub fn signed(metric: &Metric, value: f64) -> String {
    let text = number(metric, value);
    let is_zero = text.chars().all(|c| !c.is_ascii_digit() || c == '0');
    match text.strip_prefix('−') {
        Some(digits) if is_zero => format!("+{digits}"),
        Some(_) => text,
        None => format!("+{text}"),
    }
}

/// The title of a column of differences, with their unit.
pub fn difference_title(metric: &Metric) -> String {
    match metric.difference_unit {
        "" => "difference".to_string(),
        unit => format!("difference ({unit})"),
    }
}

/// `1 seed`, `3 seeds`.
pub fn seeds(n: usize) -> String {
    format!("{n} {}", if n == 1 { "seed" } else { "seeds" })
}

/// The confidence level of intervals: `95 %`.
pub fn level() -> String {
    percent(CONFIDENCE).replace(".0", "")
}

/// `−2.9 to −1.3`.
pub fn interval(metric: &Metric, interval: Interval) -> String {
    format!("{} to {}", signed(metric, interval.low), signed(metric, interval.high))
}

/// `−2.1 (−2.9 to −1.3)`, or the mean alone.
pub fn mean_and_interval(metric: &Metric, mean: f64, bounds: Option<Interval>) -> String {
    let bounds = bounds.map_or(String::new(), |bounds| format!(" ({})", interval(metric, bounds)));
    format!("{}{bounds}", signed(metric, mean))
}

/// `0.031`; `< 0.001` for smaller ones.
pub fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "< 0.001".into(),
        p if p < 0.1 => format!("{p:.3}"),
        p => format!("{p:.2}"),
    }
}

fn number(metric: &Metric, value: f64) -> String {
    metric.number(value).replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_with_their_sign_and_unit() {
        let metric = Metric::SHARE;
        let spread = |sd| Spread { n: 2, mean: -0.034, sd };
        assert_eq!(plus_minus(&metric, spread(Some(0.0014))), "−3.4 ± 0.1");
        assert_eq!(plus_minus(&metric, spread(None)), "−3.4");
        assert_eq!(signed(&metric, 0.0), "+0.0");
        assert_eq!(signed(&metric, -1e-17), "+0.0");
        assert_eq!(signed(&metric, -0.0006), "−0.1");
        assert_eq!(
            (level(), seeds(1), seeds(6)),
            ("95 %".into(), "1 seed".into(), "6 seeds".into())
        );
        assert_eq!(interval(&metric, Interval { low: -0.047, high: 0.021 }), "−4.7 to +2.1");
        let got = [0.0004, 0.03125, 0.0996, 0.25, 1.0].map(p_value);
        assert_eq!(got, ["< 0.001", "0.031", "0.100", "0.25", "1.00"]);
    }
}
