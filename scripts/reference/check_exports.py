#!/usr/bin/env python3
"""Checks that timm, transformers and the authors' package load what `vlora export` writes.

    env/bin/python scripts/reference/check_exports.py [--vlora target/release/vlora]

Exports tests/fixtures/checkpoints/authors.safetensors, loads each export in its program, strictly,
and compares the logits with those of the authors' package on the original. An export back to the
package's own layout computes nothing: every tensor must come back bit by bit.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

import checkpoints

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "tests/fixtures/checkpoints"
ORIGINAL = FOLDER / "authors.safetensors"
MOST = 1e-5


class Failure(Exception):
    pass


def export(program, settings, to, out):
    options = ["--heads", str(settings["heads"]), "--alpha", str(settings["alpha"])]
    command = [program, "export", ORIGINAL, "--to", to, *options, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"vlora export --to {to} exits {done.returncode}: {done.stderr.strip()}")


def in_timm(file, settings):
    model = checkpoints.timm(settings).eval()
    model.load_state_dict(load_file(file), strict=True)
    return model


def in_transformers(folder, _settings):
    files = {path.name for path in folder.iterdir()}
    if files != {"config.json", "model.safetensors"}:
        raise Failure(f"the folder holds {', '.join(sorted(files))}")
    # transformers fills what is missing at random, and only says so.
    model, loading = transformers.ViTForImageClassification.from_pretrained(
        folder, output_loading_info=True, local_files_only=True
    )
    problems = {kind: sorted(map(str, found)) for kind, found in loading.items() if found}
    if problems:
        raise Failure(f"transformers: {problems}")
    model.eval()
    return lambda images: model(images).logits


def in_the_package(file, settings):
    model = checkpoints.authors(settings).eval()
    model.load_state_dict(load_file(file), strict=True)
    return model


def unequal_tensors(file):
    """Names of the tensors that are not the original's, bit by bit, or stand in one file alone."""
    original, got = load_file(ORIGINAL), load_file(file)

    def same(name):
        if name not in original or name not in got:
            return False
        a, b = original[name], got[name]
        # As bytes: 0 and -0 are equal as numbers.
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
        # A loader's refusal, whatever its kind, is a result.
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
        row("authors", lambda: logits("authors", "authors.safetensors", in_the_package))
        row("authors, the tensors", tensors)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
