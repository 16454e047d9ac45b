#!/usr/bin/env python3
"""Trains nanoGPT's model in plain PyTorch as a run of this program was trained, and compares the losses.

    python3 -m venv env && env/bin/pip install torch==2.15.0 numpy==2.4.6
    vlora run experiments/paper/shakespeare-nanogpt.yaml --out parity --set training.steps=200 \\
        --set 'seeds=[0]'
    env/bin/python scripts/reference/nanogpt_parity.py parity/shakespeare-nanogpt/runs/*/

Of the runs the dense ones are compared: on the embedded plays by characters, without dropout and label
smoothing. Nothing of a run is read but its settings (spec.json) and its losses (steps.jsonl, test.jsonl). The initial
weights and the windows of each step come from the seed by the same counter-based streams, written again
here (streams.py).

The model is nanoGPT's, from its definition: token and position embeddings, pre-norm layers of causal
attention and an MLP, a last norm, an output layer tied to the token embedding; normal initial weights of
deviation 0.02, and 0.02 / √(2 · layers) where a layer adds to the residual stream. AdamW decays what has two
dimensions. Prints the largest difference of a step's loss and, with all steps, that of the test. Exits with 1
if one is above `--within`.
"""

import argparse
import gzip
import json
import math
import pathlib
import sys

import numpy as np
import torch
from torch.nn import functional as F

from streams import Stream, all_within, expect, lines, rate

# What this script knows of the settings that may be otherwise.
DATA = {"tokenizer": "characters", "windows": "random", "embedded": "shakespeare", "epoch_windows": None}
MODEL = {"dropout": 0, "attention_dropout": 0}
TRAINING = {"accumulation": 1, "label_smoothing": 0, "schedule": "cosine", "warmup_steps": None}
TEXT = pathlib.Path(__file__).parents[2] / "src/hub/embedded/shakespeare/train.txt.gz"


class Gpt:
    """nanoGPT's model on a dictionary of weights, by the names of Hugging Face's GPT-2."""

    def __init__(self, model, seed):
        self.model, dim, depth = model, model["dim"], model["depth"]
        hidden = round(model["mlp_ratio"] * dim)
        std, residual = 0.02, 0.02 / math.sqrt(2 * depth)
        self.weights = {}

        def normal(name, shape, std):
            values = std * Stream(seed, "init", name).normal(math.prod(shape))
            self.weights[name] = torch.tensor(values.astype(np.float32)).reshape(shape).requires_grad_()

        def constant(name, size, value):
            self.weights[name] = torch.full([size], value).requires_grad_()

        def norm(name):
            constant(f"{name}.weight", dim, 1.0)
            if model["bias"]:
                constant(f"{name}.bias", dim, 0.0)

        def linear(name, outputs, inputs, std):
            normal(f"{name}.weight", [outputs, inputs], std)
            if model["bias"]:
                constant(f"{name}.bias", outputs, 0.0)

        normal("wte.weight", [model["vocabulary"], dim], std)
        normal("wpe.weight", [model["positions"], dim], std)
        for i in range(depth):
            norm(f"h.{i}.ln_1")
            linear(f"h.{i}.attn.c_attn", 3 * dim, dim, std)
            linear(f"h.{i}.attn.c_proj", dim, dim, residual)
            norm(f"h.{i}.ln_2")
            linear(f"h.{i}.mlp.c_fc", hidden, dim, std)
            linear(f"h.{i}.mlp.c_proj", dim, hidden, residual)
        norm("ln_f")
        if not model["tied"]:
            normal("lm_head.weight", [model["vocabulary"], dim], std)

    def __call__(self, ids):
        """Ids [batch, tokens] → logits [batch, tokens, vocabulary]."""
        w, model = self.weights, self.model
        batch, tokens = ids.shape
        dim, heads = model["dim"], model["heads"]
        linear = lambda x, name: F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))
        norm = lambda x, name: F.layer_norm(
            x, [dim], w[f"{name}.weight"], w.get(f"{name}.bias"), model["norm_eps"]
        )
        activation = {
            "gelu": F.gelu,
            "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"),
            "relu": F.relu,
        }[model["activation"]]
        x = w["wte.weight"][ids] + w["wpe.weight"][:tokens]
        for i in range(model["depth"]):
            qkv = linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
            q, k, v = (
                part.view(batch, tokens, heads, dim // heads).transpose(1, 2) for part in qkv.split(dim, dim=2)
            )
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + linear(mixed.transpose(1, 2).reshape(batch, tokens, dim), f"h.{i}.attn.c_proj")
            inner = activation(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"))
            x = x + linear(inner, f"h.{i}.mlp.c_proj")
        return F.linear(norm(x, "ln_f"), w["wte.weight" if model["tied"] else "lm_head.weight"])


def split(spec):
    """The text of training and of the test as ids of characters."""
    text = gzip.decompress(TEXT.read_bytes()).decode()
    share = lambda part: part["fraction"] if isinstance(part, dict) else 0.0
    validation, test = share(spec["data"]["validation"]), share(spec["data"]["test"])
    place = lambda left: math.floor(left * len(text) + 1e-6)
    middle, end = place(1 - validation - test), place(1 - test)
    number = {c: i for i, c in enumerate(sorted(set(text[:middle])))}
    ids = lambda part: torch.tensor([number[c] for c in part])
    return ids(text[:middle]), ids(text[end:])


def epoch_batches(ids, epoch, seed, window, size):
    """The first token of each window of an epoch's batches, [batches, size]."""
    count = max(1, (len(ids) - 1) // window // size)
    starts = Stream(seed, "order", f"{epoch}/windows").below(len(ids) - window, count * size)
    return starts.reshape(count, size)


def train(model, spec, seed, ids, records):
    """Trains for as many steps as there are records; returns each step's difference of the losses."""
    training, window = spec["training"], spec["data"]["window"]
    decayed = [w for w in model.weights.values() if w.dim() >= 2]
    others = [w for w in model.weights.values() if w.dim() < 2]
    groups = [
        {"params": decayed, "weight_decay": training["weight_decay"]},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (training["beta1"], training["beta2"])
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=training["epsilon"])
    differences, batches, epoch = [], iter(()), 0
    for step, record in enumerate(records):
        starts = next(batches, None)
        if starts is None:
            batches = iter(epoch_batches(ids, epoch, seed, window, training["batch_size"]))
            starts, epoch = next(batches), epoch + 1
        places = torch.tensor(starts)[:, None] + torch.arange(window + 1)
        part = ids[places]
        logits = model(part[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())
        adamw.zero_grad()
        loss.backward()
        if training["clip_norm"] is not None:
            torch.nn.utils.clip_grad_norm_(model.weights.values(), training["clip_norm"])
        for group in adamw.param_groups:
            group["lr"] = rate(training, step, len(records))
        adamw.step()
        differences.append(abs(loss.item() - record["loss"]))
        if record["step"] % 100 == 0 or step == 0:
            print(f"step {record['step']}: {loss.item():.5f} here, {record['loss']:.5f} there", flush=True)
    return differences


@torch.no_grad()
def test_loss(model, ids, window):
    """Mean over all tokens but the first, in windows that do not overlap."""
    nats = 0.0
    for begin in range(0, len(ids) - 1, window):
        part = ids[begin : begin + window + 1]
        losses = F.cross_entropy(model(part[None, :-1])[0], part[1:], reduction="sum")
        nats += losses.item()
    return nats / (len(ids) - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--within", type=float, default=1e-3)
    options = parser.parse_args()
    records = [(run, json.loads((run / "spec.json").read_text())) for run in options.runs]
    dense = [(run, record) for run, record in records if record["spec"]["method"] == "dense"]
    if not dense:
        sys.exit("none of the runs is dense")
    sys.exit(int(not all([compare(run, record, options.within) for run, record in dense])))


def compare(run, record, within):
    """Repeats a run; whether its losses are within this of ours."""
    spec, seed = record["spec"], record["seed"]
    expect(run, spec["data"], DATA, written=("tokenizer", "windows", "embedded"))
    expect(run, spec["model"], MODEL)
    expect(run, spec["training"], TRAINING)
    ids, test = split(spec)
    model = Gpt(spec["model"], seed)
    print(f"{sum(w.numel() for w in model.weights.values())} parameters")
    records = lines(run, "steps.jsonl")
    differences = train(model, spec, seed, ids, records)
    if not differences:
        sys.exit(f"{run}: no steps")
    largest = max(differences)
    print(f"losses of {len(records)} steps differ by at most {largest:.2e} (step {1 + differences.index(largest)})")
    outcomes = lines(run, "test.jsonl")
    theirs = sum(o["loss"] for o in outcomes) / sum(o["tokens"] for o in outcomes)
    own = test_loss(model, test, spec["data"]["window"])
    print(f"test loss {own:.5f} here, {theirs:.5f} there")
    return all_within([*differences, abs(own - theirs)], within)


if __name__ == "__main__":
    main()
