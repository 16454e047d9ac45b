"""Trains the arms of an image-classification spec in PyTorch, for its accuracies beside this program's.

    python scripts/bench/train.py SPEC PARQUET_FOLDER [--arms A,B] [--seeds 0,1,2] [--threads N]

The recipe is the spec's: timm's ViT for a dense arm and the authors' package for VLoRA, AdamW with the
same parameter groups, warm-up and cosine, clipping, crops with black padding and flips, and normalisation. A spec with
other settings is refused. PARQUET_FOLDER holds the Hub's `train-*.parquet` and `test-*.parquet`. Random numbers
are PyTorch's, so seeds do not pair with this program's: what is compared is the means over seeds.

Prints one JSON line a run: arm, seed, mean training loss and validation accuracy of each epoch, test
accuracy, seconds. Then a line an arm with the mean and the sample standard deviation.
"""

import argparse
import io
import json
import math
import pathlib
import statistics
import sys
import time

import numpy
import pyarrow.parquet
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reference"))
from streams import rate  # noqa: E402
from torch_step import build, groups, refuse_other, resolved

# What this script ignores, and what it must be.
OF_DATA = {
    "resize": None, "crop": "none", "duplicates": "refuse", "path": None, "embedded": None,
}  # fmt: skip
OF_AUGMENT = {
    "random_resized_crop": None, "auto_augment": None, "rand_augment": None, "erasing": None, "mix": None,
}  # fmt: skip
OF_TRAINING = {
    "steps": None, "patience": None, "accumulation": 1, "schedule": "cosine", "warmup_steps": None, "select": "last",
    "increment_learning_rate": None, "increment_weight_decay": None, "average_last": None, "ema_decay": None,
}  # fmt: skip


def read(folder, split, data):
    """Images [n, channels, side, side] as bytes, and labels."""
    tables = [pyarrow.parquet.read_table(p) for p in sorted(pathlib.Path(folder).glob(f"{split}-*.parquet"))]
    table = pyarrow.concat_tables(tables)
    files = table.column(data["image_column"]).to_pylist()
    images = [numpy.asarray(Image.open(io.BytesIO(f["bytes"])).convert("RGB")) for f in files]
    labels = table.column(data.get("label_column", "label")).to_pylist()
    return torch.from_numpy(numpy.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def augmented(images, augment, generator):
    padding = augment.get("crop_padding", 0)
    n, _, side, _ = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    shifts = torch.randint(2 * padding + 1, (n, 2), generator=generator)
    rows = shifts[:, :1] + torch.arange(side)
    columns = shifts[:, 1:] + torch.arange(side)
    images = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    images = images.permute(0, 3, 1, 2)
    if augment.get("horizontal_flip"):
        flipped = torch.randint(2, (n, 1, 1, 1), generator=generator).bool()
        images = torch.where(flipped, images.flip(3), images)
    return images


class Data:
    def __init__(self, folder, data):
        images, labels = read(folder, data.get("train", "train"), data)
        order = torch.from_numpy(numpy.random.default_rng(0).permutation(len(images)))
        part = data.get("validation")
        if not isinstance(part, dict) and part is not None:
            sys.exit(f"data.validation is {part}: only a part of the training split, or null, is known")
        taken = int(len(images) * part["fraction"]) if part else 0
        self.validation = images[order[:taken]], labels[order[:taken]]
        self.train = images[order[taken:]], labels[order[taken:]]
        self.test = read(folder, data.get("test", "test"), data)
        if (own := data.get("normalize")) is not None:
            mean, std = torch.tensor(own["mean"]), torch.tensor(own["std"])
        else:
            pixels = self.train[0].to(torch.float32) / 255
            mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
        self.mean, self.std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)

    def normalised(self, images):
        return (images.to(torch.float32) / 255 - self.mean) / self.std


def accuracy(model, data, split, batch):
    model.eval()
    images, labels = split
    if len(images) == 0:
        return None
    with torch.inference_mode():
        parts = [model(data.normalised(x)).argmax(1) for x in images.split(batch)]
    model.train()
    return (torch.cat(parts) == labels).double().mean().item()


def train(run, data, seed):
    start, t = time.perf_counter(), run["training"]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = build(run).train()
    batch, epochs = t["batch_size"], t["epochs"]
    adamw = torch.optim.AdamW(
        groups(model, t["weight_decay"]),
        lr=0.0,
        betas=(t["beta1"], t["beta2"]),
        eps=float(t["epsilon"]),
    )
    # YAML 1.1 reads 1e-3 as a text.
    t = t | {"learning_rate": float(t["learning_rate"])}
    images, labels = data.train
    total, step = epochs * math.ceil(len(images) / batch), 0
    losses, validation = [], []
    for _ in range(epochs):
        sum_of_losses = 0.0
        for examples in torch.randperm(len(images), generator=generator).split(batch):
            x = augmented(images[examples], run["data"].get("augment") or {}, generator)
            loss = cross_entropy(
                model(data.normalised(x)), labels[examples], label_smoothing=t["label_smoothing"]
            )
            adamw.zero_grad()
            loss.backward()
            if t["clip_norm"] is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), t["clip_norm"])
            for group in adamw.param_groups:
                group["lr"] = rate(t, step, total)
            adamw.step()
            step += 1
            sum_of_losses += loss.item() * len(examples)
        losses.append(sum_of_losses / len(images))
        validation.append(accuracy(model, data, data.validation, batch))
    return dict(
        seed=seed,
        losses=losses,
        validation=validation,
        test=accuracy(model, data, data.test, batch),
        seconds=time.perf_counter() - start,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument("folder")
    parser.add_argument("--arms", default="baseline")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    seeds, sections = [int(seed) for seed in arguments.seeds.split(",")], {}
    for arm in arguments.arms.split(","):
        run = resolved(arguments.spec, arm)
        refuse_other("data", run["data"], OF_DATA)
        refuse_other("data.augment", run["data"].get("augment") or {}, OF_AUGMENT)
        refuse_other("training", run["training"], OF_TRAINING)
        section = json.dumps(run["data"], sort_keys=True)
        if section not in sections:
            sections[section] = Data(arguments.folder, run["data"])
        data = sections[section]
        tests = []
        for seed in seeds:
            result = train(run, data, seed)
            tests.append(result["test"])
            print(json.dumps({"arm": arm} | result), flush=True)
        spread = statistics.stdev(tests) if len(tests) > 1 else float("nan")
        print(f"{arm}: {100 * statistics.mean(tests):.2f} ± {100 * spread:.2f} %", flush=True)


if __name__ == "__main__":
    main()
