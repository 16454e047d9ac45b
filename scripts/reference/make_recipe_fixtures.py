#!/usr/bin/env python3
"""Makes fixtures of what recipes for images consist of: augmentation, ViT-Lite's layers, and averaged weights.

    pip install -r scripts/reference/requirements.txt
    python scripts/reference/make_recipe_fixtures.py

`images/operations.safetensors`: images, and what torchvision's AutoAugment and RandAugment make of Pillow images
of them by each operation and magnitude; the metadata's `cases` names them, `cifar10` is the policy, `random` are
RandAugment's operations, and `erasing` and `cutmix` have means over many draws of torchvision's RandomErasing and
timm's Mixup. `vit-lite.safetensors` is a model of Compact Transformers (arXiv 2104.05704) written from its
definition (SHI-Labs/Compact-Transformers at cd11f09, src/utils/transformers.py), and `vit-ema.safetensors` timm's ViT
trained with its ModelEmaV3. Both hold tensors as those of make_fixtures.py do, with this project's names.
"""

import json
import math
import pathlib

import numpy as np
import timm
import torch
import yaml
from PIL import Image
from timm.data.mixup import Mixup
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode, RandAugment, RandomErasing
from torchvision.transforms.autoaugment import _apply_op

import readings
from experiments import BATCH, CLASSES, CLIP, SIDE, SMOOTHING, STEPS, TRAINING, spec
from stable import save_stable

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures"
DRAWS = 20_000


def images():
    """Slow colours with edges, noise, one colour, and few values; and the first in grey."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:20, 0:18]
    slow = np.stack([40 + 9 * x, 220 - 8 * y, 60 + 3 * x + 4 * y], -1)
    slow[5:9, 4:12] = [250, 10, 128]
    noise = rng.integers(0, 256, (20, 18, 3))
    plain = np.full((20, 18, 3), [90, 90, 90])
    few = np.stack([60 + 100 * (x // 6 == 1), 30 + 2 * (y // 7), 128 + 0 * x], -1)
    all = [Image.fromarray(a.astype(np.uint8)) for a in (slow, noise, plain, few)]
    return all + [all[0].convert("L"), all[1].convert("L")]


def magnitudes(name, space, places):
    """Pairs of a place and its magnitude, with both signs where torchvision draws one."""
    values, signed = space[name]
    if values.ndim == 0:
        return [(0, 0.0)]
    values = [(place, float(values[place])) for place in places]
    return values + [(place, -v) for place, v in values if v] if signed else values


def operations():
    tensors, cases = {}, []
    pictures = images()
    for i, picture in enumerate(pictures):
        tensors[f"image.{i}"] = torch.from_numpy(np.array(picture).reshape(20, 18, -1).copy())
    # RandAugment's default is the tenth of 31 magnitudes.
    spaces = [
        (10, range(10), AutoAugment(AutoAugmentPolicy.CIFAR10)._augmentation_space(10, (20, 18))),
        (31, range(8, 12), RandAugment()._augmentation_space(31, (20, 18))),
    ]
    results = []
    for bins, places, space in spaces:
        for name in space:
            for place, magnitude in magnitudes(name, space, places):
                for i, picture in enumerate(pictures):
                    fill = 128 if i % 2 else None
                    changed = _apply_op(picture, name, magnitude, InterpolationMode.NEAREST, fill)
                    cases.append([i, name, bins, place, magnitude, fill or 0])
                    results.append(np.array(changed).reshape(-1))
    # Sums of all values, and of all by their places, keep the file small.
    weights = [np.arange(1, len(r) + 1, dtype=np.int64) for r in results]
    sums = [[int(r.astype(np.int64).sum()), int((r.astype(np.int64) * w).sum())]
            for r, w in zip(results, weights, strict=True)]  # fmt: skip
    return tensors, [[*case, *s] for case, s in zip(cases, sums, strict=True)]


def policy():
    return [[[name, p, place] for name, p, place in pair] for pair in AutoAugment(AutoAugmentPolicy.CIFAR10).policies]


def moments(values):
    values = np.array(values, dtype=np.float64)
    return {"mean": values.mean(), "std": values.std()}


def erasing():
    """Of images of 32 × 32: how many are erased, and moments of the rectangle."""
    out = []
    for scale, ratio in [((0.02, 0.33), (0.3, 3.3)), ((0.2, 1.0), (0.1, 6.0))]:
        torch.manual_seed(0)
        boxes = []
        image = torch.ones(1, 32, 32)
        for _ in range(DRAWS):
            y, x, h, w, _ = RandomErasing.get_params(image, scale, ratio, [0.0])
            if (h, w) != (32, 32):
                boxes.append([x, y, w, h])
        columns = [moments(c) for c in zip(*boxes, strict=True)]
        out.append({"scale": scale, "ratio": ratio, "draws": DRAWS, "share": len(boxes) / DRAWS, "moments": columns})
    return out


def cutmix():
    """Of images of 32 × 32: moments of an image's own share."""
    out = []
    for alpha in (0.3, 1.0):
        np.random.seed(0)
        mix = Mixup(mixup_alpha=0.0, cutmix_alpha=alpha, label_smoothing=0.0, num_classes=2)
        x = torch.zeros(2, 1, 32, 32)
        out.append({"alpha": alpha, "draws": DRAWS, **moments([mix._mix_batch(x) for _ in range(DRAWS)])})
    return out


class Layer(nn.Module):
    """A layer of Compact Transformers, with timm's names."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim, bias=False), "proj": nn.Linear(dim, dim)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, hidden), "fc2": nn.Linear(hidden, dim)})

    def forward(self, x, factors=(1.0, 1.0)):
        """`factors`: of attention and of the MLP, as stochastic depth draws them."""
        batch, tokens, dim = x.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, -1).transpose(1, 2)
            for part in self.attn["qkv"](self.norm1(x)).chunk(3, -1)
        )
        weights = (q @ k.transpose(-2, -1) / math.sqrt(dim // self.heads)).softmax(-1)
        x = x + factors[0] * self.attn["proj"]((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))
        x = self.norm2(x)
        return x + factors[1] * self.mlp["fc2"](F.gelu(self.mlp["fc1"](x)))


class VitLite(nn.Module):
    def __init__(self, model):
        super().__init__()
        dim, patch = model["dim"], model["patch_size"]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(model["channels"], dim, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (model["image_size"] // patch) ** 2 + 1, dim))
        hidden = int(dim * model["mlp_ratio"])
        self.blocks = nn.ModuleList(Layer(dim, model["heads"], hidden) for _ in range(model["depth"]))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, model["classes"])

    def forward(self, images, factors=lambda layer: (1.0, 1.0)):
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x, factors(i))
        return self.head(self.norm(x)[:, 0])


def decays(name, parameter):
    return parameter.ndim > 1 and name not in ("cls_token", "pos_embed")


def trained(name, text, model, seed, ema_decay=None):
    """A fixture with the tensors that those of make_fixtures.py have."""
    torch.manual_seed(seed)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for p in parameters.values():
            p.add_(0.2 * torch.randn_like(p))
    inputs, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH) % CLASSES
    out = {"images": inputs, "labels": labels}
    out |= {f"weight.{n}": p.detach().clone() for n, p in parameters.items()}
    groups = [
        {"params": [p for n, p in parameters.items() if decays(n, p)]},
        {"params": [p for n, p in parameters.items() if not decays(n, p)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, **TRAINING)
    ema = ModelEmaV3(model, decay=ema_decay) if ema_decay else None
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = model(inputs)
        loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
        loss.backward()
        if step == 0:
            out |= {"logits": logits.detach(), "loss": loss.detach()}
            out |= {f"grad.{n}": p.grad.clone() for n, p in parameters.items()}
        nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
        if ema:
            ema.update(model)
    after = ema.module if ema else model
    out |= {f"after.{n}": p.detach().clone() for n, p in after.named_parameters()}
    save_stable(out, OUT / f"{name}.safetensors",
                {"torch": torch.__version__, "timm": timm.__version__, "spec": text})  # fmt: skip
    print(name, "loss", out["loss"].item())


def models():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    text = spec(3).replace("pool: class-token", "pool: class-token, variant: compact-transformers,\n  norm_eps: 1.0e-5")
    trained("vit-lite", text, VitLite(yaml.safe_load(text)["model"]), seed=80)
    text = spec(2).replace("training: {", "training: {ema_decay: 0.8, ")
    settings = readings.timm_settings(yaml.safe_load(text)["model"])
    trained("vit-ema", text, timm.models.VisionTransformer(**settings), seed=81, ema_decay=0.8)


def main():
    tensors, cases = operations()
    random = list(RandAugment()._augmentation_space(31, (32, 32)))
    facts = {"cases": cases, "cifar10": policy(), "random": random, "erasing": erasing(), "cutmix": cutmix()}
    save_stable(tensors, OUT / "images/operations.safetensors", {k: json.dumps(v) for k, v in facts.items()})
    print("operations:", len(cases), "cases")
    models()


if __name__ == "__main__":
    main()
