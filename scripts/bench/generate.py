#!/usr/bin/env python3
"""Greedy text by a finished run's model, in vlora and in PyTorch, in turn on the same machine.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    cargo build --release
    env/bin/python scripts/bench/generate.py RUN [--vlora target/release/vlora] [--rounds 7] [--json FILE]

RUN is the folder of a dense decoder's run with the tokenizer `characters`. Both sides load its weights and continue
the same character greedily, with a cache of keys and values. PyTorch's cache has memory for a whole text; it runs under
inference_mode, with as many threads as this process may run on. A text is as long as the model's positions, so that
nothing slides.

Times are those of the model alone (`vlora generate --speed`), without starting and loading. vlora is a new process in
each round, PyTorch is warm. Ratios are taken within a round; every second round goes the other way. Both texts must be
the same.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file

import gpt
from step import cpuinfo

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Program:
    def __init__(self, path, run, first, count):
        self.path, self.run, self.first, self.count = path, run, first, count

    def measure(self):
        command = [self.path, "generate", self.run, "--prompt", self.first]
        command += ["--tokens", str(self.count), "--greedy", "--speed", "--device", "cpu"]
        threads = {"RAYON_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
        if done.returncode != 0:
            sys.exit(f"vlora generate exits {done.returncode}: {done.stderr.strip()}")
        return float(done.stderr.split(" in ")[1].split()[0]) / self.count, done.stdout


class Peer:
    def __init__(self, run, first, count):
        spec = json.loads((run / "spec.json").read_text())["spec"]
        self.model = gpt.Gpt(spec["model"]).eval()
        weights = load_file(run / "model.safetensors")
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            sys.exit(f"{run}: not the weights of a dense decoder: {missing + unexpected}")
        saved = json.loads((run / "tokenizer.json").read_text())
        self.ids = saved["model"]["vocab"]
        self.characters = {number: text for text, number in self.ids.items()}
        self.first, self.count = first, count

    @torch.inference_mode()
    def measure(self):
        start = time.perf_counter()
        kept, ids = self.model.cache(1), [self.ids[self.first]]
        for _ in range(self.count):
            logits = self.model(torch.tensor([ids[-1:]]), kept)
            ids.append(int(logits[0, -1].argmax()))
        seconds = (time.perf_counter() - start) / self.count
        return seconds, "".join(self.characters[i] for i in ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--vlora", type=pathlib.Path, default=ROOT / "target/release/vlora")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = json.loads((options.run / "spec.json").read_text())["spec"]["model"]
    positions = model["positions"]
    program = subprocess.run([options.vlora, "--version"], capture_output=True, text=True).stdout.strip()
    here = {
        "run": options.run.name, "layers": model["depth"], "width": model["dim"], "tokens": positions - 1,
        "cpu": cpuinfo("model name"), "threads": torch.get_num_threads(), "load_at_start": os.getloadavg()[0],
        "instructions": torch.backends.cpu.get_cpu_capability(), "program": program,
        "torch": torch.__version__,
    }  # fmt: skip
    print(f"{model['depth']} layers of width {model['dim']}, {positions - 1} tokens, batch 1; run {options.run.name}")
    print(f"CPU: {here['cpu']}, {here['threads']} threads, {here['instructions']}, load {here['load_at_start']:.2f} "
          f"at the start; {program}; torch {torch.__version__}")  # fmt: skip
    sides = {
        "vlora": Program(options.vlora.resolve(), options.run, "R", positions - 1),
        "PyTorch": Peer(options.run, "R", positions - 1),
    }
    for side in sides.values():
        side.measure()
    rounds = []
    for number in range(options.rounds):
        found = {name: sides[name].measure() for name in (sides if number % 2 == 0 else reversed(sides))}
        texts = {name: text.strip() for name, (_, text) in found.items()}
        if len(set(texts.values())) > 1:
            sys.exit(f"the texts differ: {texts}")
        rounds.append({name: seconds for name, (seconds, _) in found.items()})
    for name in sides:
        low, middle, high = statistics.quantiles([1e3 * r[name] for r in rounds], n=4, method="inclusive")
        print(f"{name:8} {middle:7.3f} ms a token ({low:.3f}–{high:.3f})")
    ratios = [r["PyTorch"] / r["vlora"] for r in rounds]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    print(f"vlora is {middle:.2f} times as fast (quartiles {low:.2f}–{high:.2f}, all {min(ratios):.2f}–{max(ratios):.2f})")
    if options.json:
        options.json.write_text(json.dumps(here | {"rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
