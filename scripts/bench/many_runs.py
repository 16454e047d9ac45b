#!/usr/bin/env python3
"""Times the commands over many runs: `plan`, `status`, `runs` and `report` of finished runs that were never trained.

    scripts/bench/many_runs.py [--vlora FILE] [--runs 10000] [--folder FOLDER]

One run of a small spec is trained. Its evidence is copied for every other run, with the spec, the seed and the size
that each has. Prints the seconds and the peak memory of each command, for a tenth of the runs and for all of them.

Needs Python 3.9 or newer, without packages, and 60 kB a run.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

SPEC = """\
name: many
task: image-classification
data: {{embedded: fashion-mnist-mini}}
model: {{architecture: vit, image_size: 28, patch_size: 14, channels: 1, classes: 10, dim: 16, depth: 2, heads: 2}}
vlora: {{compound_size: 2, rank: 1}}
training: {{epochs: 1, batch_size: 500}}
arms:
  baseline: {{method: dense}}
  vlora: {{method: vlora}}
sweep:
  vlora.rank: [1, 2, 3, 4, 5]
  training.learning_rate: {rates}
seeds: {seeds}
"""
# Variants of one learning rate: the baseline, and VLoRA at five ranks.
OF_A_RATE = 6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vlora", default="vlora")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=pathlib.Path, help="where the runs are made, and left")
    options = parser.parse_args()
    for runs in (options.runs // 10, options.runs):
        folder = options.folder and options.folder / str(runs)
        if folder:
            folder.mkdir(parents=True)
            measure(options.vlora, folder, runs)
        else:
            with tempfile.TemporaryDirectory() as folder:
                measure(options.vlora, pathlib.Path(folder), runs)


def measure(vlora, folder, runs):
    seeds = 10
    rates = max(1, runs // (seeds * OF_A_RATE))
    spec = folder / "many.yaml"
    rates = [round(1e-4 * (1 + i), 8) for i in range(rates)]
    spec.write_text(SPEC.format(rates=rates, seeds=list(range(seeds))))
    made = make(vlora, folder, spec)
    print(f"{made:,} runs", flush=True)
    for command in (
        ["plan", spec.name],
        ["plan", spec.name, "--format", "json"],
        ["status"],
        ["runs", "--format", "csv"],
        ["report", "results/many", "--format", "csv"],
        ["run", spec.name, "--quiet", "--format", "csv", "--device", "cpu"],
    ):
        seconds, peak = timed([vlora, *command], folder)
        print(f"  {' '.join(command):40} {seconds:7.2f} s  {peak / 2**20:7,.0f} MiB", flush=True)


def make(vlora, folder, spec):
    """Makes every run of the spec. Returns how many there are."""
    plan = json.loads(subprocess.run([vlora, "plan", spec.name, "--format", "json"], cwd=folder, check=True,
                                     capture_output=True).stdout)
    command = [vlora, "run", spec.name, "--quiet", "--device", "cpu", "--only", plan[0]["run"]]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    results = folder / "results/many"
    record = json.loads((results / "experiment.json").read_text())
    first = results / "runs" / plan[0]["run"]
    files = {path.name: path.read_bytes() for path in first.iterdir() if path.suffix in (".json", ".jsonl", ".zst")}
    result = json.loads(files["result.json"])
    # They would not be those of the copies.
    for own in ("files", "digest"):
        result.pop(own, None)
    for variant in record["variants"]:
        for seed, run in zip(record["seeds"], variant["runs"]):
            if run == first.name:
                continue
            target = results / "runs" / run
            target.mkdir()
            own = json.loads(files["spec.json"]) | {"id": run, "seed": seed, "spec": variant["spec"]}
            sizes = {"parameters": variant["parameters"], "trained": variant["trained"]}
            changed = {"spec.json": json.dumps(own) + "\n", "result.json": json.dumps(result | sizes) + "\n"}
            for name, content in files.items():
                (target / name).write_bytes(changed[name].encode() if name in changed else content)
    return sum(len(variant["runs"]) for variant in record["variants"])


def timed(command, folder):
    """Seconds, and bytes of peak memory."""
    with tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)}: {errors.read().decode()}")
    return seconds, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
