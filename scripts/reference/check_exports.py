#!/usr/bin/env python3
"""Checks that timm, transformers and the authors' package load what `vlora export` writes.

    env/bin/python scripts/reference/check_exports.py [--vlora target/release/vlora]

Exports tests/fixtures/checkpoints/authors.safetensors, loads each export in its program, strictly,
and compares the logits with those of the authors' package on the original. An export back to the
package's own layout computes nothing: every tensor must come back bit by bit.

Does the same with transformers' GPT-2 in tests/fixtures/decoder/gpt2, exported as it is, and as
compounds whose increments keep everything; and with its BERT in tests/fixtures/encoder/bert.

Then trains a tiny model on the embedded images, exports it for transformers, and has
AutoImageProcessor and the model there classify the test images from their PNG bytes: every
prediction and loss must be the one that the run recorded, and every class called by its name.
"""

import argparse
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import pyarrow.parquet
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import checkpoints

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "tests/fixtures/checkpoints"
ORIGINAL = FOLDER / "authors.safetensors"
MOST = 1e-5
GPT2 = ROOT / "tests/fixtures/decoder"
BERT = ROOT / "tests/fixtures/encoder"
EMBEDDED = ROOT / "src/hub/embedded/fashion-mnist-mini/test.parquet"
TINY = """
task: image-classification
data: {embedded: fashion-mnist-mini}
model: {architecture: vit, image_size: 28, patch_size: 7, channels: 1, classes: 10,
        dim: 16, depth: 2, heads: 2, mlp_ratio: 2}
training: {epochs: 1, batch_size: 100, learning_rate: 3.0e-3}
vlora: {compound_size: 2, rank: 2}
arms: {baseline: {method: vlora}}
seeds: [0]
"""


class Failure(Exception):
    pass


def vlora(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"vlora {arguments[0]} exits {done.returncode}: {done.stderr.strip()}")


def export(program, settings, to, out):
    options = ["--heads", str(settings["heads"]), "--alpha", str(settings["alpha"])]
    vlora(program, "export", ORIGINAL, "--to", to, *options, "--out", out)


def in_timm(file, settings):
    model = checkpoints.timm(settings).eval()
    model.load_state_dict(load_file(file), strict=True)
    return model


def in_transformers(folder, _settings, more=()):
    files = {path.name for path in folder.iterdir()}
    if files != {"config.json", "model.safetensors", *more}:
        raise Failure(f"the folder holds {', '.join(sorted(files))}")
    # transformers initialises missing tensors at random and only warns.
    model, loading = transformers.ViTForImageClassification.from_pretrained(
        folder, output_loading_info=True, local_files_only=True
    )
    problems = {kind: sorted(map(str, found)) for kind, found in loading.items() if found}
    if problems:
        raise Failure(f"transformers: {problems}")
    model.eval()
    return model if more else lambda images: model(images).logits


def loaded(kind, folder):
    model, loading = kind.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    problems = {kind: sorted(map(str, found)) for kind, found in loading.items() if found}
    if problems:
        raise Failure(f"transformers: {problems}")
    return model.eval()


def trained(program, scratch):
    """A run of this program, and its export in transformers, on the test images."""
    (scratch / "tiny.yaml").write_text(TINY)
    vlora(program, "run", scratch / "tiny.yaml", "-q", "--out", scratch / "results")
    (run,) = (scratch / "results/tiny/runs").iterdir()
    vlora(program, "export", run, "--to", "hf-vit", "--out", scratch / "trained")
    model = in_transformers(scratch / "trained", None, more=["preprocessor_config.json"])
    processor = transformers.AutoImageProcessor.from_pretrained(scratch / "trained")
    rows = pyarrow.parquet.read_table(EMBEDDED).to_pylist()
    images = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows]
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    labels = torch.tensor([row["label"] for row in rows])
    logits = model(pixels).logits
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return run, model, processor, images, pixels, losses, logits.argmax(1)


def preparation(run, processor, images, pixels):
    """Largest difference of the processor's pixels to (byte / 255 - mean) / std of the run."""
    if type(processor).__name__ != "ViTImageProcessor":
        raise Failure(f"AutoImageProcessor makes a {type(processor).__name__}")
    provenance = json.loads((run / "provenance.json").read_text())
    (mean,), (std,) = provenance["pixel_mean"], provenance["pixel_std"]
    bytes_ = numpy.stack([numpy.asarray(image) for image in images])[:, None].astype("float64")
    return numpy.abs((bytes_ / 255 - mean) / std - pixels.double().numpy()).max()


def outcomes(run, losses, predictions):
    """Predictions that differ from the run's, and the largest difference of a loss."""
    lines = (run / "test.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    if len(records) != len(losses):
        raise Failure(f"{len(records)} records for {len(losses)} images")
    differ = sum(r["prediction"] != int(p) for r, p in zip(records, predictions))
    # NaN if any is, which `max` may pass over.
    apart = numpy.max([abs(r["loss"] - float(loss)) for r, loss in zip(records, losses)])
    return differ, apart


def names(run, model):
    want = json.loads((run / "provenance.json").read_text())["class_names"]
    got = [model.config.id2label[number] for number in range(model.config.num_labels)]
    back = all(model.config.label2id[name] == number for number, name in enumerate(want))
    return ", ".join(got[:2]) + ", …", got == want and back


def in_the_package(file, settings):
    model = checkpoints.authors(settings).eval()
    model.load_state_dict(load_file(file), strict=True)
    return model


def unequal_tensors(file):
    """Names of the tensors that differ from the original in any bit, or are in one file only."""
    original, got = load_file(ORIGINAL), load_file(file)

    def same(name):
        if name not in original or name not in got:
            return False
        a, b = original[name], got[name]
        # Compared as bytes, since 0 and -0 are equal as numbers.
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and torch.equal(a.view(torch.uint8), b.view(torch.uint8))

    return [name for name in sorted(original | got) if not same(name)], len(original)


def relative(got, want):
    if got.shape != want.shape or not got.isfinite().all():
        raise Failure(f"logits of shape {tuple(got.shape)}, not all finite or not as many")
    return ((got - want).abs().max() / want.abs().max()).item()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--vlora", type=pathlib.Path, default=ROOT / "target/release/vlora")
    program = arguments.parse_args().vlora.resolve()
    if not program.is_file():
        sys.exit(f"no program at {program}: cargo build --release, or --vlora PATH")
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with safe_open(FOLDER / "expected.safetensors", "pt") as expected:
        settings = json.loads(expected.metadata()["settings"])["authors"]
        images, want = (expected.get_tensor(name) for name in ("images", "authors.logits"))

    passed = True

    def row(name, check):
        """One line of the table; `check` returns what it found and whether that is good."""
        nonlocal passed
        try:
            found, good = check()
        # Any refusal by a loader is a result.
        except Exception as error:
            found, good = " ".join(str(error).split()), False
        passed &= good
        print(f"{name:<26} {'PASS' if good else 'FAIL'}  {found}")

    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        scratch = pathlib.Path(scratch)

        def logits(to, out, load):
            export(program, settings, to, scratch / out)
            model = load(scratch / out, settings)
            apart = relative(model(images), want)
            return f"{apart:.1e}", apart <= MOST

        def tensors():
            unequal, count = unequal_tensors(scratch / "authors.safetensors")
            few = ", ".join(unequal[:5]) + (", …" if len(unequal) > 5 else "")
            return f"{count} tensors, {len(unequal)} not bitwise equal {few}".rstrip(), not unequal

        print(f"{'export':<26} {'':<4}  max relative difference of logits, at most {MOST:.0e}")
        row("timm", lambda: logits("timm", "timm.safetensors", in_timm))
        row("hf-vit", lambda: logits("hf-vit", "hf-vit", in_transformers))

        def language(compounds):
            source, out = GPT2 / "gpt2", scratch / f"gpt2-{compounds}"
            if compounds > 1:
                whole = scratch / "compounds.safetensors"
                options = ["--compound-size", str(compounds), "--rank", "12", "--out", whole]
                vlora(program, "compress", source, *options)
                source = whole
            vlora(program, "export", source, "--to", "hf-gpt2", "--out", out)
            expected = load_file(GPT2 / "expected.safetensors")
            apart = relative(loaded(transformers.GPT2LMHeadModel, out)(expected["ids"]).logits, expected["logits"])
            return f"{apart:.1e}", apart <= MOST

        def classifier():
            vlora(program, "export", BERT / "bert", "--to", "hf-bert", "--out", scratch / "bert")
            expected = load_file(BERT / "expected.safetensors")
            model = loaded(transformers.BertForSequenceClassification, scratch / "bert")
            mask = torch.arange(expected["ids"].shape[1])[None] < expected["lengths"][:, None]
            got = model(expected["ids"], attention_mask=mask, token_type_ids=expected["types"]).logits
            apart = relative(got, expected["logits"])
            named = [model.config.id2label[number] for number in range(model.config.num_labels)]
            good = named == ["negative", "neutral", "positive"]
            return f"{apart:.1e}" + ("" if good else f", classes {named}"), apart <= MOST and good

        row("hf-bert", classifier)
        row("hf-gpt2", lambda: language(1))
        row("hf-gpt2 from compounds", lambda: language(2))
        row("authors", lambda: logits("authors", "authors.safetensors", in_the_package))
        row("authors, the tensors", tensors)

        run, model, processor, images, pixels, losses, predictions = trained(program, scratch)

        def prepared():
            apart = preparation(run, processor, images, pixels)
            return f"pixels apart by {apart:.1e}, at most 1e-06", apart <= 1e-6

        def tested():
            differ, apart = outcomes(run, losses, predictions)
            found = f"{len(losses)} images: {differ} predictions differ, losses by {apart:.1e}"
            return found, differ == 0 and apart <= MOST

        row("a run, the processor", prepared)
        row("a run, its test", tested)
        row("a run, its class names", lambda: names(run, model))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
