#!/usr/bin/env python3
"""Makes tests/fixtures/: small models in PyTorch with what they compute, as an oracle.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_fixtures.py

Each file holds, in float32, one model and one batch: `images`, `labels` (int64), `logits`,
`loss` (cross-entropy with label smoothing), `weight.<name>` for every parameter, `grad.<name>`
for every one that is trained, and `after.<name>`: every parameter after ten AdamW steps on the
same batch (PyTorch's clip_grad_norm_ and AdamW, decay on matrices only). The metadata's `spec`
is the experiment of the same model and training in this project's YAML.

`vlora-authors*` are the authors' package; its parameters are renamed to this project's names:
layer `c * size + i` for block i of compound c, `.weight.A` and `.weight.B` for the factors. All
others are timm's ViT with the weights of readings.py. Every file is then read back and computed
again by readings.py, the package's too. The specs are in
experiments.py; checkpoints/ is made by checkpoints.py.
"""

import pathlib
import re

import timm
import torch
import yaml
from safetensors.torch import load_file
from vlora import VisionTransformerVLoRA

import checkpoints
import readings
from experiments import BASE, MAPS, ON_TOP, READINGS, spec
from experiments import BATCH, CLASSES, CLIP, SIDE, SMOOTHING, STEPS, TRAINING
from stable import save_stable

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures"


def decays(name, parameter):
    return parameter.ndim > 1 and name not in ("cls_token", "pos_embed")


def train(run, parameters, forward, images, labels):
    """The outputs of a fixture. Trains the parameters in place."""
    trained = {n: p for n, p in parameters.items() if readings.is_trained(run, n)}
    for name, p in parameters.items():
        p.requires_grad_(name in trained)
    groups = [
        {"params": [p for n, p in trained.items() if decays(n, p)]},
        {"params": [p for n, p in trained.items() if not decays(n, p)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, **TRAINING)
    loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    out = {}
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = forward(parameters, images)
        loss = loss_fn(logits, labels)
        loss.backward()
        if step == 0:
            out |= {"logits": logits.detach(), "loss": loss.detach()}
            out |= {f"grad.{n}": p.grad.clone() for n, p in trained.items()}
        torch.nn.utils.clip_grad_norm_(trained.values(), CLIP)
        optimizer.step()
    return out | {f"after.{n}": p.detach().clone() for n, p in parameters.items()}


def apart(got, want):
    """The largest difference divided by the largest magnitude, as in tests/suite/oracle.rs."""
    return ((got - want).abs().max() / want.abs().max().clamp(min=1e-6)).item()


def replay(fixture, run, dtype):
    """The difference between readings.py and the fixture in logits, in gradients, and after the steps."""
    with torch.random.fork_rng():
        # Its random values are not used and must not change those of the next fixture.
        _, forward = readings.plain(run)
    weights = {n: t for n, t in fixture.items() if n.startswith("weight.")}
    parameters = {n.removeprefix("weight."): t.to(dtype, copy=True) for n, t in weights.items()}
    got = train(run, parameters, forward, fixture["images"].to(dtype), fixture["labels"])
    assert {n for n in fixture if n not in weights} == {"images", "labels", *got}
    kinds = ("logits", "grad.", "after.")
    # NaN if any is, which Python's `max` may pass over.
    most = lambda kind: torch.tensor([apart(got[n], fixture[n]) for n in got if n.startswith(kind)]).max().item()
    return tuple(most(kind) for kind in kinds)


def make(name, text, parameters, forward, seed):
    run = yaml.safe_load(text)
    torch.manual_seed(seed)
    with torch.no_grad():
        # Move parameters away from their initial values: norms 1, biases and LoRA 0, class token
        # near 0.
        for p in parameters.values():
            p.add_(0.2 * torch.randn_like(p))
    images = torch.randn(BATCH, 3, SIDE, SIDE)
    labels = torch.arange(BATCH) % CLASSES
    out = {"images": images, "labels": labels}
    out |= {f"weight.{n}": p.detach().clone() for n, p in parameters.items()}
    out |= train(run, parameters, forward, images, labels)
    info = {"torch": torch.__version__, "timm": timm.__version__, "spec": text}
    save_stable(out, OUT / f"{name}.safetensors", info)
    # In float64, too: if rounding alone changes the results, no two programs agree on them. The
    # limit is a quarter of that in tests/suite/oracle.rs.
    fixture = load_file(OUT / f"{name}.safetensors")
    logits, grads, after = replay(fixture, run, torch.float64)
    assert logits < 2.5e-6 and grads < 2.5e-5 and after < 2.5e-4, (name, logits, grads, after)
    print(f"{name}: {len(parameters)} parameters' tensors, loss {out['loss'].item():.6f}, "
          f"in float64 apart by {logits:.0e}, {grads:.0e}, {after:.0e}")  # fmt: skip
    return fixture, run


def plain(name, text, seed):
    """A model from readings.py; a dense model is timm's, unchanged."""
    make(name, text, *readings.plain(yaml.safe_load(text)), seed)


def our_name(name, size):
    match = re.match(r"blocks\.(\d+)\.blocks\.(\d+)\.(.*)", name)
    if match:
        compound, inner, rest = match.groups()
        name = f"blocks.{int(compound) * size + int(inner)}.{rest}"
    return re.sub(r"\.parametrizations\.(weight|bias)\.0\.", r".\1.", name)


def package(name, text, seed, depth, vl_size, **settings):
    """A model of the authors' package, whose depth is the number of compounds."""
    timm_settings = readings.timm_settings(yaml.safe_load(text)["model"]) | {"depth": depth}
    model = VisionTransformerVLoRA(vl_size=vl_size, **settings, **timm_settings).float().eval()
    # A base weight is also the original of every increment; named_parameters lists it once.
    parameters = {our_name(n, vl_size): p for n, p in model.named_parameters()}
    if not settings.get("vl_enabled", True):
        # These parameters exist, but nothing uses them.
        parameters = {n: p for n, p in parameters.items() if not n.endswith((".A", ".B"))}
    fixture, run = make(name, text, parameters, lambda _, images: model(images), seed)
    logits, grads, _ = replay(fixture, run, torch.float32)
    assert logits < 1e-6 and grads < 1e-6, (name, logits, grads)


def authors():
    package("vlora-authors-lists",
            spec(4, heads=4, vlora="{compound_size: 2, rank: 1, alpha: 3,\n"
                 "  targets: [attn.qkv, {target: mlp.fc2, rank: 4, alpha: 1}]}"),
            seed=4, depth=2, vl_size=2, vl_rank=[1, 4], vl_alpha=[3, 1],
            vl_param_name=["attn.qkv.weight", "mlp.fc2.weight"])  # fmt: skip
    package("vlora-authors-one-compound",
            spec(4, pool="mean", mlp_ratio=3, vlora="{compound_size: 4, rank: 5, alpha: 1}"),
            seed=5, depth=1, vl_size=4, vl_rank=5, vl_alpha=1)  # fmt: skip
    # Nothing detached here: a base weight gets gradient from all layers of its compound.
    package("vlora-authors-disabled",
            spec(3, vlora="{compound_size: 3, rank: 0, detach: false}"),
            seed=6, depth=1, vl_size=3, vl_enabled=False)  # fmt: skip
    # The package's initialisation of 1-D targets calls a function that PyTorch doesn't have.
    torch.nn.init.zero_ = torch.nn.init.zeros_
    package("vlora-authors-vectors",
            spec(3, vlora="{compound_size: 3, rank: 2, alpha: 3,\n"
                 "  targets: [attn.proj, mlp.fc1, norm1.weight, norm2.bias, attn.qkv.bias]}"),
            seed=7, depth=1, vl_size=3, vl_rank=2, vl_alpha=3,
            vl_param_name=["attn.proj.weight", "mlp.fc1.weight", "norm1.weight", "norm2.bias",
                           "attn.qkv.bias"])  # fmt: skip


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    # Each model continues from the random state of the one before, so append new models at the end.
    torch.manual_seed(0)
    plain("vit-class-token", spec(2), seed=1)
    plain("vit-mean", spec(2, pool="mean"), seed=2)
    package("vlora-authors", spec(6, vlora=BASE), seed=3, depth=2, vl_size=3, vl_rank=3, vl_alpha=2)
    authors()
    for seed, (name, vlora) in enumerate(READINGS.items(), 20):
        plain(name, spec(6 if "previous" in name else 3, vlora=vlora), seed)
    for seed, (name, (vlora, lora)) in enumerate(ON_TOP.items(), 40):
        plain(name, spec(3 if vlora else 2, vlora=vlora, lora=lora), seed)
    checkpoints.make(OUT / "checkpoints")
    for seed, (name, (depth, vlora)) in enumerate(MAPS.items(), 60):
        plain(name, spec(depth, vlora=vlora), seed)


if __name__ == "__main__":
    main()
