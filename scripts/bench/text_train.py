"""Fine-tunes MiniLM on SST-2's sentences in transformers, for its accuracies beside this program's.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/bench/text_train.py --minilm FOLDER --data FOLDER [--seeds N] [--epochs N]

--minilm is a folder with MiniLM's config.json, model.safetensors and tokenizer.json; --data one with
train.parquet, validation.parquet and test.parquet (columns `text` and `label`).

The recipe is that of the arm `dense` of experiments/paper/sst2-minilm.yaml: the mean over tokens and a
new classifier, AdamW with no decay of biases and norms, warm-up and a cosine, clipping, batches of texts
of about the same length; dropout of 0.1 behind the embedding, on attention's weights, behind attention,
behind the MLP and in front of the classifier. The weights after the last epoch are evaluated. Random
numbers are PyTorch's, so seeds do not pair with this program's: what is compared is the means over seeds.

Prints one JSON line a seed: mean training loss of each epoch, validation and test accuracy, seconds. The
last line has the mean and the sample standard deviation. `--steps` ends each seed after so many steps, to
try whether all is there.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reference"))
from streams import rate  # noqa: E402
from text_model import RECIPE, Classifier, Split, optimizer, tokenizer  # noqa: E402

DROPOUT = 0.1


def accuracy(model, split):
    """The accuracy on a split. Texts are sorted by length, so that there is little padding."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for texts in torch.argsort(split.lengths).split(128):
            ids, lengths, labels = split.batch(texts)
            right += (model(ids, lengths).argmax(1) == labels).sum().item()
    model.train()
    return right / len(split.ids)


def train(options, splits, seed):
    start = time.perf_counter()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Classifier(options.minilm, DROPOUT).train()
    adamw = optimizer(model, RECIPE)
    size = RECIPE["batch_size"]
    split = splits["train"]
    total = options.epochs * -(-len(split.ids) // size)
    step, losses = 0, []
    for _ in range(options.epochs):
        sum_of_losses, seen = 0.0, 0
        for texts in split.epoch(size, generator):
            if step == options.steps:
                break
            ids, lengths, labels = split.batch(texts)
            for group in adamw.param_groups:
                group["lr"] = rate(RECIPE, step, total)
            loss = torch.nn.functional.cross_entropy(model(ids, lengths), labels)
            adamw.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE["clip_norm"])
            adamw.step()
            sum_of_losses += loss.item() * len(texts)
            seen += len(texts)
            step += 1
        losses.append(sum_of_losses / max(seen, 1))
    trained = time.perf_counter()
    return {
        "seed": seed,
        "steps": step,
        "losses": losses,
        "validation": accuracy(model, splits["validation"]),
        "test": accuracy(model, splits["test"]),
        "training_seconds": trained - start,
        "seconds": time.perf_counter() - start,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--epochs", type=int, default=RECIPE["epochs"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int, help="of each seed at most")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    words = tokenizer(options.minilm)
    splits = {name: Split(words, options.data, name) for name in ("train", "validation", "test")}
    found = []
    for seed in range(options.seeds):
        found.append(train(options, splits, seed))
        print(json.dumps(found[-1]), flush=True)
    means = {}
    for name in ("validation", "test"):
        values = [f[name] for f in found]
        spread = statistics.stdev(values) if len(values) > 1 else None
        means[name] = {"mean": statistics.mean(values), "deviation": spread}
    print(json.dumps({"seeds": options.seeds, "torch": torch.__version__} | means))


if __name__ == "__main__":
    main()
