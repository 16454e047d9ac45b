//! A ladder of models of growing size, and the size at which it reaches another model's value.
//!
//! Through the rungs' means, made monotone, goes a monotone curve over the logarithm of the size. It
//! ends at the first and the last rung: nothing is said beyond them. Intervals come from leaving out
//! one seed at a time (the jackknife), so they hold the noise of the rungs, too.

use super::CONFIDENCE;
use super::distributions::Student;
use super::interval::Interval;
use super::spread::Spread;

/// Models of growing size, with the values of the same seeds. Higher values are better.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Parameters of each rung, ascending.
    sizes: Vec<f64>,
    /// The values of each rung, one a seed.
    values: Vec<Vec<f64>>,
}

/// Where a value lies on a ladder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// It is that of a model with so many parameters.
    At(f64),
    /// It is worse than that of the smallest model.
    Below,
    /// It is better than that of the largest model.
    Above,
}

/// An estimate with its interval at the level [`CONFIDENCE`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub value: f64,
    /// None for fewer than three seeds, and where the ladder ends so near that leaving out a seed leads
    /// beyond it.
    pub interval: Option<Interval>,
}

/// Fewest rungs: two points say nothing of the curve between them.
pub const FEWEST_RUNGS: usize = 3;

impl Ladder {
    /// From (parameters, value of each seed), in any order. None for fewer than [`FEWEST_RUNGS`] sizes,
    /// without seeds, or if rungs have different numbers of values. Rungs of one size count as one, with
    /// the mean of their values.
    pub fn new(rungs: Vec<(u64, Vec<f64>)>) -> Option<Ladder> {
        let mut rungs = rungs;
        rungs.sort_by_key(|(parameters, _)| *parameters);
        let seeds = rungs.first()?.1.len();
        let usable = |(parameters, values): &(u64, Vec<f64>)| {
            *parameters > 0 && values.len() == seeds && values.iter().all(|v| v.is_finite())
        };
        if seeds == 0 || !rungs.iter().all(usable) {
            return None;
        }
        let (mut sizes, mut values) = (Vec::new(), Vec::new());
        for of_size in rungs.chunk_by(|a, b| a.0 == b.0) {
            sizes.push(of_size[0].0 as f64);
            let mean = |seed: usize| {
                of_size.iter().map(|(_, values)| values[seed]).sum::<f64>() / of_size.len() as f64
            };
            values.push((0..seeds).map(mean).collect());
        }
        (sizes.len() >= FEWEST_RUNGS).then_some(Ladder { sizes, values })
    }

    /// The number of parameters at which the ladder has the mean of `values`, which are of the
    /// ladder's seeds. The interval is symmetric in the logarithm. It may reach
    /// beyond the ladder, which says no more than that the size may be there.
    pub fn equivalent(&self, values: &[f64]) -> (Place, Option<Interval>) {
        let place = self.curve(None).place(mean_without(values, None));
        let Place::At(size) = place else { return (place, None) };
        let of =
            |left_out| match self.curve(Some(left_out)).place(mean_without(values, Some(left_out)))
            {
                Place::At(size) => Some(size.ln()),
                Place::Below | Place::Above => None,
            };
        let interval = jackknife(values.len(), size.ln(), of);
        (place, interval.map(|i| Interval { low: i.low.exp(), high: i.high.exp() }))
    }

    /// How many parameters of a model of the ladder one additional parameter is worth: the difference
    /// of the equivalent sizes of `values` and `without`, over the `parameters` that the model of
    /// `values` has more. None where one of both lies beyond the ladder; without an interval where one
    /// may lie there.
    pub fn exchange_rate(
        &self,
        values: &[f64],
        without: &[f64],
        parameters: f64,
    ) -> Option<Estimate> {
        let rate = |left_out: Option<usize>| {
            let curve = self.curve(left_out);
            let size = |values: &[f64]| match curve.place(mean_without(values, left_out)) {
                Place::At(size) => Some(size),
                Place::Below | Place::Above => None,
            };
            Some((size(values)? - size(without)?) / parameters)
        };
        let value = rate(None)?;
        // Where a size may be beyond the ladder, nothing is known of how far.
        let is_known = |values: &[f64]| self.equivalent(values).1.is_some_and(|i| self.holds(i));
        let interval = (is_known(values) && is_known(without))
            .then(|| jackknife(values.len(), value, |left_out| rate(Some(left_out))))
            .flatten();
        Some(Estimate { value, interval })
    }

    /// Whether an interval of sizes lies on the ladder.
    fn holds(&self, interval: Interval) -> bool {
        let ends = self.sizes.first().zip(self.sizes.last());
        ends.is_some_and(|(least, most)| *least <= interval.low && interval.high <= *most)
    }

    /// Points of the curve (parameters, value), from the first rung to the last.
    pub fn points(&self, between: usize) -> Vec<(f64, f64)> {
        let curve = self.curve(None);
        let mut points = Vec::new();
        for segment in 0..curve.x.len() - 1 {
            let width = curve.x[segment + 1] - curve.x[segment];
            let part = |i: usize| curve.x[segment] + width * i as f64 / between as f64;
            points.extend((0..between).map(part).map(|x| (x.exp(), curve.at(segment, x))));
        }
        points.extend(curve.x.last().zip(curve.y.last()).map(|(x, y)| (x.exp(), *y)));
        points
    }

    fn curve(&self, left_out: Option<usize>) -> Curve {
        let means = self.values.iter().map(|values| mean_without(values, left_out));
        Curve::new(self.sizes.iter().map(|size| size.ln()).collect(), isotonic(means.collect()))
    }
}

fn mean_without(values: &[f64], left_out: Option<usize>) -> f64 {
    let kept = values.iter().enumerate().filter(|(i, _)| Some(*i) != left_out).map(|(_, v)| *v);
    let n = values.len() - usize::from(left_out.is_some());
    kept.sum::<f64>() / n as f64
}

/// The t interval of an estimate from its values without one seed each (Tukey's pseudo-values).
fn jackknife(
    seeds: usize,
    estimate: f64,
    without: impl Fn(usize) -> Option<f64>,
) -> Option<Interval> {
    // Of two seeds each pseudo-value is a single run, and their spread says next to nothing.
    if seeds < 3 {
        return None;
    }
    let n = seeds as f64;
    let pseudo: Option<Vec<f64>> =
        (0..seeds).map(|i| Some(n * estimate - (n - 1.0) * without(i)?)).collect();
    let sd = Spread::of(&pseudo?)?.sd.filter(|sd| *sd > 0.0)?;
    let half = Student::new(seeds - 1)?.quantile(0.5 + CONFIDENCE / 2.0) * sd / n.sqrt();
    Some(Interval { low: estimate - half, high: estimate + half })
}

/// The closest values, by least squares, that never fall: pool adjacent violators.
pub fn isotonic(values: Vec<f64>) -> Vec<f64> {
    // (mean, how many)
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for value in values {
        let mut block = (value, 1);
        while let Some(before) = blocks.last().copied().filter(|before| before.0 > block.0) {
            let n = before.1 + block.1;
            block = ((before.0 * before.1 as f64 + block.0 * block.1 as f64) / n as f64, n);
            blocks.pop();
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(mean, n)| vec![mean; n]).collect()
}

/// Piecewise cubic through points that never fall, which never falls either (Fritsch and Butland 1984;
/// SciPy's `PchipInterpolator`).
struct Curve {
    x: Vec<f64>,
    y: Vec<f64>,
    slopes: Vec<f64>,
}

impl Curve {
    /// At least three points with ascending `x`.
    fn new(x: Vec<f64>, y: Vec<f64>) -> Curve {
        let widths: Vec<f64> = x.windows(2).map(|x| x[1] - x[0]).collect();
        let secants: Vec<f64> =
            y.windows(2).zip(&widths).map(|(y, width)| (y[1] - y[0]) / width).collect();
        let inner = |i: usize| {
            let (before, after) = (secants[i - 1], secants[i]);
            if before <= 0.0 || after <= 0.0 {
                return 0.0;
            }
            let first = 2.0 * widths[i] + widths[i - 1];
            let second = widths[i] + 2.0 * widths[i - 1];
            (first + second) / (first / before + second / after)
        };
        let last = secants.len() - 1;
        let mut slopes = vec![end_slope([widths[0], widths[1]], [secants[0], secants[1]])];
        slopes.extend((1..=last).map(inner));
        slopes
            .push(end_slope([widths[last], widths[last - 1]], [secants[last], secants[last - 1]]));
        Curve { x, y, slopes }
    }

    /// The value at `x` in the segment between two points.
    fn at(&self, segment: usize, x: f64) -> f64 {
        let (left, right) = (segment, segment + 1);
        let width = self.x[right] - self.x[left];
        let t = (x - self.x[left]) / width;
        let (first, second) = (self.y[left], self.y[right]);
        let (start, end) = (width * self.slopes[left], width * self.slopes[right]);
        first * (1.0 + 2.0 * t) * (1.0 - t).powi(2)
            + start * t * (1.0 - t).powi(2)
            + second * t * t * (3.0 - 2.0 * t)
            + end * t * t * (t - 1.0)
    }

    /// Where the curve reaches a value first.
    fn place(&self, value: f64) -> Place {
        let last = self.y.len() - 1;
        if value > self.y[last] {
            return Place::Above;
        }
        // NaN is nowhere, and counts as worse.
        if value.is_nan() || value < self.y[0] {
            return Place::Below;
        }
        let segment = (0..last).find(|i| value <= self.y[i + 1]).unwrap_or(last - 1);
        let (mut low, mut high) = (self.x[segment], self.x[segment + 1]);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.at(segment, middle) < value { low = middle } else { high = middle }
        }
        Place::At(high.exp())
    }
}

/// The slope at an end, from the two widths and secants next to it: that of a parabola through three
/// points, kept from turning.
fn end_slope([width, next_width]: [f64; 2], [secant, next_secant]: [f64; 2]) -> f64 {
    let sum = width + next_width;
    let slope = ((width + sum) * secant - width * next_secant) / sum;
    if slope * secant <= 0.0 {
        0.0
    } else if secant * next_secant <= 0.0 && slope.abs() > 3.0 * secant.abs() {
        3.0 * secant
    } else {
        slope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(values: [f64; 4]) -> Ladder {
        let sizes = [100, 200, 400, 800];
        Ladder::new(sizes.into_iter().zip(values.map(|v| vec![v - 0.01, v, v + 0.01])).collect())
            .unwrap()
    }

    fn three(value: f64) -> [f64; 3] {
        [value - 0.02, value + 0.01, value + 0.01]
    }

    #[test]
    fn a_rung_is_equivalent_to_itself() {
        let ladder = ladder([0.1, 0.3, 0.4, 0.45]);
        for (size, value) in [(100.0, 0.1), (200.0, 0.3), (400.0, 0.4), (800.0, 0.45)] {
            let (place, _) = ladder.equivalent(&[value; 3]);
            let Place::At(found) = place else { panic!("{place:?}") };
            assert!((found / size - 1.0).abs() < 1e-9, "{found}");
        }
        let (place, interval) = ladder.equivalent(&three(0.35));
        let (Place::At(size), Some(interval)) = (place, interval) else { panic!("{place:?}") };
        assert!(size > 200.0 && size < 400.0 && interval.low < size && size < interval.high);
    }

    #[test]
    fn nothing_is_said_beyond_the_ladder() {
        let ladder = ladder([0.1, 0.3, 0.4, 0.45]);
        assert_eq!(ladder.equivalent(&[0.5; 3]), (Place::Above, None));
        assert_eq!(ladder.equivalent(&[0.05; 3]), (Place::Below, None));
        assert_eq!(ladder.equivalent(&[f64::NAN; 3]), (Place::Below, None));
        // Leaving out a seed leads beyond the end.
        let (place, interval) = ladder.equivalent(&[0.447, 0.43, 0.463]);
        assert!(matches!(place, Place::At(_)) && interval.is_none(), "{place:?} {interval:?}");
        assert_eq!(ladder.exchange_rate(&[0.5; 3], &[0.2; 3], 10.0), None);
    }

    #[test]
    fn a_ladder_that_falls_is_made_level() {
        let ladder = ladder([0.1, 0.4, 0.3, 0.45]);
        let level: Vec<f64> = ladder.points(1).into_iter().map(|(_, y)| y).collect();
        assert!((level[1] - 0.35).abs() < 1e-12 && (level[2] - 0.35).abs() < 1e-12, "{level:?}");
        let (place, _) = ladder.equivalent(&[0.35 - 1e-9; 3]);
        let Place::At(size) = place else { panic!("{place:?}") };
        assert!((size / 200.0 - 1.0).abs() < 1e-2, "the smallest size that reaches it, {size}");
        assert!(ladder.points(20).windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 <= p[1].1 + 1e-12));
    }

    #[test]
    fn the_exchange_rate_is_the_difference_of_sizes_over_the_parameters() {
        let ladder = ladder([0.1, 0.3, 0.4, 0.45]);
        let rate = ladder.exchange_rate(&[0.4; 3], &[0.3; 3], 50.0).unwrap();
        assert!((rate.value - 4.0).abs() < 1e-6, "{rate:?}");
        let near = |value: f64| [value - 0.001, value, value + 0.001];
        let rate = ladder.exchange_rate(&near(0.4), &near(0.3), 50.0).unwrap();
        assert!(rate.interval.unwrap().contains(4.0));
        // One of both may lie beyond the ladder.
        let rate = ladder.exchange_rate(&[0.35, 0.53, 0.44], &near(0.3), 50.0).unwrap();
        assert_eq!(rate.interval, None);
    }

    #[test]
    fn what_is_no_ladder_is_none() {
        let rungs = |sizes: &[u64]| sizes.iter().map(|s| (*s, vec![*s as f64; 2])).collect();
        assert!(Ladder::new(rungs(&[1, 2])).is_none());
        assert!(Ladder::new(rungs(&[1, 2, 2])).is_none(), "two sizes");
        assert!(Ladder::new(rungs(&[0, 2, 3])).is_none());
        assert!(Ladder::new(rungs(&[3, 1, 2])).is_some());
        assert!(Ladder::new(vec![(1, vec![]), (2, vec![]), (3, vec![])]).is_none());
        assert!(Ladder::new(vec![(1, vec![0.0]), (2, vec![0.0, 1.0]), (3, vec![0.0])]).is_none());
        assert!(Ladder::new(vec![(1, vec![0.0]), (2, vec![f64::NAN]), (3, vec![0.0])]).is_none());
        // Of two seeds there is no interval.
        let two = Ladder::new(rungs(&[1, 2, 4])).unwrap();
        let (place, interval) = two.equivalent(&[1.5, 1.7]);
        assert!(matches!(place, Place::At(_)) && interval.is_none());
    }
}
