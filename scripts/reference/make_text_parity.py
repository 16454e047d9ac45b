#!/usr/bin/env python3
"""Trains MiniLM on SST-2 in transformers for 200 steps, for the same steps in this program.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_text_parity.py --minilm FOLDER --data FOLDER --out FOLDER
    VLORA_TEXT_PARITY=OUT/text-parity.safetensors cargo test --release --test suite -- encoder:: --ignored

--minilm is a folder with MiniLM's config.json, model.safetensors and tokenizer.json, --data one with
SST-2's train.parquet (columns `text` and `label`). The file of about 90 MB is not committed.

The recipe is that of experiments/paper/sst2-minilm.yaml over 200 steps in all, in float32 with
dropout off. `text-parity.safetensors` holds `weight.<name>`: the weights before the first step, the
new classifier among them; of each step `ids.<step>` (filled up with 0), `lengths.<step>` and
`labels.<step>` (int64); `losses`, each before its step, and `rates` (float64); `after.<name>`: the
classifier after the last step. The metadata's `model` and `training` are the sections of this
project's specs.

Sums in another order come out differently in the last digit, and training makes more of it. How much
that is in PyTorch alone is printed: `--again` trains once more with attention computed another way,
and prints the largest difference of a loss.
"""

import argparse
import json
import pathlib
import time

import torch
from stable import save_stable
from streams import rate
from text_model import CLASSES, RECIPE, Classifier, Split, optimizer, tokenizer

STEPS, SEED = 200, 0
MODEL = {
    "architecture": "encoder",
    "vocabulary": 30522,
    "classes": CLASSES,
    "dim": 384,
    "depth": 6,
    "heads": 12,
    "pool": "mean",
    "dropout": 0.0,
    "attention_dropout": 0.0,
}


def ours(name):
    return name.removeprefix("bert.")


def batches(split):
    """The first 200 of as many epochs as they take."""
    generator = torch.Generator().manual_seed(SEED)
    found = []
    while len(found) < STEPS:
        found += split.epoch(RECIPE["batch_size"], generator)
    return [split.batch(texts) for texts in found[:STEPS]]


def train(options, given, attention):
    torch.manual_seed(SEED)
    model = Classifier(options.minilm, 0.0, attention).train()
    before = {ours(n): p.detach().clone() for n, p in model.named_parameters()}
    adamw = optimizer(model, RECIPE)
    losses, rates, start = [], [], time.perf_counter()
    for step, (ids, lengths, labels) in enumerate(given):
        rates.append(rate(RECIPE, step, STEPS))
        for group in adamw.param_groups:
            group["lr"] = rates[-1]
        loss = torch.nn.functional.cross_entropy(model(ids, lengths), labels)
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE["clip_norm"])
        adamw.step()
        losses.append(loss.item())
    seconds = time.perf_counter() - start
    after = {n: p.detach().clone() for n, p in model.named_parameters() if "classifier" in n}
    print(f"attention {attention}: losses {losses[0]:.4f} … {losses[-1]:.4f}, {seconds:.0f} s", flush=True)
    return before, torch.tensor(losses, dtype=torch.float64), rates, after


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minilm", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--again", action="store_true", help="train once more, for the rounding")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    given = batches(Split(tokenizer(options.minilm), options.data, "train"))
    before, losses, rates, after = train(options, given, "eager")
    file = {f"weight.{name}": p for name, p in before.items()}
    file |= {f"after.{name}": p for name, p in after.items()}
    for step, (ids, lengths, labels) in enumerate(given):
        file |= {f"ids.{step}": ids, f"lengths.{step}": lengths, f"labels.{step}": labels}
    file |= {"losses": losses, "rates": torch.tensor(rates, dtype=torch.float64)}
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "text-parity.safetensors"
    training = RECIPE | {"epochs": 1}
    metadata = {"model": json.dumps(MODEL), "training": json.dumps(training)}
    save_stable(file, path, metadata)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")
    if options.again:
        _, again, _, _ = train(options, given, "sdpa")
        apart = (again - losses).abs()
        print(f"largest difference of a loss: {apart.max():.1e}, in step {apart.argmax()}")


if __name__ == "__main__":
    main()
