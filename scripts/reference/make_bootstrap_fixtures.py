#!/usr/bin/env python3
"""Makes tests/fixtures/translation/bootstrap.json: the p-values of sacrebleu's paired bootstrap.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_bootstrap_fixtures.py

Each corpus has two systems, whose translations are the references with words dropped, doubled, replaced and
moved, the second system's as often as the first's or more often. `bleu-13a` and `ter` hold what each sentence
adds (as in scores.json) for `first` and `second`, both scores, and `p`, sacrebleu's p-value of 20,000 resamples,
which is known to about 0.003.

`--seed` and `--out` write other corpora elsewhere.
"""

import argparse
import json
import pathlib
import random

from make_translation_fixtures import METRICS, join, noisy, word
from sacrebleu.significance import PairedTest

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/translation/bootstrap.json"
SENTENCES = 60
RESAMPLES = 20_000
# Changes of the first system, and of the second.
RATES = [(0.3, 0.3), (0.3, 0.34), (0.3, 0.4), (0.2, 0.4), (0.1, 0.12)]


def corpus(rng, rates):
    words = [[word(rng) for _ in range(rng.randint(1, 14))] for _ in range(SENTENCES)]
    references = [join(rng, own) for own in words]
    systems = [[join(rng, noisy(rng, own, rate)) for own in words] for rate in rates]
    out = {}
    for name in ["bleu-13a", "ter"]:
        metric = METRICS[name]
        test = PairedTest([("first", systems[0]), ("second", systems[1])], {name: metric}, [references],
                          test_type="bs", n_samples=RESAMPLES)  # fmt: skip
        _, scores = test()
        (results,) = [own for key, own in scores.items() if key != "System"]
        # What sacrebleu resamples; it has no public name.
        statistics = [metric._extract_corpus_statistics(own, [references]) for own in systems]
        rows = [[list(map(int, one)) for one in own] for own in statistics]
        out[name] = {
            "first": rows[0],
            "second": rows[1],
            "scores": [round(float(own.score), 12) for own in results],
            "p": round(float(results[1].p_value), 6),
        }
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    corpora = [corpus(rng, rates) for rates in RATES]
    compact = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"))
    # One corpus a line, so that changes are readable.
    text = "[\n" + ",\n".join(map(compact, corpora)) + "\n]\n"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="ascii")
    print(f"{options.out.name}: {len(corpora)} corpora, {len(text):,} bytes")


if __name__ == "__main__":
    main()
