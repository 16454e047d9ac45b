#!/usr/bin/env python3
"""Makes tests/fixtures/translation/scores.json: small corpora and the scores that sacrebleu gives them.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_translation_fixtures.py

The 50 corpora are made up: words like English and German ones, with what makes tokenizers differ among
them (punctuation, quotes, numbers, hyphens, entities, emoji, tabs, odd separators). A hypothesis is its
reference with words dropped, doubled, replaced, moved and in other cases; some are empty or unrelated.

`signatures` holds sacrebleu's signature of every metric. A corpus has `hypotheses`, `references` (one
each), `scores` (0 to 100, of the corpus), and `sentences`, what each sentence adds to the corpus: for
BLEU the tokens of the hypothesis and of the reference, then the matching n-grams for n = 1 to 4, then
all of the hypothesis; for TER the edits and the words of the reference.

Scores are rounded to 12 decimals, so that the last bit of a logarithm changes no file. The file is ASCII.

`--seed`, `--corpora` and `--out` write other corpora elsewhere.
"""

import argparse
import json
import pathlib
import random

from sacrebleu.metrics import BLEU, CHRF, TER

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/translation/scores.json"
CORPORA = 50

METRICS = {
    "bleu-13a": BLEU(),
    "bleu-13a-lc": BLEU(lowercase=True),
    "bleu-none": BLEU(tokenize="none"),
    "chrf": CHRF(word_order=2),
    "chrf-lc": CHRF(word_order=2, lowercase=True),
    "ter": TER(case_sensitive=True),
    "ter-lc": TER(),
}

FIRST = ["b", "br", "d", "f", "gr", "h", "k", "l", "m", "n", "r", "s", "sch", "st", "t", "th", "w", "z"]
MIDDLE = ["a", "e", "i", "o", "u", "ä", "ö", "ü", "ea", "ei", "ie", "ou", "au"]
LAST = ["", "", "ch", "d", "ft", "ld", "n", "nd", "ng", "r", "rt", "s", "ß", "st", "ing", "ung", "ed"]
SHORT = ["a", "the", "to", "of", "in", "der", "die", "das", "und", "zu", "ist", "is", "I", "Ich", "Über"]
# As they stand, between spaces.
ODD = [
    "1,000.5", "1.000,5", "3.14", "2024-02-29", "10-15", "-7", "50%", "$9.99", "€5", "7.", ".5", "1,", ",5", "a.b,c",
    "e-mail", "Nord-Süd-Linie", "word-", "-word", "--", "–", "—", "mother's", "don't", "geht's", "rock'n'roll", "'s",
    "&amp;", "&quot;", "&lt;", "&gt;", "&amp;quot;", "AT&amp;T", "&apos;", "&#39;", "&", "<skipped>", "<b>", "</b>",
    "„gut“", "‚so‘", "“good”", "‘so’", "«oui»", '"yes"', "'no'", "(hm)", "[sic]", "{x}", "what?!", "oh...", "ja…",
    "😀", "👍🏽", "👨‍👩‍👧", "🇩🇪", "❤️", "gut😀", "u.s.a.", "z.B.", "Dr.", "http://a.example/b?c=1&d=2", "me@a.example",
    "a/b", "x=y", "5*3", "^", "~", "`", "_", "a_b", "#1", "@x", "½", "x²", "№", "ΟΔΟΣ", "İ", "ẞ", "ǅ", "e\u0301", "ﬁ",
    "很好", "映画。", "да,", "!", "?", ".", ",", ";", ":",
]  # fmt: skip
SEPARATORS = [
    "  ", "\t", " \t ", "\u00a0", "\u2009", "\u3000", "\u200b", "\n", "-\n", "\r", "\x0b", "\x1c", "\x1f", "\x85",
]  # fmt: skip
ENDS = [".", ".", ".", "!", "?", "...", ".\"", "", " .", " ", "\t", ". \t ", "\n", "\x1d"]  # fmt: skip


def word(rng):
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(SHORT)
    if kind < 0.5:
        return rng.choice(ODD)
    made = "".join(rng.choice(part) for _ in range(rng.randint(1, 2)) for part in (FIRST, MIDDLE, LAST))
    made = {0: made.upper(), 1: made.capitalize(), 2: made.capitalize()}.get(rng.randrange(12), made)
    return made + rng.choice([",", ";", ":", ".", "!"]) if rng.random() < 0.1 else made


def join(rng, words):
    text = ""
    for number, one in enumerate(words):
        text += (rng.choice(SEPARATORS) if rng.random() < 0.03 else " ") * (number > 0) + one
    return text + rng.choice(ENDS) if words else rng.choice(["", "", " ", "\t"])


def noisy(rng, words, rate):
    """The words with changes, more of them the higher the rate."""
    out = []
    for one in words:
        kind = rng.random() / rate
        if kind < 0.2:
            continue
        if kind < 0.4:
            one = word(rng)
        elif kind < 0.5:
            one = rng.choice([one.upper(), one.lower(), one.capitalize()])
        elif kind < 0.6:
            out += [one] * rng.randint(1, 3)
        elif kind < 0.7:
            out.append(word(rng))
        out.append(one)
    # Moved parts, which TER counts as one edit each.
    while len(out) > 3 and rng.random() < rate:
        start = rng.randrange(len(out) - 1)
        part = out[start : start + rng.randint(1, 5)]
        del out[start : start + len(part)]
        at = rng.randint(0, len(out))
        out[at:at] = part
    return out


def pair(rng, rate):
    longest = rng.choice([3, 8, 8, 14, 14, 14, 40])
    reference = [word(rng) for _ in range(rng.randint(1, longest))]
    if rng.random() < 0.1:
        # Few words many times: many ways to align them.
        few = reference[:3]
        reference = [rng.choice(few) for _ in reference]
    kind = rng.random()
    if kind < 0.06:
        hypothesis = []
    elif kind < 0.1:
        hypothesis = [rng.choice(reference)] * rng.randint(1, 12)
    elif kind < 0.16:
        hypothesis = [word(rng) for _ in range(rng.randint(1, longest))]
    else:
        hypothesis = noisy(rng, reference, rate)
    if rng.random() < 0.02:
        reference = []
    return join(rng, hypothesis), join(rng, reference)


def corpus(rng):
    rate = rng.choice([0.05, 0.2, 0.4, 0.8])
    hypotheses, references = zip(*[pair(rng, rate) for _ in range(rng.choice([1, 2, 3, 5, 8, 12]))])
    counted = [name for name in METRICS if not name.startswith("chrf")]
    score = lambda metric: round(float(metric.corpus_score(hypotheses, [references]).score), 12)
    # What sacrebleu resamples; it has no public name.
    statistics = lambda metric: metric._extract_corpus_statistics(hypotheses, [references])
    return {
        "hypotheses": hypotheses,
        "references": references,
        "scores": {name: score(metric) for name, metric in METRICS.items()},
        "sentences": {name: [list(map(int, one)) for one in statistics(METRICS[name])] for name in counted},
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpora", type=int, default=CORPORA)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    corpora = [corpus(rng) for _ in range(options.corpora)]
    signatures = {name: str(metric.get_signature()) for name, metric in METRICS.items()}
    compact = lambda value: json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    # One corpus a line, so that changes are readable.
    lines = ",\n".join(map(compact, corpora))
    text = f'{{"corpora":[\n{lines}\n],\n"signatures":{compact(signatures)}}}\n'
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="ascii")
    print(f"{options.out.name}: {len(corpora)} corpora, {len(text):,} bytes")


if __name__ == "__main__":
    main()
