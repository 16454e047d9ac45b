#!/usr/bin/env python3
"""One training step of the same model in vlora and in PyTorch, in turn on the same machine.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    cargo build --release
    env/bin/python scripts/bench/step.py --model vit-192 [--vlora target/release/vlora] [--json FILE]
    env/bin/python scripts/bench/step.py --model vit-192 --growth
    env/bin/python scripts/bench/step.py --model vit-192 --device cuda --batch 512

MODEL is a spec of experiments/benchmarks/. Of an image model the arm `baseline` is timm's ViT and the arm
`vlora` the authors' package; of a decoder they are nanoGPT's and the same with increments (gpt.py). A step is
zeroed gradients, forward with cross-entropy, backward, clipping to the spec's norm, and AdamW, on random images or
tokens: no files are read on either side. The program's batches are made (images cropped, mirrored and normalised) on a
thread beside the step; PyTorch gets one tensor again and again (torch_step.py). Both must have the same number of parameters, the same batch and the same threads: those
this process may run on.

Every round runs vlora as a new process (`vlora bench`) and then every variant of PyTorch; every
second round goes the other way, so that a machine that slows down favours nobody. PyTorch's
processes are started once, compile before the first round, warm up in each as vlora does, and wait
for input in between; `idle_cpu_seconds` in the JSON shows that they use no processor then. Ratios are
taken within a round: vlora's median step over PyTorch's.

PyTorch's variants: eager float32; `compile`: torch.compile (inductor, needs g++); `bf16`: autocast;
both; on a GPU also `tf32` in the place of bf16. On the processor vlora computes in float32 in all. By default bf16 is timed where the processor
has instructions for it; elsewhere a step takes some ten times as long as in float32.

Memory is the peak resident size: PyTorch's during the timed steps, vlora's since before its model.
Python and PyTorch's libraries are part of the former (a build with CUDA alone maps hundreds of MiB),
so `over start` takes away what was resident before the model was built, though not the code that
torch.compile loads later; from vlora, which is a few MiB by then, nothing is taken away.

`--device cuda` does the same on the first GPU: `--precision` (default bf16) is vlora's, and PyTorch's
variants are those of the same, plain and compiled, unless others are named (`eager` is float32). vlora's step is
timed by `vlora bench`, PyTorch's from start to torch.cuda.synchronize(). vlora's parts of a step are the times to queue
them, which do not compare with PyTorch's times on the GPU, so the table has none. The table's memory is still that
of the processes; the GPU's stands below, as far as each side counts it. A variant of PyTorch that does
not start (torch.compile needs Triton and a C compiler) is told and left out.

`--growth` times the arm `vlora` of the program alone, at other batch sizes and depths. For ranks see ranks.py.
"""

import argparse
import importlib.util
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WORKER = ROOT / "scripts/bench/torch_step.py"
REQUIREMENTS = "scripts/reference/requirements.txt"
TIMES = ("forward_seconds", "backward_seconds", "optimizer_seconds", "step_seconds")
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
MIB = 1 << 20


def cpuinfo(*keys):
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.split(":")[0].strip() in keys:
                return line.split(":", 1)[1].strip()
    return ""


def gpu():
    """Name, driver and memory of the first GPU."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"--device cuda: nvidia-smi does not run ({error})")
    return done.stdout.splitlines()[0]


def machine(device):
    huge_pages = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": cpuinfo("model name") or platform.processor() or platform.machine(),
        "threads": len(os.sched_getaffinity(0)),
        "load_at_start": os.getloadavg()[0],
        "transparent_hugepages": huge_pages.read_text().strip() if huge_pages.exists() else None,
        "python": platform.python_version(),
        "gpu": gpu() if device == "cuda" else None,
    }


class Program:
    def __init__(self, options):
        self.path, self.spec = options.vlora.resolve(), options.spec
        self.steps, self.warmup = options.steps, options.warmup
        self.arguments = ["--device", options.device]
        if options.batch is not None:
            self.arguments += ["--set", f"training.batch_size={options.batch}"]
        if options.precision is not None:
            self.arguments += ["--set", f"precision={options.precision}"]
        self.version = self.run(["--version"]).strip()

    def run(self, arguments):
        # As many threads as PyTorch gets.
        threads = {"RAYON_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
        done = subprocess.run(
            [self.path, *arguments], capture_output=True, text=True, env=os.environ | threads
        )
        if done.returncode != 0:
            sys.exit(f"vlora {arguments[0]} exits {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def bench(self, arm, overrides=()):
        """Measures an arm in a new process; returns the arm's JSON object."""
        with tempfile.TemporaryDirectory() as folder:
            out = f"{folder}/bench.json"
            arguments = ["bench", self.spec, "--synthetic", "--arm", arm, "--json", out]
            arguments += ["--steps", str(self.steps), "--warmup", str(self.warmup)]
            arguments += self.arguments
            for override in overrides:
                arguments += ["--set", override]
            self.run(arguments)
            (found,) = json.loads(pathlib.Path(out).read_text())
        if found["resident_peak_bytes"] is None:
            sys.exit("vlora bench could not measure its peak: /proc/self/clear_refs is not writable")
        return found


class Ended(Exception):
    """A process of torch_step.py has ended; holds its last lines."""


class Worker:
    """A process of torch_step.py, kept alive."""

    def __init__(self, options, arm, variant, threads):
        self.name = f"PyTorch, {variant}"
        self.errors = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-W", "ignore", WORKER, options.spec, arm, variant, str(threads)]
        command += [options.device] + ([] if options.batch is None else [str(options.batch)])
        # A pool of compiling processes would keep running during the measurement.
        environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self.process = subprocess.Popen(
            command, env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-8:]
            raise Ended("\n".join([f"{self.name} exits {self.process.wait()}:", *last]))
        return json.loads(line)

    def start(self, warmup):
        """Waits for its first steps, in which it compiles."""
        self.about = self.answer()
        if missing := self.about["without_gradient"]:
            sys.exit(f"{self.name}: no gradient for {', '.join(missing)}")
        self.run(warmup)

    def run(self, steps):
        self.process.stdin.write(json.dumps({"steps": steps}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def measure(self, warmup, steps):
        before = self.run(warmup)
        out = self.run(steps)
        # The idle time is that before the warm-up.
        out["idle_cpu_seconds"] = before["idle_cpu_seconds"]
        for name in TIMES:
            out[name] = statistics.median(step[name] for step in out["steps"])
        out["over_start_bytes"] = out["resident_peak_bytes"] - self.about["start_resident_bytes"]
        return out

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def check_same(arm, ours, about):
    for name in ("parameters", "batch_size", "threads"):
        if ours[name] != about[name]:
            sys.exit(f"arm {arm}: {name} is {ours[name]} in vlora, {about[name]} in PyTorch")


def spread(values):
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"quartiles": [low, high], "median": middle, "range": [min(values), max(values)]}


def compare(program, arm, options, threads):
    """All rounds of an arm, and the ratios in them."""
    workers = {}
    try:
        for variant in options.variants:
            # One after the other, since compiling beside another's first steps saves no time.
            worker = Worker(options, arm, variant, threads)
            try:
                worker.start(options.warmup)
            except Ended as error:
                if options.device == "cpu":
                    raise
                print(f"left out, arm {arm}: {error}")
            else:
                workers[variant] = worker
        if not workers:
            sys.exit(f"arm {arm}: no variant of PyTorch runs")
        rounds = []
        for number in range(options.rounds):
            order = [None, *workers]
            found = {}
            for variant in order if number % 2 == 0 else reversed(order):
                if variant is None:
                    ours = program.bench(arm)
                    # The whole resident size, as an upper bound.
                    ours["over_start_bytes"] = ours["resident_peak_bytes"]
                    if options.device == "cuda":
                        # GPU memory held by tensors, including the images.
                        ours["device_peak_bytes"] = ours["peak_bytes"]
                else:
                    found[variant] = workers[variant].measure(options.warmup, options.steps)
            for worker in workers.values():
                check_same(arm, ours, worker.about)
            rounds.append({"vlora": ours, "pytorch": found})
    finally:
        for worker in workers.values():
            worker.close()
    return {
        "about": {variant: worker.about for variant, worker in workers.items()},
        "rounds": rounds,
        "ratios": {variant: ratios(rounds, variant) for variant in workers},
    }


def ratios(rounds, variant):
    # On a GPU the program's parts of a step are the times to queue them, and PyTorch's those of the GPU.
    times = TIMES if rounds[0]["vlora"]["device"] == "cpu" else ("step_seconds",)
    names = (*times, "resident_peak_bytes", "over_start_bytes")
    if all(r["vlora"].get("device_peak_bytes") for r in rounds):
        names += ("device_peak_bytes",) if "device_peak_bytes" in rounds[0]["pytorch"][variant] else ()
    quotients = lambda name: [r["vlora"][name] / r["pytorch"][variant][name] for r in rounds]
    return {name: spread(quotients(name)) for name in names}


def table(arm, result, options):
    rounds = result["rounds"]
    rows = {"vlora": [r["vlora"] for r in rounds]}
    rows |= {f"PyTorch, {v}": [r["pytorch"][v] for r in rounds] for v in result["about"]}
    first = rows["vlora"][0]
    digits = 4 if options.device == "cuda" else 3
    print(f"\narm {arm}: {first['parameters']:,} parameters, batch {first['batch_size']}")
    for variant, about in result["about"].items():
        clipping = f"clipping: {about['clipping']}" if about["clipping"] else "no clipping"
        print(f"  PyTorch, {variant}: AdamW: {about['adamw']}, {clipping}")
    print(f"{'seconds':24}{'forward':>9}{'backward':>9}{'optimizer':>10}{'step':>9}"
          f"{'(quartiles)':>17}{'peak':>11}{'over start':>11}")  # fmt: skip
    for name, found in rows.items():
        middle = {key: statistics.median(f[key] for f in found) for key in TIMES}
        if options.device == "cuda" and name == "vlora":
            # Its parts are the times to queue them.
            middle |= {key: math.nan for key in TIMES if key != "step_seconds"}
        low, high = spread([f["step_seconds"] for f in found])["quartiles"]
        peak, over = (max(f[key] for f in found) / MIB
                      for key in ("resident_peak_bytes", "over_start_bytes"))  # fmt: skip
        part = lambda key: "–" if math.isnan(middle[key]) else f"{middle[key]:.{digits}f}"
        print(f"{name:24}{part('forward_seconds'):>9}{part('backward_seconds'):>9}"
              f"{part('optimizer_seconds'):>10}{middle['step_seconds']:9.{digits}f}"
              f"{f'({low:.{digits}f}–{high:.{digits}f})':>17}{peak:7.0f} MiB{over:7.0f} MiB")  # fmt: skip
    print(f"{'vlora over':24}{'step: median':>13}{'quartiles':>13}{'lowest–highest':>17}"
          f"{'peak':>8}{'over start':>12}")  # fmt: skip
    for variant, ratio in result["ratios"].items():
        step, name = ratio["step_seconds"], f"PyTorch, {variant}"
        (low, high), (least, most) = step["quartiles"], step["range"]
        print(f"{name:24}{step['median']:13.2f}{f'{low:.2f}–{high:.2f}':>13}"
              f"{f'{least:.2f}–{most:.2f}':>17}{ratio['resident_peak_bytes']['median']:8.2f}"
              f"{ratio['over_start_bytes']['median']:12.2f}")  # fmt: skip
    if options.device == "cuda":
        gpu_rows(rows)
        return
    for variant in result["about"]:
        if not all(r["pytorch"][variant]["peak_of_steps"] for r in rounds):
            print(f"  PyTorch, {variant}: its peak is that of the whole process")


def gpu_rows(rows):
    """The rows that only a measurement on a GPU has."""
    for name, found in rows.items():
        said = []
        for key, about in (("device_peak_bytes", "tensors"), ("device_reserved_bytes", "held")):
            if values := [f[key] for f in found if f.get(key)]:
                said.append(f"{about} {max(values) / MIB:.0f} MiB")
        if in_a_row := [f["seconds_in_a_row"] for f in found if "seconds_in_a_row" in f]:
            said.append(f"steps in a row {statistics.median(in_a_row):.4f} s each")
        if said:
            print(f"  {name}, on the GPU: {', '.join(said)}")


def growth_cases(spec):
    """(field, value, value at the spec's own size, overrides), the spec's own size first."""
    import yaml

    spec = yaml.safe_load(pathlib.Path(spec).read_text())
    size = spec["vlora"]["compound_size"]
    own = {
        "training.batch_size": spec.get("training", {}).get("batch_size", 64),
        "model.depth": spec["model"]["depth"],
    }
    values = {
        "training.batch_size": [16, 32, 64, 128],
        # Whole compounds only: one, two, three, six.
        "model.depth": [size, 2 * size, 3 * size, 6 * size],
    }
    for field, listed in values.items():
        for value in sorted({*listed, own[field]}):
            yield field, value, own[field], [] if value == own[field] else [f"{field}={value}"]


def growth(program, options):
    cases = list(growth_cases(options.spec))
    rounds = []
    for number in range(options.rounds):
        found = {"": program.bench("vlora")}
        for field, value, _, overrides in cases if number % 2 == 0 else reversed(cases):
            for override in overrides:
                found[override] = program.bench("vlora", [override])
                if field == "training.batch_size" and found[override]["batch_size"] != value:
                    sys.exit(f"vlora bench takes no notice of --set {override}")
        rounds.append(found)
    rows = []
    for field, value, own, overrides in cases:
        key = "".join(overrides)
        times = [r[key]["step_seconds"] for r in rounds]
        relative = [r[key]["step_seconds"] / r[""]["step_seconds"] for r in rounds]
        # The cost per unit (image, layer), relative to the spec's own size.
        linear = spread([t * own / value for t in relative])
        rows.append({
            "field": field, "value": value, "own": own, "seconds": spread(times),
            "relative": spread(relative), "per_unit": linear,
            "resident_peak_bytes": max(r[key]["resident_peak_bytes"] for r in rounds),
        })  # fmt: skip
    return {"rows": rows, "rounds": rounds}


def growth_table(result):
    print(f"\n{'arm vlora':38}{'step':>9}{'(quartiles)':>17}{'of own':>8}"
          f"{'from linear':>13}{'peak':>11}")  # fmt: skip
    for row in result["rows"]:
        own = "  (the spec's)" if row["value"] == row["own"] else ""
        name = f"{row['field']} {row['value']}{own}"
        low, high = row["seconds"]["quartiles"]
        off = f"{100 * (row['per_unit']['median'] - 1):+.0f} %"
        peak = row["resident_peak_bytes"] / MIB
        print(f"{name:38}{row['seconds']['median']:7.3f} s{f'({low:.3f}–{high:.3f})':>17}"
              f"{row['relative']['median']:8.2f}{off:>13}{peak:7.0f} MiB")  # fmt: skip


def save(path, found):
    """Writes atomically."""
    if path:
        partly = path.with_name(f".{path.name}.tmp")
        partly.write_text(json.dumps(found, indent=1) + "\n")
        partly.replace(path)


def options():
    has_bf16 = bool(BF16_FLAGS & set(cpuinfo("flags", "Features").split()))
    variants = ["eager", "compile"] + (["bf16", "compile+bf16"] if has_bf16 else [])
    listed = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit-192",
                        help="of experiments/benchmarks/, as vit-192 or vit-b16, or a spec's path")
    parser.add_argument("--vlora", type=pathlib.Path, default=ROOT / "target/release/vlora")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, help="instead of the spec's training.batch_size")
    parser.add_argument("--precision", help="vlora's, for `precision` in the spec; on a GPU bf16 by default")
    parser.add_argument("--arms", type=listed, default=["baseline", "vlora"])
    parser.add_argument("--variants", type=listed,
                        help=f"of eager,compile,bf16,compile+bf16; here {','.join(variants)}, on a GPU "
                             "those of --precision, tf32 and compile+tf32 among them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="timed in each round")
    parser.add_argument("--warmup", type=int, default=2, help="before them, in each round")
    parser.add_argument("--growth", action="store_true", help="the program alone, at other sizes")
    parser.add_argument("--json", type=pathlib.Path, help="where everything measured is written")
    out = parser.parse_args()
    named = ROOT / f"experiments/benchmarks/{out.model}.yaml"
    out.spec = pathlib.Path(out.model) if out.model.endswith(".yaml") else named
    out.left_out_bf16 = not has_bf16 and out.variants is None and out.device == "cpu"
    if out.device == "cuda":
        out.precision = out.precision or "bf16"
        own = {"bf16": ["bf16", "compile+bf16"], "tf32": ["tf32", "compile+tf32"]}
        variants = own.get(out.precision, ["eager", "compile"])
    out.variants = out.variants or variants
    check(parser, out)
    return out


def check(parser, out):
    """Reports early what would fail later."""
    if out.rounds < 2 or out.steps < 1 or out.warmup < 1:
        parser.error("--rounds needs 2 or more, --steps and --warmup 1 or more")
    if not out.spec.is_file():
        sys.exit(f"no spec at {out.spec}")
    if not out.vlora.is_file():
        sys.exit(f"no program at {out.vlora}: cargo build --release, or --vlora PATH")
    needed = ["yaml"] if out.growth else ["yaml", "torch", "timm", "vlora"]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        sys.exit(f"{sys.executable} has no {names}: pip install -r {REQUIREMENTS}")
    compiles = not out.growth and any("compile" in v for v in out.variants)
    if compiles and out.device == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        sys.exit("torch.compile needs g++: install it, or leave compile out of --variants")


def main():
    chosen = options()
    program = Program(chosen)
    here = machine(chosen.device)
    found = {
        "model": chosen.spec.stem, "machine": here, "program": program.version,
        "device": chosen.device, "precision": chosen.precision, "batch": chosen.batch,
        "rounds": chosen.rounds, "steps": chosen.steps, "warmup": chosen.warmup,
    }  # fmt: skip
    print(f"{chosen.spec.stem}: {chosen.rounds} rounds of {chosen.steps} steps, "
          f"{chosen.warmup} before them to warm up")
    print(f"CPU: {here['cpu']}, {here['threads']} threads, load {here['load_at_start']:.2f} at the "
          f"start; {program.version}")  # fmt: skip
    if here["gpu"]:
        print(f"GPU: {here['gpu']}; vlora in {chosen.precision}")
    if chosen.growth:
        found["growth"] = growth(program, chosen)
        growth_table(found["growth"])
        save(chosen.json, found)
        return
    if chosen.left_out_bf16:
        print("bf16 is left out, which this processor has no instructions for; --variants times it")
    found["arms"] = {}
    for arm in chosen.arms:
        try:
            result = compare(program, arm, chosen, here["threads"])
        except Ended as error:
            sys.exit(str(error))
        about = next(iter(result["about"].values()))
        if not found["arms"]:
            versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
            print(f"Python {here['python']}, {versions}; its own kernels: {about['instructions']}")
        found["arms"][arm] = result
        table(arm, result, chosen)
        # After each arm, so that a later failure loses nothing.
        save(chosen.json, found)


if __name__ == "__main__":
    main()
