"""PyTorch's side of step.py: a process that trains one model in one way, a few steps on command.

    python scripts/bench/torch_step.py SPEC ARM VARIANT THREADS [DEVICE [BATCH]]

The model is that of an arm of the spec: timm's ViT for a dense one, the authors' package for VLoRA; a decoder is
nanoGPT's, and with increments made as that package does (gpt.py).
VARIANT is `eager` or parts joined by `+`: `compile` (torch.compile of the model and its loss), and
`bf16` (autocast of the forward pass) or `tf32` (of a GPU's float32 products). One step, on one batch of random images or
tokens:

    zero_grad · forward and cross-entropy | backward | clip_grad_norm_ · AdamW
    forward_seconds                       | backward_seconds | optimizer_seconds

AdamW is the fastest of PyTorch's three on this model's parameters, clipping the faster of its two;
both are tried at the start, in this process, so that the resident memory may hold some of what the
trial took. Losses are not read, no data is loaded.

DEVICE is `cpu` or `cuda`, BATCH another batch than the spec's. On a GPU a step ends when the GPU is
done (torch.cuda.synchronize); its parts are timed by CUDA events, which hold nothing up. So that the
next step's launches may run ahead, as in training, all steps are run once more without waiting in
between: `seconds_in_a_row` is their time over their number.

Commands come as JSON lines on standard input, `{"steps": 3}`, and each is answered by a line: the
steps' seconds, the loss, the largest resident size during these steps (Linux resets that mark on
request; where it does not, that of the process's life), on a GPU the most bytes of its memory that
tensors took and that PyTorch held, and the processor time that passed since
the answer before, while this process was to be idle. End of input ends the process.
"""

import json
import os
import pathlib
import resource
import sys
import time
from contextlib import nullcontext
from functools import partial

import timm
import torch
import vlora
import yaml
from timm.models.vision_transformer import VisionTransformer
from torch.nn.functional import cross_entropy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts/reference"))
import gpt  # noqa: E402
import readings  # noqa: E402

MODEL_DEFAULTS = dict(channels=3, mlp_ratio=4, pool="class-token")
IN_PACKAGE = {"compound_size", "rank", "alpha"}
ADAMW = {"fused": dict(fused=True), "foreach": dict(foreach=True), "loop": dict(foreach=False)}
CLIPPING = {"foreach": True, "loop": False}


def merged(below, above):
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: merged(below.get(key), value) for key, value in above.items()}


def resolved(path, arm):
    """The arm's model, method, vlora and training, with the defaults of reference.yaml."""
    reference = yaml.safe_load((ROOT / "experiments/reference.yaml").read_text())
    spec = yaml.safe_load(pathlib.Path(path).read_text())
    if arm not in spec["arms"]:
        sys.exit(f"{path} has no arm {arm}, only {', '.join(spec['arms'])}")
    run = {"method": "dense", "model": MODEL_DEFAULTS, "training": reference["training"]}
    run = merged(merged(run, spec), spec["arms"][arm] or {})
    for section in ("start", "lora", "match", "sweep"):
        if run.get(section):
            sys.exit(f"{path}, arm {arm}: {section} is not known here")
    return run


def refuse_other(section, settings, expected):
    """Exits if settings that are ignored here are others than expected."""
    for field, value in expected.items():
        if settings.get(field, value) != value:
            sys.exit(f"{section}.{field} is {settings[field]}: only {value} is known here")


# The settings of models that are not built here; those of decoders are in gpt.py.
OF_VIT = {"variant": "timm", "dropout": 0, "attention_dropout": 0, "stochastic_depth": 0}


def build(run):
    own, dense = run.get("vlora", {}), run["method"] == "dense"
    if more := set() if dense else set(own) - IN_PACKAGE:
        sys.exit(f"vlora.{min(more)} is set: increments are timed as the authors' package makes them by default")
    if run["model"]["architecture"] == "decoder":
        decoder = gpt.Gpt(run["model"])
        if dense:
            return decoder
        return gpt.as_compounds(decoder, own["compound_size"], own["rank"], own.get("alpha", 1))
    refuse_other("model", run["model"], OF_VIT)
    settings = readings.timm_settings(run["model"])
    if (eps := float(run["model"].get("norm_eps", 1e-6))) != 1e-6:
        settings["norm_layer"] = partial(torch.nn.LayerNorm, eps=eps)
    if dense:
        return VisionTransformer(**settings)
    settings["depth"] //= own["compound_size"]
    return vlora.VisionTransformerVLoRA(
        vl_size=own["compound_size"], vl_rank=own["rank"], vl_alpha=own.get("alpha", 1), **settings
    )


def random_batch(run):
    """Inputs and labels of a batch, and the loss of a model's logits on them."""
    model, size = run["model"], run["training"]["batch_size"]
    smoothing = run["training"]["label_smoothing"]
    if model["architecture"] == "decoder":
        shape = size, run["data"].get("window", model["positions"])
        inputs, labels = (torch.randint(model["vocabulary"], shape) for _ in range(2))
    else:
        inputs = torch.randn(size, model["channels"], model["image_size"], model["image_size"])
        labels = torch.randint(model["classes"], (size,))
    loss = lambda logits, y: cross_entropy(logits.flatten(0, -2), y.flatten(), label_smoothing=smoothing)
    return inputs, labels, loss


def groups(model, decay):
    """Parameter groups as in the program: no decay for vectors, an image's positions and the class token."""
    decays = lambda name, p: p.ndim > 1 and name not in ("cls_token", "pos_embed")
    named = list(model.named_parameters())
    return [
        {"params": [p for name, p in named if decays(name, p)], "weight_decay": decay},
        {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0},
    ]


class Processor:
    """Timer for the CPU: an instant is a time."""

    name = "cpu"
    instant = staticmethod(time.perf_counter)

    def wait(self):
        pass

    def seconds(self, start, end):
        return end - start

    def instructions(self):
        return torch.backends.cpu.get_cpu_capability()

    def reset_peak(self):
        pass

    def peak(self):
        return {}


class Gpu:
    """Timer for a GPU, which runs asynchronously: an instant is an event in its stream."""

    name = "cuda"

    def __init__(self):
        if not torch.cuda.is_available():
            sys.exit("PyTorch finds no GPU: torch.cuda.is_available() is false")

    def instant(self):
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self):
        torch.cuda.synchronize()

    def seconds(self, start, end):
        return start.elapsed_time(end) / 1000

    def instructions(self):
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"

    def reset_peak(self):
        torch.cuda.reset_peak_memory_stats()

    def peak(self):
        return {
            "device_peak_bytes": torch.cuda.max_memory_allocated(),
            "device_reserved_bytes": torch.cuda.max_memory_reserved(),
        }


DEVICES = {"cpu": Processor, "cuda": Gpu}


def fastest(ways, make, wait):
    """The name of the fastest way and the seconds of all: the minimum of ten runs each, which other
    processes disturb the least."""
    seconds = {}
    for name, settings in ways.items():
        action = make(settings)
        action()
        wait()
        times = []
        for _ in range(10):
            start = time.perf_counter()
            action()
            wait()
            times.append(time.perf_counter() - start)
        seconds[name] = min(times)
    return min(seconds, key=seconds.get), seconds


class Step:
    def __init__(self, run, variant, device):
        parts = set(variant.split("+")) - {"eager"}
        if parts - {"compile", "bf16", "tf32"}:
            sys.exit(f"no variant {variant}: eager, or compile, bf16 and tf32 joined by +")
        torch.backends.cuda.matmul.allow_tf32 = "tf32" in parts
        torch.manual_seed(0)
        training = run["training"]
        self.device = device
        self.model = build(run).train().to(device.name)
        self.parameters = list(self.model.parameters())
        inputs, labels, of_logits = random_batch(run)
        self.inputs, self.labels = inputs.to(device.name), labels.to(device.name)
        loss = lambda x, y: of_logits(self.model(x), y)
        self.loss = torch.compile(loss) if "compile" in parts else loss
        bf16 = torch.autocast(device.name, torch.bfloat16)
        self.precision = bf16 if "bf16" in parts else nullcontext()
        self.clip_norm = training["clip_norm"]
        self.choose(training)

    def choose(self, training):
        """Chooses the fastest AdamW and clipping, on non-zero gradients."""
        settings = dict(
            lr=float(training["learning_rate"]),
            betas=(training["beta1"], training["beta2"]),
            eps=float(training["epsilon"]),
        )
        # A learning rate of 0, so that the trial does not change the weights.
        decay = training["weight_decay"]
        adamw = lambda **more: torch.optim.AdamW(groups(self.model, decay), **settings | more)
        for p in self.parameters:
            p.grad = torch.full_like(p, 1e-3)
        self.adamw, self.adamw_seconds = fastest(
            ADAMW, lambda way: adamw(lr=0.0, **way).step, self.device.wait
        )
        clip = lambda way: lambda: self.clip(1e9, way)
        self.clipping, self.clipping_seconds = fastest(CLIPPING, clip, self.device.wait)
        self.optimizer = adamw(**ADAMW[self.adamw])
        self.optimizer.zero_grad()

    def clip(self, norm, foreach):
        torch.nn.utils.clip_grad_norm_(self.parameters, norm, foreach=foreach)

    def run(self):
        """Runs a step; returns the instants between its parts."""
        instants = [self.device.instant()]
        self.optimizer.zero_grad()
        with self.precision:
            loss = self.loss(self.inputs, self.labels)
        instants.append(self.device.instant())
        loss.backward()
        instants.append(self.device.instant())
        if self.clip_norm is not None:
            self.clip(self.clip_norm, CLIPPING[self.clipping])
        self.optimizer.step()
        instants.append(self.device.instant())
        self.last = loss.detach()
        return instants

    def __call__(self):
        start = time.perf_counter()
        instants = self.run()
        self.device.wait()
        end = time.perf_counter()
        parts = [self.device.seconds(*pair) for pair in zip(instants, instants[1:])]
        return {
            "step_seconds": end - start,
            "forward_seconds": parts[0],
            "backward_seconds": parts[1],
            "optimizer_seconds": parts[2],
        }

    def in_a_row(self, steps):
        """Seconds per step when no step waits for the one before."""
        start = time.perf_counter()
        for _ in range(steps):
            self.run()
        self.device.wait()
        return (time.perf_counter() - start) / steps

    def without_gradient(self):
        """Names of trained parameters that the last step left without a gradient, or at zero."""
        named = self.model.named_parameters()
        return [name for name, p in named if p.grad is None or not p.grad.any()]


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


def main():
    path, arm, variant, threads, *rest = sys.argv[1:]
    device, batch = (*rest, None, None)[:2]
    # Compiled code and libraries may print to standard output, so answers use a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = lambda value: print(json.dumps(value), file=answers, flush=True)
    torch.set_num_threads(int(threads))
    start_resident = status("VmRSS")
    run = resolved(path, arm)
    if batch is not None:
        run["training"]["batch_size"] = int(batch)
    device = DEVICES[device or "cpu"]()
    step = Step(run, variant, device)
    step()
    answer({
        "parameters": sum(p.numel() for p in step.parameters),
        "without_gradient": step.without_gradient(),
        "batch_size": run["training"]["batch_size"],
        "threads": torch.get_num_threads(),
        "adamw": step.adamw,
        "adamw_seconds": step.adamw_seconds,
        "clipping": None if step.clip_norm is None else step.clipping,
        "clipping_seconds": step.clipping_seconds,
        "start_resident_bytes": start_resident,
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
        "instructions": device.instructions(),
    })  # fmt: skip
    idle_since = time.process_time()
    for line in sys.stdin:
        idle = time.process_time() - idle_since
        of_steps = reset_peak()
        device.reset_peak()
        steps = [step() for _ in range(json.loads(line)["steps"])]
        in_a_row = {"seconds_in_a_row": step.in_a_row(len(steps))} if device.name == "cuda" else {}
        life = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer({
            "steps": steps,
            "loss": step.last.item(),
            "resident_peak_bytes": status("VmHWM") if of_steps else life,
            "life_resident_peak_bytes": life,
            "peak_of_steps": of_steps,
            "idle_cpu_seconds": idle,
            **in_a_row,
            **device.peak(),
        })  # fmt: skip
        idle_since = time.process_time()


if __name__ == "__main__":
    main()
