"""A training step of MiniLM on SST-2's sentences in PyTorch, alone or in turn with this program.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/bench/text_step.py --minilm FOLDER --data FOLDER [--steps N]
    cargo build --release
    env/bin/python scripts/bench/text_step.py --minilm FOLDER --data FOLDER --vlora target/release/vlora

--minilm is a folder with MiniLM's config.json, model.safetensors and tokenizer.json, --data one with
train.parquet (columns `text` and `label`).

A step is zeroed gradients, forward with cross-entropy and dropout, backward, clipping and AdamW, in
float32 on all threads, on the next 32 of SST-2's sentences in batches of about the same length.
Attention, AdamW and clipping are the fastest that transformers and PyTorch have for this model: another
process tries them before, so that what the trial took does not count as memory of the steps.

Without --vlora it measures and prints one JSON object: the median step, its quartiles, the
milliseconds, the shape and the tokens of each batch, and the peak of the resident size during the
steps.

With --vlora every round runs `vlora bench` (the arm `dense` of experiments/paper/sst2-minilm.yaml) as a
new process, and then PyTorch, whose process stays and warms up in each round as vlora does; every second
round goes the other way, so that a machine that slows down favours nobody. Both sides take the same
batches in the same order (streams.py), from the first of the epoch on: --data has to hold the sentences
that the spec names. HF_HUB_CACHE says where vlora finds them and the tokenizer. Ratios are taken within a
round: vlora's median step and peak over PyTorch's. Python and PyTorch's libraries are part of the peak;
`over_start` takes away what was resident before the model was built, from vlora nothing.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SPEC = ROOT / "experiments/paper/sst2-minilm.yaml"
DROPOUT = 0.1
MIB = 1 << 20


ATTENTION = ("sdpa", "eager")
ADAMW = {"fused": dict(fused=True), "foreach": dict(foreach=True), "loop": dict(foreach=False)}
CLIPPING = {"foreach": True, "loop": False}


class Step:
    """PyTorch's model and its steps on one batch after another."""

    def __init__(self, options):
        import torch

        sys.path.insert(0, str(ROOT / "scripts/reference"))
        import text_model
        from streams import grouped_batches

        self.torch, self.text_model, self.recipe = torch, text_model, text_model.RECIPE
        self.minilm, size = options.minilm, text_model.RECIPE["batch_size"]
        torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
        torch.manual_seed(0)
        # The data are read before the measurement, as in vlora's.
        split = text_model.Split(text_model.tokenizer(options.minilm), options.data, "train")
        epoch = grouped_batches(0, 0, split.lengths.tolist(), size)
        # A smaller last batch is not timed.
        self.batches = [split.batch(texts) for texts in epoch if len(texts) == size]
        self.start_resident = status("VmRSS")

    def build(self, ways):
        self.ways = ways
        self.model = self.text_model.Classifier(self.minilm, DROPOUT, ways["attention"]).train()
        self.parameters = list(self.model.parameters())
        self.optimizer = self.adamw(ways["adamw"], self.recipe)

    def adamw(self, way, recipe):
        return self.text_model.optimizer(self.model, recipe, **ADAMW[way])

    def choose(self):
        """Chooses the fastest implementations; also returns the time of each."""
        seconds = {"attention": {}}
        few = self.batches[:4]
        for way in ATTENTION:
            self.build({"attention": way, "adamw": "loop"})
            passes = lambda: [self.loss(self.model, batch).backward() for batch in few]
            seconds["attention"][way] = best_of_three(passes)
        # The gradients are not zero. The learning rate is, so that AdamW does not change the
        # weights.
        still = self.recipe | {"learning_rate": 0.0}
        seconds["adamw"] = {way: best_of_three(self.adamw(way, still).step) for way in ADAMW}
        seconds["clipping"] = {
            way: best_of_three(lambda: self.clip(1e9, CLIPPING[way])) for way in CLIPPING
        }
        ways = {what: min(tried, key=tried.get) for what, tried in seconds.items()}
        return ways | {"seconds": seconds}

    def clip(self, norm, foreach):
        self.torch.nn.utils.clip_grad_norm_(self.parameters, norm, foreach=foreach)

    def loss(self, model, batch):
        ids, lengths, labels = batch
        return self.torch.nn.functional.cross_entropy(model(ids, lengths), labels)

    def run(self, number):
        batch = self.batches[number % len(self.batches)]
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.loss(self.model, batch).backward()
        self.clip(self.recipe["clip_norm"], CLIPPING[self.ways["clipping"]])
        self.optimizer.step()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "shape": list(batch[0].shape), "tokens": int(batch[1].sum())}

    def measure(self, warmup, steps):
        """Steps from the first batch on."""
        for number in range(warmup):
            self.run(number)
        of_steps = reset_peak()
        life = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = [self.run(warmup + number) for number in range(steps)]
        peak = status("VmHWM") if of_steps else life()
        times = [f["seconds"] for f in found]
        return {
            "step_ms": 1000 * statistics.median(times),
            "quartiles_ms": quartiles([1000 * t for t in times]),
            "mean_ms": 1000 * statistics.mean(times),
            "tokens": statistics.mean(f["tokens"] for f in found),
            "resident_peak_bytes": peak,
            "over_start_bytes": peak - self.start_resident,
            "peak_of_steps": of_steps,
            "steps_ms": [round(1000 * t, 2) for t in times],
            "shapes": [f["shape"] for f in found],
            "steps_tokens": [f["tokens"] for f in found],
        }

    def about(self):
        import transformers

        return {
            "parameters": sum(p.numel() for p in self.parameters),
            "batch_size": self.recipe["batch_size"],
            "threads": self.torch.get_num_threads(),
            "ways": self.ways,
            "start_resident_bytes": self.start_resident,
            "torch": self.torch.__version__,
            "transformers": transformers.__version__,
            "instructions": self.torch.backends.cpu.get_cpu_capability(),
        }


def best_of_three(way):
    way()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return min(times)


def quartiles(values):
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, high]


def status(field):
    """A size in /proc/self/status, in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


def worker(options):
    """Chooses, or measures on command: `{"warmup": 5, "steps": 40}` in, a line of JSON out."""
    # Libraries may print to standard output, so answers use a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = lambda value: print(json.dumps(value), file=answers, flush=True)
    step = Step(options)
    if options.worker == "choose":
        answer(step.choose())
        return
    step.build(json.loads(options.worker))
    answer(step.about())
    for line in sys.stdin:
        asked = json.loads(line)
        answer(step.measure(asked["warmup"], asked["steps"]))


def own_command(options, task):
    command = [sys.executable, __file__, "--minilm", options.minilm, "--data", options.data]
    if options.threads:
        command += ["--threads", str(options.threads)]
    return [*command, "--worker", task]


class Worker:
    """A process of this script that measures and is kept alive.

    Another process chose the implementations before.
    """

    def __init__(self, options):
        chosen = subprocess.run(own_command(options, "choose"), stdout=subprocess.PIPE, check=True)
        command = own_command(options, chosen.stdout.decode())
        self.process = subprocess.Popen(
            command, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"PyTorch's process ends with {self.process.wait()}")
        return json.loads(line)

    def measure(self, warmup, steps):
        self.process.stdin.write(json.dumps({"warmup": warmup, "steps": steps}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def program(options):
    """Measures vlora in a new process."""
    threads = str(options.threads or len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/bench.json"
        command = [options.vlora, "bench", options.spec, "--arm", options.arm, "--json", out]
        command += ["--steps", str(options.steps), "--warmup", str(options.warmup), "--device", "cpu"]
        for change in options.set:
            command += ["--set", change]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"RAYON_NUM_THREADS": threads}
        )
        if done.returncode != 0:
            sys.exit(f"vlora bench exits {done.returncode}: {done.stderr.strip()}")
        (found,) = json.loads(pathlib.Path(out).read_text())
    if found["resident_peak_bytes"] is None:
        sys.exit("vlora bench could not measure its peak: /proc/self/clear_refs is not writable")
    return found


def compare(options):
    """All rounds, and the ratios in them."""
    other = Worker(options)
    rounds = []
    try:
        for number in range(options.rounds):
            found = {}
            for side in ("vlora", "pytorch") if number % 2 == 0 else ("pytorch", "vlora"):
                if side == "vlora":
                    found[side] = program(options)
                else:
                    found[side] = other.measure(options.warmup, options.steps)
            for name in ("parameters", "batch_size", "threads"):
                ours, theirs = found["vlora"][name], other.about[name]
                if ours != theirs:
                    sys.exit(f"{name} is {ours} in vlora, {theirs} in PyTorch")
            ours, theirs = found["vlora"]["units_per_step"], found["pytorch"]["tokens"]
            if abs(ours - theirs) > 1e-6:
                sys.exit(f"{ours} tokens a step in vlora, {theirs} in PyTorch: other sentences")
            rounds.append(found)
            ours, theirs = 1000 * found["vlora"]["step_seconds"], found["pytorch"]["step_ms"]
            print(f"round {number + 1}: {ours:.0f} ms, {theirs:.0f} ms in PyTorch", file=sys.stderr)
    finally:
        other.close()
    quotients = {
        "step": [r["vlora"]["step_seconds"] * 1000 / r["pytorch"]["step_ms"] for r in rounds],
        "resident_peak": [
            r["vlora"]["resident_peak_bytes"] / r["pytorch"]["resident_peak_bytes"] for r in rounds
        ],
        # Without Python and PyTorch's libraries.
        "resident_peak_over_start": [
            r["vlora"]["resident_peak_bytes"] / r["pytorch"]["over_start_bytes"] for r in rounds
        ],
    }
    ratios = {
        name: {
            "median": statistics.median(values),
            "quartiles": quartiles(values),
            "range": [min(values), max(values)],
        }
        for name, values in quotients.items()
    }
    return {"ratios": ratios, "pytorch": other.about, "rounds": rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=40, help="timed, in each round")
    parser.add_argument("--warmup", type=int, default=5, help="before them, in each round")
    parser.add_argument("--threads", type=int, help="of both sides [default: all]")
    parser.add_argument("--vlora", type=pathlib.Path, help="the program, to measure in turn")
    parser.add_argument("--spec", type=pathlib.Path, default=SPEC)
    parser.add_argument("--arm", default="dense")
    parser.add_argument("--set", action="append", default=[], help="a field of the spec, for vlora")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps < 1 or options.warmup < 1 or options.rounds < 1:
        parser.error("--steps, --warmup and --rounds need 1 or more")
    if options.worker:
        worker(options)
    elif options.vlora:
        print(json.dumps(compare(options)))
    else:
        alone = Worker(options)
        print(json.dumps(alone.about | alone.measure(options.warmup, options.steps)))
        alone.close()


if __name__ == "__main__":
    main()
