#!/usr/bin/env python3
"""Step time against rank: the dense model, VLoRA at many ranks, and the same in PyTorch, in turn on one machine.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    cargo build --release
    env/bin/python scripts/bench/ranks.py --model vit-192 --json ranks.json --chart ranks.svg
    env/bin/python scripts/bench/ranks.py --from ranks.json --chart ranks.svg

MODEL is a spec of experiments/benchmarks/, or a spec's path. Its vlora section is taken with each rank of --ranks; its
arms are not used. Every round times all models, each as a new process of `vlora bench`, and PyTorch's (step.py says
how); every second round goes the other way. Ratios are taken within a round: over the program's own dense model, and
over the same model in PyTorch. PyTorch has the ranks of --torch-ranks, since each is a process that stays in memory.

With --from nothing is measured: the table and the chart are made again from a stored measurement.

`operations` is the ratio of multiply–adds of matrix products, as `vlora bench` counts them.
"""

import argparse
import importlib.util
import json
import pathlib
import sys
import tempfile

import step
import yaml


def spec_of_ranks(path, ranks, folder):
    """The spec with a dense arm and one for each rank."""
    spec = yaml.safe_load(pathlib.Path(path).read_text())
    spec["arms"] = {"baseline": {"method": "dense"}}
    spec["arms"] |= {f"rank-{r}": {"method": "vlora", "vlora": {"rank": r}} for r in ranks}
    spec["seeds"] = [0]
    written = pathlib.Path(folder) / pathlib.Path(path).name
    written.write_text(yaml.safe_dump(spec, sort_keys=False))
    return written


def measure(program, options, threads):
    """Per round: the program's JSON of each arm, and PyTorch's answers of each of its arms and variants."""
    workers = {}
    try:
        for arm in options.torch_arms:
            for variant in options.variants:
                workers[arm, variant] = step.Worker(options, arm, variant, threads)
                workers[arm, variant].start(options.warmup)
        rounds = []
        for number in range(options.rounds):
            order = [*options.arms, *workers]
            ours, theirs = {}, {}
            for case in order if number % 2 == 0 else reversed(order):
                if isinstance(case, str):
                    ours[case] = program.bench(case)
                else:
                    theirs[case] = workers[case].measure(options.warmup, options.steps)
            for arm, variant in workers:
                step.check_same(arm, ours[arm], workers[arm, variant].about)
            rounds.append({
                "vlora": ours,
                # Their medians are kept, not each step.
                "pytorch": [{"arm": a, "variant": v, **found, "steps": len(found["steps"])}
                            for (a, v), found in theirs.items()],
            })  # fmt: skip
    finally:
        for worker in workers.values():
            worker.close()
    return rounds


def summary(rounds, options):
    rows = []
    for arm in options.arms:
        own = [r["vlora"][arm] for r in rounds]
        seconds = lambda r, a=arm: r["vlora"][a]["step_seconds"]
        theirs = lambda r, v, a=arm: next(
            p["step_seconds"] for p in r["pytorch"] if (p["arm"], p["variant"]) == (a, v)
        )
        row = {
            "arm": arm,
            "rank": int(arm.removeprefix("rank-")) if arm != "baseline" else None,
            "parameters": own[0]["parameters"],
            "peak_bytes": max(found["peak_bytes"] for found in own),
            "operations": own[0]["step_flops"] / rounds[0]["vlora"]["baseline"]["step_flops"],
            "seconds": step.spread([seconds(r) for r in rounds]),
            "over_dense": step.spread([seconds(r) / seconds(r, "baseline") for r in rounds]),
        }
        if arm in options.torch_arms:
            # The faster variant of PyTorch in each round.
            best = lambda r: min(theirs(r, v) for v in options.variants)
            dense = lambda r: min(theirs(r, v, "baseline") for v in options.variants)
            row["pytorch_seconds"] = step.spread([best(r) for r in rounds])
            row["pytorch_over_dense"] = step.spread([best(r) / dense(r) for r in rounds])
            row["over_pytorch"] = step.spread([seconds(r) / best(r) for r in rounds])
        rows.append(row)
    return rows


def table(rows):
    between = lambda s: f"{s['median']:.2f} ({s['quartiles'][0]:.2f}–{s['quartiles'][1]:.2f})"
    print(f"\n{'':10}{'parameters':>12}{'peak':>10}{'operations':>12}{'step':>11}{'over dense':>20}"
          f"{'PyTorch':>11}{'over its dense':>20}{'vlora over it':>20}")  # fmt: skip
    for row in rows:
        line = (f"{row['arm']:10}{row['parameters']:12,}{row['peak_bytes'] / step.MIB:6.0f} MiB{row['operations']:12.2f}"
                f"{1e3 * row['seconds']['median']:8.1f} ms{between(row['over_dense']):>20}")  # fmt: skip
        if "over_pytorch" in row:
            line += (f"{1e3 * row['pytorch_seconds']['median']:8.1f} ms{between(row['pytorch_over_dense']):>20}"
                     f"{between(row['over_pytorch']):>20}")  # fmt: skip
        print(line)


def chart(rows, found, path):
    """Step time over rank, in the size of a column of a paper. Readable in greyscale: lines differ in their dashes."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"font.size": 8, "svg.hashsalt": "ranks", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(3.4, 2.6), layout="constrained")
    dense, ranked = rows[0], rows[1:]
    unit, scale = ("s", 1) if dense["seconds"]["median"] >= 0.5 else ("ms", 1e3)

    def line(rows, name, label, **style):
        middle = [scale * row[name]["median"] for row in rows]
        below = [m - scale * row[name]["quartiles"][0] for m, row in zip(middle, rows)]
        above = [scale * row[name]["quartiles"][1] - m for m, row in zip(middle, rows)]
        ranks = [row["rank"] for row in rows]
        axes.errorbar(ranks, middle, [below, above], label=label, capsize=2, linewidth=1.2, markersize=4, **style)

    theirs = [row for row in ranked if "over_pytorch" in row]
    line(ranked, "seconds", "VLoRA, vlora", color="#0072b2", marker="o")
    if theirs:
        line(theirs, "pytorch_seconds", "VLoRA, authors' package", color="#d55e00", marker="s", linestyle="--")
        axes.axhline(scale * dense["pytorch_seconds"]["median"], color="#d55e00", linestyle=":", label="dense, PyTorch")
    axes.axhline(scale * dense["seconds"]["median"], color="#0072b2", linestyle="-.", label="dense, vlora")
    axes.set_xscale("log", base=2)
    axes.set_xticks([row["rank"] for row in ranked], [str(row["rank"]) for row in ranked])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rank")
    axes.set_ylabel(f"optimiser step [{unit}]")
    axes.set_title(f"{found['model']}, batch {found['batch_size']}, {found['machine']['threads']} threads of {found['machine']['cpu']}", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=200)


def options():
    numbers = lambda text: [int(n) for n in text.split(",") if n]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit-192", help="of experiments/benchmarks/, or a spec's path")
    parser.add_argument("--vlora", type=pathlib.Path, default=step.ROOT / "target/release/vlora")
    parser.add_argument("--ranks", type=numbers, default=[1, 2, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--torch-ranks", type=numbers, default=[1, 8, 32, 128], help="empty: without PyTorch")
    parser.add_argument("--variants", type=lambda text: text.split(","), default=["eager"],
                        help="of PyTorch, as in step.py; the fastest of a round counts")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="timed in each round")
    parser.add_argument("--warmup", type=int, default=1, help="before them, in each round")
    parser.add_argument("--from", dest="stored", type=pathlib.Path, help="a file that --json wrote")
    parser.add_argument("--json", type=pathlib.Path, help="where everything measured is written")
    parser.add_argument("--chart", type=pathlib.Path, help="an .svg, .png or .pdf file; needs matplotlib")
    out = parser.parse_args()
    if out.chart and importlib.util.find_spec("matplotlib") is None:
        sys.exit(f"{sys.executable} has no matplotlib: pip install -r {step.REQUIREMENTS}")
    if out.stored:
        return out
    named = step.ROOT / f"experiments/benchmarks/{out.model}.yaml"
    out.spec = pathlib.Path(out.model) if out.model.endswith(".yaml") else named
    out.device, out.batch, out.precision = "cpu", None, None
    out.torch_ranks = [r for r in out.torch_ranks if r in out.ranks]
    out.arms = ["baseline", *(f"rank-{r}" for r in out.ranks)]
    out.torch_arms = ["baseline", *(f"rank-{r}" for r in out.torch_ranks)] if out.torch_ranks else []
    out.variants = out.variants if out.torch_arms else []
    out.growth = not out.torch_arms
    step.check(parser, out)
    return out


def main():
    chosen = options()
    try:
        found = json.loads(chosen.stored.read_text()) if chosen.stored else measured(chosen)
    except step.Ended as error:
        sys.exit(str(error))
    table(found["rows"])
    if chosen.chart:
        chart(found["rows"], found, chosen.chart)


def measured(chosen):
    with tempfile.TemporaryDirectory() as folder:
        name = chosen.spec.stem
        chosen.spec = spec_of_ranks(chosen.spec, chosen.ranks, folder)
        program = step.Program(chosen)
        here = step.machine("cpu")
        print(f"{name}: {chosen.rounds} rounds of {chosen.steps} steps, {chosen.warmup} before them to warm up")
        print(f"CPU: {here['cpu']}, {here['threads']} threads, load {here['load_at_start']:.2f} at the start; "
              f"{program.version}")  # fmt: skip
        rounds = measure(program, chosen, here["threads"])
    rows = summary(rounds, chosen)
    found = {
        "model": name, "machine": here, "program": program.version, "variants": chosen.variants,
        "batch_size": rounds[0]["vlora"]["baseline"]["batch_size"], "steps": chosen.steps,
        "warmup": chosen.warmup, "rows": rows, "rounds": rounds,
    }  # fmt: skip
    step.save(chosen.json, found)
    return found


if __name__ == "__main__":
    main()
