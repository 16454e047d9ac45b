#!/usr/bin/env python3
"""Makes tests/fixtures/: small models in PyTorch with what they compute, as an oracle.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_fixtures.py

Each file holds, in float32, one model and one batch: `images`, `labels` (int64), `logits`,
`loss` (cross-entropy with label smoothing), `weight.<name>` and `grad.<name>` for every
parameter, and `after.<name>`: every parameter after ten AdamW steps on the same batch
(PyTorch's clip_grad_norm_ and AdamW, decay on matrices only). The metadata's `spec` is the
experiment of the same model and training in this project's YAML.

Dense models are timm's. VLoRA models are the authors' package; their parameters are renamed to
this project's names: layer `c * size + i` for block i of compound c, `.weight.A` and `.weight.B`
for the factors.
"""

import pathlib
import re

import timm
import torch
from safetensors.torch import save_file
from vlora import VisionTransformerVLoRA

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures"
COMMON = dict(img_size=8, patch_size=4, in_chans=3, num_classes=5, embed_dim=12, num_heads=3, mlp_ratio=2)
# With Adam's usual epsilon of 1e-8, gradients that are nothing but rounding (the keys' bias has
# no other) make steps of full size, and no two programs agree on those.
TRAINING = dict(lr=1e-2, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-5)
CLIP, SMOOTHING, STEPS, BATCH = 1.0, 0.1, 10, 6


def our_name(name, size):
    match = re.match(r"blocks\.(\d+)\.blocks\.(\d+)\.(.*)", name)
    if match:
        compound, inner, rest = match.groups()
        name = f"blocks.{int(compound) * size + int(inner)}.{rest}"
    return name.replace(".parametrizations.weight.0.", ".weight.")


def decays(name, parameter):
    return parameter.ndim > 1 and name not in ("cls_token", "pos_embed")


def spec(depth, pool="class-token", vlora=None):
    """The experiment that this project runs for the same model and training."""
    c, t = COMMON, TRAINING
    return f"""\
task: image-classification
data: {{embedded: fashion-mnist-mini}}
model: {{architecture: vit, image_size: {c["img_size"]}, patch_size: {c["patch_size"]},
  channels: {c["in_chans"]}, classes: {c["num_classes"]}, dim: {c["embed_dim"]}, depth: {depth},
  heads: {c["num_heads"]}, mlp_ratio: {c["mlp_ratio"]}, pool: {pool}}}
method: {"vlora" if vlora else "dense"}
{f"vlora: {vlora}" if vlora else ""}
training: {{epochs: {STEPS}, batch_size: {BATCH}, learning_rate: {t["lr"]}, min_learning_rate_ratio: 1,
  warmup_ratio: 0, weight_decay: {t["weight_decay"]}, beta1: {t["betas"][0]}, beta2: {t["betas"][1]},
  epsilon: {t["eps"]}, clip_norm: {CLIP}, label_smoothing: {SMOOTHING}}}
arms: {{baseline: {{}}}}
seeds: [0]
"""


def make(file, model, spec, seed, size=1):
    torch.manual_seed(seed)
    model = model.float().eval()
    with torch.no_grad():
        # Away from the start, where norms are 1, biases 0 and the class token almost 0.
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    # A base weight is seen again as every increment's original; named_parameters lists it once.
    parameters = {our_name(n, size): p for n, p in model.named_parameters()}
    images = torch.randn(BATCH, 3, 8, 8)
    labels = torch.arange(BATCH) % COMMON["num_classes"]
    loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    out = {"images": images, "labels": labels}
    out |= {f"weight.{n}": p.detach().clone() for n, p in parameters.items()}
    groups = [
        {"params": [p for n, p in parameters.items() if decays(n, p)]},
        {"params": [p for n, p in parameters.items() if not decays(n, p)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, **TRAINING)
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = model(images)
        loss = loss_fn(logits, labels)
        loss.backward()
        if step == 0:
            out |= {"logits": logits.detach(), "loss": loss.detach()}
            out |= {f"grad.{n}": p.grad.clone() for n, p in parameters.items()}
        torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
    out |= {f"after.{n}": p.detach().clone() for n, p in parameters.items()}
    info = {"torch": torch.__version__, "timm": timm.__version__, "spec": spec}
    save_file({k: v.contiguous() for k, v in out.items()}, OUT / file, metadata=info)
    print(f"{file}: {len(parameters)} parameters' tensors, loss {out['loss'].item():.6f}")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    vit = timm.models.vision_transformer.VisionTransformer
    torch.manual_seed(0)
    make("vit-class-token.safetensors", vit(depth=2, **COMMON), spec(2), seed=1)
    mean = vit(depth=2, global_pool="avg", class_token=False, **COMMON)
    make("vit-mean.safetensors", mean, spec(2, pool="mean"), seed=2)
    # Compounds of three, so that the layer before is not always the compound's first.
    vlora = VisionTransformerVLoRA(depth=2, vl_size=3, vl_rank=3, vl_alpha=2, **COMMON)
    ours = spec(6, vlora="{compound_size: 3, rank: 3, alpha: 2}")
    make("vlora-authors.safetensors", vlora, ours, seed=3, size=3)


if __name__ == "__main__":
    main()
