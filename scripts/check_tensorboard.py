#!/usr/bin/env python3
"""Reads what `vlora report --tensorboard` writes with TensorBoard's own reader, and compares it with the evidence.

    pip install --no-deps tensorboard==2.21.0 absl-py==2.5.1 numpy==2.4.6 protobuf==7.36.2 zstandard==0.25.0
    vlora report results/reading --tensorboard events/reading
    scripts/check_tensorboard.py results/reading events/reading

Every number of every run must be there, with its step and its wall time, and nothing else. The reader ignores what
follows a record with a wrong checksum, so such a file lacks numbers here.

The packages are what the reader itself needs; TensorBoard's other requirements are for its server.
"""

import argparse
import datetime
import json
import pathlib
import re
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def lines(run, name):
    """The whole lines of a journal, compressed or not. The last one of an unfinished run may be cut."""
    packed = run / f"{name}.zst"
    if packed.exists():
        import zstandard

        with open(packed, "rb") as file:
            content = zstandard.ZstdDecompressor().stream_reader(file).read()
    elif (run / name).exists():
        content = (run / name).read_bytes()
    else:
        content = b""
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else None


def expected(run, metric):
    """When a run began, and its numbers by tag: (wall time, step, value in float32)."""
    result = read_json(run / "result.json")
    started = read_json(run / "provenance.json")["sessions"][0]["started"]
    start = int(datetime.datetime.fromisoformat(started.replace("Z", "+00:00")).timestamp())
    found = {}

    def add(tag, step, value):
        trained = step / result["steps"] * result["training_seconds"] if result else 0.0
        if value is not None:
            found.setdefault(tag, []).append((start + trained, step, float(numpy.float32(value))))

    for record in lines(run, "steps.jsonl"):
        for name in ["loss", "learning_rate", "gradient_norm"]:
            add(f"train/{name}", record["step"], record[name])
    for record in lines(run, "epochs.jsonl"):
        add("epoch/train_loss", record["step"], record["train_loss"])
        add("validation/loss", record["step"], record.get("validation_loss"))
        if metric != "loss":
            add(f"validation/{metric}", record["step"], record.get("validation_metric"))
    if result:
        tests = {"loss": result["test_loss"], metric: result["test_metric"], **result.get("test_metrics", {})}
        for name, value in tests.items():
            add(f"test/{name}", result["steps"], value)
    return start, found


def read(folder):
    """The version and the numbers as TensorBoard reads them."""
    # A size of zero means all of them, and no sample.
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    values = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return events.file_version, {
        tag: [(event.wall_time, event.step, event.value) for event in values[tag]] for tag in values
    }


def faults(folder, start, want):
    files = sorted(path.name for path in folder.iterdir())
    if files != [f"events.out.tfevents.{start:010}.vlora"]:
        yield f"has the files {files}; the run began in second {start}"
    version, found = read(folder)
    if version != 2.0:
        yield f"has the version {version}, not 2.0"
    for tag in sorted(want.keys() | found.keys()):
        wanted, got = want.get(tag, []), found.get(tag, [])
        if len(wanted) != len(got):
            yield f"{tag}: {len(got)} numbers, not {len(wanted)}"
        unlike = [pair for pair in zip(got, wanted) if pair[0] != pair[1]]
        if unlike:
            yield f"{tag}: {len(unlike)} differ, as {unlike[0][0]} (wall time, step, value) for {unlike[0][1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path, help="the folder of an experiment")
    parser.add_argument("events", type=pathlib.Path, help="what `vlora report --tensorboard` made of it")
    options = parser.parse_args()
    record = read_json(options.results / "experiment.json")
    folders = {id: options.results / "runs" / id for variant in record["variants"] for id in variant["runs"]}
    results = [result for result in (read_json(run / "result.json") for run in folders.values()) if result]
    if not results:
        sys.exit(f"{options.results}: no run has ended, and so the name of the metric is not known")
    metric = results[0]["metric_name"]
    found, numbers, checked = [], 0, set()
    for variant in record["variants"]:
        # Labels that become the same name get a number behind it. No experiment of ours has such.
        arm = re.sub(r"[^A-Za-z0-9._=-]", "_", variant["label"])[:120]
        for seed, id in zip(record["seeds"], variant["runs"]):
            if not lines(folders[id], "steps.jsonl"):
                continue
            folder = options.events / arm / f"seed-{seed}"
            checked.add(folder)
            if not folder.is_dir():
                found.append(f"{folder} is missing")
                continue
            start, want = expected(folders[id], metric)
            numbers += sum(map(len, want.values()))
            found += [f"{folder} {fault}" for fault in faults(folder, start, want)]
    others = {path.parent for path in options.events.rglob("*") if path.is_file()} - checked
    found += [f"{folder} is of no run" for folder in sorted(others)]
    if numbers == 0:
        found.append(f"{options.results}: no numbers to compare")
    for fault in found:
        print(fault)
    print(f"{options.events}: {numbers} numbers of {len(checked)} runs, read by TensorBoard: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
