//! Quartiles of measurements.

/// First quartile, median and third quartile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    pub first: f64,
    pub median: f64,
    pub third: f64,
}

impl Quartiles {
    /// Linear interpolation between neighbours, as numpy does by default. None for no values.
    pub fn of(mut values: Vec<f64>) -> Option<Quartiles> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Quartiles { first: at(0.25), median: at(0.5), third: at(0.75) })
    }

    /// The quartiles of `amount` divided by each value.
    pub fn dividing(self, amount: f64) -> Quartiles {
        let Quartiles { first, median, third } = self;
        Quartiles { first: amount / third, median: amount / median, third: amount / first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy.percentile([7, 1, 4, 2], [25, 50, 75]).
    #[test]
    fn quartiles_equal_those_of_numpy() {
        let got = Quartiles::of(vec![7.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!(got, Quartiles { first: 1.75, median: 3.0, third: 4.75 });
        let one = Quartiles::of(vec![5.0]).unwrap();
        assert_eq!(one, Quartiles { first: 5.0, median: 5.0, third: 5.0 });
        assert_eq!(Quartiles::of(Vec::new()), None);
        let rate = Quartiles { first: 1.0, median: 2.0, third: 4.0 }.dividing(8.0);
        assert_eq!(rate, Quartiles { first: 2.0, median: 4.0, third: 8.0 });
    }
}
