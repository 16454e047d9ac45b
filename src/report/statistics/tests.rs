//! Against SciPy and statsmodels (scripts/reference/make_statistics_fixtures.py) and closed forms.

use serde_json::Value;

use super::*;

fn fixtures(section: &str) -> Vec<Value> {
    let text = include_str!("../../../tests/fixtures/statistics.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[section].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[track_caller]
fn near(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance * want.abs().max(1e-3), "{got}, SciPy has {want}");
}

#[test]
fn paired_tests_equal_those_of_scipy() {
    for case in fixtures("paired") {
        let differences = numbers(&case["differences"]);
        let interval = paired_interval(&differences).unwrap();
        let want = numbers(&case["interval"]);
        near(interval.low, want[0], 1e-9);
        near(interval.high, want[1], 1e-9);
        near(sign_flip(&differences).unwrap(), number(&case["sign_flip"]), 1e-12);
        let tested = non_inferiority(&differences, number(&case["margin"])).unwrap();
        near(tested.p, number(&case["non_inferiority_p"]), 1e-8);
        near(tested.bound, number(&case["non_inferiority_bound"]), 1e-9);
        assert_eq!(tested.holds(), tested.bound > -number(&case["margin"]));
    }
}

#[test]
fn tests_of_counts_and_of_several_comparisons_equal_those_of_statsmodels() {
    for case in fixtures("mcnemar") {
        let count = |key: &str| case[key].as_u64().unwrap();
        near(mcnemar(count("first"), count("second")), number(&case["p"]), 1e-9);
        assert_eq!(
            mcnemar(count("first"), count("second")),
            mcnemar(count("second"), count("first"))
        );
    }
    for case in fixtures("holm") {
        let got = holm(&numbers(&case["p"]));
        let want = numbers(&case["adjusted"]);
        assert_eq!(got.len(), want.len());
        got.iter().zip(&want).for_each(|(got, want)| near(*got, *want, 1e-12));
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn plans_equal_those_of_scipy_and_statsmodels() {
    for case in fixtures("detectable") {
        let seeds = case["seeds"].as_u64().unwrap() as usize;
        let got = detectable(seeds, number(&case["sd"])).unwrap();
        near(got, number(&case["difference"]), 1e-4);
    }
    for case in fixtures("seeds_for_margin") {
        let got = seeds_for_margin(number(&case["margin"]), number(&case["sd"]));
        assert_eq!(got, Some(case["seeds"].as_u64().unwrap() as usize), "{case}");
    }
    assert_eq!((detectable(0, 1.0), detectable(1, 1.0)), (None, None));
    assert_eq!(seeds_for_margin(1e-6, 1.0), None);
}

#[test]
fn the_smallest_p_value_of_the_sign_flip_test_is_that_of_differences_of_one_sign() {
    for n in 1..=22 {
        let differences: Vec<f64> = (1..=n).map(|i| 0.1 * f64::from(i)).collect();
        assert_eq!(sign_flip(&differences), Some(smallest_p(n as usize)), "{n}");
        let negative: Vec<f64> = differences.iter().map(|d| -d).collect();
        assert_eq!(sign_flip(&negative), Some(smallest_p(n as usize)));
    }
    assert_eq!((smallest_p(0), smallest_p(1), smallest_p(6)), (1.0, 1.0, 0.03125));
    assert_eq!(smallest_p(5), 0.0625, "no five seeds are significant");
    // Two comparisons of six seeds cannot be significant, either.
    assert_eq!(holm(&[smallest_p(6); 2]), [0.0625; 2]);
}

/// Equal differences are equal sums, however they are rounded.
#[test]
fn ties_are_counted_as_ties() {
    assert_eq!(sign_flip(&[0.1, 0.2, 0.3, -0.6]), Some(1.0));
    // Of the eight sums, ±0.6 and twice 0: the observed one is the largest.
    assert_eq!(sign_flip(&[0.1, 0.2, 0.3]), Some(0.25));
    assert_eq!(sign_flip(&[0.3, 0.3, -0.3]), Some(1.0));
}

/// Both ways to the p-value, and all choices of signs one by one.
#[test]
fn few_and_many_differences_are_counted_alike() {
    let few: Vec<f64> = (0..13).map(|i| 0.3 * f64::from(i * i % 7) - 0.4).collect();
    let observed = few.iter().sum::<f64>().abs() - 1e-12;
    let sum = |signs: u32| -> f64 {
        few.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 0 { *d } else { -d }).sum()
    };
    let extreme = (0..1u32 << 13).filter(|signs| sum(*signs).abs() >= observed).count();
    let p = extreme as f64 / f64::from(1u32 << 13);
    assert!(p > 0.1 && p < 0.6, "{p} tells nothing");
    assert_eq!(sign_flip(&few), Some(p));
    // Differences of zero change no sum, but are drawn.
    let padded = [few, vec![0.0; 20]].concat();
    let drawn = sign_flip(&padded).unwrap();
    assert!((drawn - p).abs() < 4.0 * (p * (1.0 - p) / 1e5).sqrt(), "{drawn}, exactly {p}");
    assert_eq!(sign_flip(&padded), Some(drawn));
    assert_eq!(sign_flip(&[1.0; 41]), Some(smallest_p(41)));
}

#[test]
fn what_has_no_statistic_has_none() {
    assert_eq!(sign_flip(&[]), None);
    assert_eq!(sign_flip(&[1.0, f64::NAN]), None);
    for few in [&[][..], &[1.0], &[0.5, 0.5], &[0.1 + 0.2, 0.3], &[1.0, f64::NAN], &[0.0, 0.0]] {
        assert_eq!(paired_interval(few), None, "{few:?}");
        assert_eq!(non_inferiority(few, 0.1), None, "{few:?}");
    }
}

#[test]
fn the_curve_of_a_ladder_equals_that_of_scipy() {
    for case in fixtures("ladder") {
        let sizes = numbers(&case["sizes"]);
        let values = numbers(&case["values"]);
        let rungs = sizes.iter().zip(&values).map(|(size, value)| (*size as u64, vec![*value]));
        let ladder = Ladder::new(rungs.collect()).unwrap();
        let points = ladder.points(4);
        let want: Vec<Vec<f64>> = case["points"].as_array().unwrap().iter().map(numbers).collect();
        assert_eq!(points.len(), want.len());
        for ((size, value), want) in points.iter().zip(&want) {
            near(*size, want[0], 1e-9);
            near(*value, want[1], 1e-9);
            // And back, to the smallest size with this value. Level parts are level up to rounding.
            if let (Place::At(size), _) = ladder.equivalent(&[want[1] - 1e-9]) {
                assert!(size <= want[0] * (1.0 + 1e-6), "{size} {want:?}");
            }
        }
    }
}
