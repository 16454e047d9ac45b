#!/usr/bin/env python3
"""Makes tests/fixtures/statistics.json with SciPy and statsmodels: what the report's statistics are held to.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_statistics_fixtures.py
"""

import json
import pathlib

import numpy as np
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/statistics.json"


def paired(differences, margin):
    d = np.array(differences)
    mean, error, n = d.mean(), d.std(ddof=1) / np.sqrt(len(d)), len(d)
    interval = stats.t.interval(0.95, n - 1, loc=mean, scale=error)
    one_sided = stats.ttest_1samp(d, -margin, alternative="greater")
    # All 2^n choices of signs.
    flipped = stats.permutation_test(
        (d,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )  # fmt: skip
    return {
        "differences": differences,
        "interval": list(interval),
        "sign_flip": flipped.pvalue,
        "margin": margin,
        "non_inferiority_p": one_sided.pvalue,
        "non_inferiority_bound": mean - stats.t.ppf(0.95, n - 1) * error,
    }


def seeds_for_margin(margin, sd):
    for n in range(2, 100_000):
        if stats.nct.sf(stats.t.ppf(0.95, n - 1), n - 1, margin / sd * np.sqrt(n)) >= 0.8:
            return n


def ladder(sizes, values):
    # A monotone cubic through monotone means, over the logarithm of the size; three points between two rungs.
    x = np.log(sizes)
    curve = PchipInterpolator(x, isotonic_regression(values).x)
    at = [a + (b - a) * i / 4 for a, b in zip(x, x[1:]) for i in range(4)] + [x[-1]]
    return {"sizes": sizes, "values": values, "points": [[float(np.exp(t)), float(curve(t))] for t in at]}


def main():
    random = np.random.default_rng(0)
    draws = lambda n, scale, shift: [float(x) for x in np.round(scale * random.standard_normal(n) + shift, 4)]
    cases = [
        paired([0.01, -0.02], 0.005),
        paired([-0.034, -0.029, -0.038], 0.01),
        # Ties among the sums of signs.
        paired([1.0, 1.0, -1.0, 1.0], 0.5),
        # A difference of zero.
        paired([0.0, 0.2, -0.1, 0.3, 0.1], 0.1),
        paired(draws(6, 0.01, 0.02), 0.01),
        paired(draws(10, 0.01, -0.002), 0.01),
        paired(draws(15, 1.0, 0.3), 0.25),
        paired([1e6 + x for x in draws(6, 1e-2, 0.0)], 1.0),
    ]
    tables = [(0, 0), (1, 0), (5, 5), (3, 12), (40, 11), (310, 250), (4000, 4100), (60000, 61000)]
    p_values = [[0.03], [0.01, 0.04, 0.03], [0.2, 0.001, 0.9, 0.02, 0.02], [0.5, 0.6, 0.04]]
    plans = [(2, 1.0), (3, 0.4), (5, 1.2), (6, 0.01), (10, 0.5), (30, 2.0), (300, 1.0)]
    margins = [(1.0, 0.2), (0.5, 0.5), (0.01, 0.02), (0.3, 3.0)]
    found = {
        "paired": cases,
        "mcnemar": [
            {"first": b, "second": c, "p": float(mcnemar([[0, b], [c, 0]], exact=True).pvalue) if b + c else 1.0}
            for b, c in tables
        ],
        "holm": [{"p": p, "adjusted": list(multipletests(p, method="holm")[1])} for p in p_values],
        "detectable": [
            {"seeds": n, "sd": sd,
             "difference": sd * float(TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided"))}
            for n, sd in plans
        ],
        "seeds_for_margin": [{"margin": m, "sd": sd, "seeds": seeds_for_margin(m, sd)} for m, sd in margins],
        "ladder": [
            ladder([100, 200, 400, 800], [0.1, 0.3, 0.4, 0.45]),
            ladder([100, 150, 400, 500, 5000], [-3.0, -1.0, -1.4, -1.2, -0.3]),
            ladder([20000, 60000, 90000], [0.5, 0.52, 0.9]),
            ladder([10, 20, 30, 40], [0.9, 0.8, 0.7, 0.6]),
            ladder([10, 20, 1000], [0.1, 0.9, 0.9]),
        ],
    }  # fmt: skip
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{OUT.name}: {len(cases)} cases of differences, {len(tables)} of McNemar, {len(p_values)} of Holm")


if __name__ == "__main__":
    main()
