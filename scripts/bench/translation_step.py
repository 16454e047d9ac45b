"""A training step of Multi30k's recipe in PyTorch, in turn with this program.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    cargo build --release
    env/bin/python scripts/bench/translation_step.py RUN --data FOLDER --vlora target/release/vlora

RUN is the folder of a run of experiments/paper/multi30k.yaml, whose spec.json and tokenizer.json are read. --data is the
dataset's folder with train.jsonl, val.jsonl and test.jsonl, as for scripts/reference/multi30k_parity.py, whose model this
is: torch.nn.TransformerEncoder and TransformerDecoder, which take PyTorch's fastest attention. AdamW is the fused one,
where it is faster in a trial before, in the same process: the resident memory may hold some of what that took.

A step is zeroed gradients, forward with cross-entropy and dropout, backward, clipping and AdamW, in float32 on all
threads. Both sides take the same batches in the same order. Every round runs `vlora bench` and PyTorch, each in a new
process, and every second round goes the other way, so that a machine that slows down favours nobody. Ratios are taken
within a round: vlora's median step, and its peak of the resident size during the steps, over PyTorch's. Python and
PyTorch's libraries are part of that peak; `over_start` leaves out what was resident before the model was built.

Prints a line for each round and one JSON object.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "scripts/reference"), str(ROOT / "scripts/bench")]

from text_step import best_of_three, quartiles, reset_peak, status

SPEC = ROOT / "experiments/paper/multi30k.yaml"


def pytorch(options):
    """Measures PyTorch in this process, and prints one JSON object."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from multi30k_parity import PADDING, Translator, corpus

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    spec = json.loads((options.run / "spec.json").read_text())["spec"]
    training, _, _, _ = corpus(options.run, spec, options.data)
    settings = spec["training"]
    start = status("VmRSS")
    model = Translator(spec["model"]).train()
    model.initialise(spec["model"]["attention_init"])
    parameters = list(model.parameters())
    adamw = lambda rate, fused: torch.optim.AdamW(
        parameters, rate, (settings["beta1"], settings["beta2"]), settings["epsilon"], 0.0, fused=fused
    )
    epoch = training.epoch(0, 0, settings["batch_size"])
    batches = [(pairs, training.batch(pairs, "cpu")) for pairs in epoch[: options.warmup + options.steps]]

    def step(optimizer, batch):
        source, target, labels = batch
        optimizer.zero_grad()
        logits = model(source, target).flatten(0, 1)
        F.cross_entropy(logits, labels.flatten(), ignore_index=PADDING).backward()
        nn.utils.clip_grad_norm_(parameters, settings["clip_norm"])
        optimizer.step()

    # A trial changes no weight.
    step(adamw(0.0, False), batches[0][1])
    tried = {fused: best_of_three(adamw(0.0, fused).step) for fused in (True, False)}
    optimizer = adamw(settings["learning_rate"], min(tried, key=tried.get))
    times = []
    for number, (_, batch) in enumerate(batches):
        if number == options.warmup:
            reset_peak()
        begun = time.perf_counter()
        step(optimizer, batch)
        times.append(time.perf_counter() - begun)
    peak = status("VmHWM")
    predicted = [sum(training.keys[pair][1] for pair in pairs) for pairs, _ in batches[options.warmup :]]
    times = times[options.warmup :]
    print(json.dumps({
        "step_seconds": statistics.median(times),
        "quartiles_seconds": quartiles(times),
        "tokens_per_second": sum(predicted) / sum(times),
        "resident_peak_bytes": peak,
        "over_start_bytes": peak - start,
        "parameters": sum(p.numel() for p in parameters),
        "batch_size": settings["batch_size"],
        "threads": torch.get_num_threads(),
        "steps": len(times),
        "units_per_step": sum(predicted) / len(times),
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }))  # fmt: skip


def program(options):
    """Measures vlora in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "bench.json"
        command = [options.vlora, "bench", options.spec, "--arm", options.arm, "--json", out]
        command += ["--steps", options.steps, "--warmup", options.warmup, "--device", "cpu"]
        environment = os.environ | {"RAYON_NUM_THREADS": str(options.threads)}
        subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment, check=True)
        (found,) = json.loads(out.read_text())
    return found


def other(options):
    """Measures PyTorch in a new process."""
    command = [sys.executable, __file__, options.run, "--data", options.data, "--worker"]
    command += ["--steps", options.steps, "--warmup", options.warmup, "--threads", options.threads]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def check_same(ours, theirs, options):
    """Exits if the sides did not do the same. The tokens of the steps show whether the batches are the same."""
    names = ["batch_size", "threads"] + (["parameters"] if options.arm == "baseline" else [])
    pairs = {name: (ours[name], theirs[name]) for name in names}
    pairs["steps"] = (options.steps, theirs["steps"])
    # Both count the target's tokens.
    pairs["tokens a step"] = tuple(round(side["units_per_step"], 6) for side in (ours, theirs))
    for name, (own, other) in pairs.items():
        if own != other:
            sys.exit(f"{name}: {own} in vlora, {other} in PyTorch")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=20, help="timed, in each round")
    parser.add_argument("--warmup", type=int, default=4, help="before them, in each round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both sides")
    parser.add_argument("--vlora", type=pathlib.Path, help="the program")
    parser.add_argument("--spec", type=pathlib.Path, default=SPEC)
    parser.add_argument("--arm", default="baseline")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return pytorch(options)
    rounds = []
    for number in range(options.rounds):
        sides = {"vlora": program, "pytorch": other}
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        found = {side: sides[side](options) for side in order}
        check_same(found["vlora"], found["pytorch"], options)
        rounds.append(found)
        ours, theirs = (1000 * found[side]["step_seconds"] for side in ("vlora", "pytorch"))
        print(f"round {number + 1}: {ours:.0f} ms, {theirs:.0f} ms in PyTorch", file=sys.stderr, flush=True)
    ratio = lambda ours, theirs: [r["vlora"][ours] / r["pytorch"][theirs] for r in rounds]
    ratios = {
        "step": ratio("step_seconds", "step_seconds"),
        "resident_peak": ratio("resident_peak_bytes", "resident_peak_bytes"),
        "resident_peak_over_start": ratio("resident_peak_bytes", "over_start_bytes"),
    }
    summary = {
        name: {"median": statistics.median(values), "quartiles": quartiles(values), "range": [min(values), max(values)]}
        for name, values in ratios.items()
    }
    print(json.dumps({"ratios": summary, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
