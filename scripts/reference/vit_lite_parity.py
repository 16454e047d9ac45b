#!/usr/bin/env python3
"""Trains ViT-Lite in plain PyTorch on the images that a run of this program was trained on, and compares the losses.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    vlora run experiments/paper/cifar10-vit-lite-published.yaml --out parity --set training.steps=200 \\
        --set model.attention_dropout=0 --set precision=float32 --set 'seeds=[0]'
    env/bin/python scripts/reference/vit_lite_parity.py parity/cifar10-vit-lite-published/runs/*/ --data FOLDER

`--data` is the folder of uoft-cs/cifar10 with its Parquet files. Nothing of the run is read but its settings
(spec.json) and its losses (steps.jsonl). The initial weights, the order of the images, what is cropped, mirrored and
changed by AutoAugment, and which branches stochastic depth leaves out come from the seed by the same counter-based
streams, written again here. The operations on images are torchvision's on Pillow images, the model is Compact
Transformers' from its definition (make_recipe_fixtures.py), the optimiser PyTorch's AdamW. Attention's dropout must be
0. Prints the largest difference of a step's loss, and exits with 1 if it is above `--within`.
"""

import argparse
import io
import json
import math
import pathlib
import sys

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from make_recipe_fixtures import VitLite, decays
from streams import Draws, Stream, all_within, expect, lines, permutation, rate, uniform


# What this script knows of the settings that may be otherwise.
TRAINING = {"accumulation": 1, "clip_norm": None, "schedule": "cosine", "warmup_steps": None}
AUGMENT = {
    "auto_augment": "cifar10",
    "policy_first": True,
    "horizontal_flip": True,
    "random_resized_crop": None,
    "rand_augment": None,
    "erasing": None,
    "mix": None,
}


class Augmentation:
    """AutoAugment, crop and flip, in this order."""

    def __init__(self, augment, seed):
        self.seed, self.padding, self.fill = seed, augment["crop_padding"], augment.get("fill", 0)
        self.policy = AutoAugment(AutoAugmentPolicy.CIFAR10)
        self.space = self.policy._augmentation_space(10, (32, 32))

    def __call__(self, image, epoch, example):
        name = f"{epoch}/{example}"
        draws = Draws(Stream(self.seed, "policy", name))
        pair = self.policy.policies[draws.below(25)]
        drawn = [(draws.below(10), draws.below(2)) for _ in pair]
        for (operation, p, place), (tenth, negative) in zip(pair, drawn, strict=True):
            if tenth < round(10 * p):
                values, signed = self.space[operation]
                magnitude = 0.0 if place is None else float(values[place])
                magnitude = -magnitude if signed and negative else magnitude
                image = _apply_op(image, operation, magnitude, InterpolationMode.NEAREST, self.fill)
        draws = Draws(Stream(self.seed, "augment", name))
        right, down = (draws.below(2 * self.padding + 1) for _ in range(2))
        image = ImageOps.expand(image, self.padding).crop((right, down, right + 32, down + 32))
        return ImageOps.mirror(image) if draws.below(2) else image


class Model(VitLite):
    """With the initial weights of a seed, and stochastic depth."""

    def __init__(self, model, seed):
        super().__init__(model)
        self.spec, self.seed = model, seed
        patch = model["channels"] * model["patch_size"] ** 2
        with torch.no_grad():
            for name, p in self.named_parameters():
                std = 0.02
                if name == "patch_embed.proj.weight":
                    std = math.sqrt(2 / patch)
                elif name == "pos_embed":
                    std = 0.2
                stream = Stream(seed, "init", name)
                if name == "patch_embed.proj.bias":
                    values = (2 * uniform(stream, p.numel()) - 1) / math.sqrt(patch)
                elif name == "cls_token" or name.endswith("bias"):
                    values = np.zeros(p.numel())
                elif "norm" in name:
                    values = np.ones(p.numel())
                else:
                    values = std * stream.normal(p.numel())
                p.copy_(torch.tensor(values.astype(np.float32)).reshape(p.shape))
        for norm in [self.norm, *(n for b in self.blocks for n in (b.norm1, b.norm2))]:
            norm.eps = model["norm_eps"]

    def factors(self, layer, part, step, batch):
        rate = self.spec.get("stochastic_depth", 0) * layer / (self.spec["depth"] - 1)
        if rate == 0:
            return 1.0
        draws = Draws(Stream(self.seed, "stochastic depth", f"blocks.{layer}.{part} {step} 0"), 2 * batch)
        kept = [0.0 if draws.uniform() < rate else 1 / (1 - rate) for _ in range(batch)]
        return torch.tensor(kept, dtype=torch.float32).view(-1, 1, 1)

    def loss(self, images, labels, step, smoothing):
        parts = ("attn.proj", "mlp.fc2")
        factors = lambda layer: [self.factors(layer, part, step, len(images)) for part in parts]
        return F.cross_entropy(self(images, factors), labels, label_smoothing=smoothing)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=pathlib.Path, help="a run's folder")
    arguments.add_argument("--data", type=pathlib.Path, required=True, help="the folder of uoft-cs/cifar10")
    arguments.add_argument("--steps", type=int, default=200)
    arguments.add_argument("--within", type=float, default=1e-3)
    given = arguments.parse_args()
    run = json.loads((given.run / "spec.json").read_text())
    spec, seed = run["spec"], run["seed"]
    model, training, data = spec["model"], spec["training"], spec["data"]
    assert model["variant"] == "compact-transformers" and not model.get("attention_dropout"), model
    assert not model.get("dropout") and spec["method"] == "dense" and data["validation"] is None
    expect(given.run, training, TRAINING)
    expect(given.run, data["augment"], AUGMENT, written=("auto_augment", "policy_first", "horizontal_flip"))
    theirs = lines(given.run, "steps.jsonl")[: given.steps]

    rows = pq.read_table(next(given.data.rglob("train*.parquet")))
    images = [Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in rows["img"].to_pylist()]
    labels = torch.tensor(rows["label"].to_pylist())
    mean, std = (torch.tensor(data["normalize"][k]).view(3, 1, 1) for k in ("mean", "std"))
    augmentation = Augmentation(data["augment"], seed)
    network = Model(model, seed)
    parameters = dict(network.named_parameters())
    groups = [
        {"params": [p for n, p in parameters.items() if decays(n, p)], "weight_decay": training["weight_decay"]},
        {"params": [p for n, p in parameters.items() if not decays(n, p)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(training["beta1"], training["beta2"]), eps=training["epsilon"])
    size = training["batch_size"]
    per_epoch = -(-len(images) // size)
    total = min(training.get("steps") or math.inf, training["epochs"] * per_epoch)
    differences = []
    for step, own in enumerate(theirs):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            order = permutation(Stream(seed, "order", str(epoch)), len(images))
        examples = order[place * size : (place + 1) * size]
        batch = [np.asarray(augmentation(images[e], epoch, e)) for e in examples]
        pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255
        for group in optimizer.param_groups:
            group["lr"] = rate(training, step, total)
        optimizer.zero_grad()
        loss = network.loss((pixels - mean) / std, labels[examples], step + 1, training["label_smoothing"])
        loss.backward()
        optimizer.step()
        apart = abs(loss.item() - own["loss"])
        differences.append(apart)
        if step < 3 or (step + 1) % 20 == 0:
            print(f"step {step + 1}: PyTorch {loss.item():.6f}, here {own['loss']:.6f}, apart {apart:.1e}", flush=True)
    if not differences:
        sys.exit(f"{given.run}: no steps")
    print(f"{len(differences)} steps, apart by at most {max(differences):.1e}")
    sys.exit(not all_within(differences, given.within))


if __name__ == "__main__":
    main()
