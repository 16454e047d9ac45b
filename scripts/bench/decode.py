"""Decoding CIFAR-10's training split from its Parquet file: Pillow in two processes beside vlora with two threads.

    pip install pillow==13.0.0 numpy==2.4.6 pyarrow==26.0.1
    cargo build --release --bench decode
    python scripts/bench/decode.py TRAIN.parquet PATH/TO/release/deps/decode-HASH

Every round runs, one after the other on the same file: Pillow; vlora without a cache; vlora filling
the cache of decoded splits; vlora starting from it. Each is a process of its own and times itself from
before the file is opened to when all pixels and labels are in memory; the start of the interpreter and
its imports are not counted, and neither is the start of vlora's process (a few milliseconds).

Pillow gets what a careful user would write: pyarrow reads the file, two processes are forked behind
that, so that no image is copied to them, and each decodes half of the images into shared memory.

Both must give the same images: a sum over the hashes of all of them is compared.
"""

import argparse
import hashlib
import io
import json
import mmap
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PROCESSES = 2
SIDE, CHANNELS, CLASSES = 32, 3, 10
SIZE = SIDE * SIDE * CHANNELS


def fingerprint(images):
    """A checksum that does not depend on the order of the images."""
    total = 0
    for image in images:
        total += int.from_bytes(hashlib.sha256(image).digest()[:8], "little")
    return total % 2**64


def pillow(path):
    import numpy as np
    import pyarrow.parquet as pq
    from PIL import Image
    import PIL.PngImagePlugin  # noqa: F401  (else loaded inside the time)

    start = time.perf_counter()
    table = pq.read_table(path, columns=["img", "label"])
    images = table["img"].combine_chunks().field("bytes")
    labels = table["label"].to_numpy()
    n = len(images)
    shared = mmap.mmap(-1, n * SIZE)
    pixels = np.frombuffer(shared, np.uint8).reshape(n, SIDE, SIDE, CHANNELS)
    children = []
    for part in range(PROCESSES):
        child = os.fork()
        if child == 0:
            for i in range(part * n // PROCESSES, (part + 1) * n // PROCESSES):
                pixels[i] = np.asarray(Image.open(io.BytesIO(images[i].as_py()), formats=["PNG"]))
            os._exit(0)
        children.append(child)
    for child in children:
        if os.waitpid(child, 0)[1] != 0:
            sys.exit("a decoding process failed")
    seconds = time.perf_counter() - start
    peak = lambda who: resource.getrusage(who).ru_maxrss
    return {
        "seconds": seconds,
        "peak_kib": peak(resource.RUSAGE_SELF),
        "child_peak_kib": peak(resource.RUSAGE_CHILDREN),
        "images": n,
        "labels": len(labels),
        "fingerprint": fingerprint(image.tobytes() for image in pixels),
    }


def run(command):
    environment = os.environ | {"RAYON_NUM_THREADS": str(PROCESSES)}
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def cpu():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parquet")
    parser.add_argument("bench", nargs="?", help="the binary of `cargo build --release --bench decode`")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pillow", action="store_true", help="one run of Pillow, as JSON")
    arguments = parser.parse_args()
    if arguments.pillow:
        print(json.dumps(pillow(arguments.parquet)))
        return

    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.realpath(arguments.parquet), f"{folder}/train.parquet")
        # Five images each, so that no other file than the training file is read.
        part = {"fraction": 0.0001}
        spec = {
            "data": {"path": folder, "image_column": "img", "validation": part, "test": part},
            "model": {
                "architecture": "vit", "image_size": SIDE, "patch_size": 4, "channels": CHANNELS,
                "classes": CLASSES, "dim": 8, "depth": 1, "heads": 1,
            },
        }
        cache = f"{folder}/cache"
        ours = lambda cache: run([arguments.bench, json.dumps(spec), cache])
        runs = {"Pillow": [], "no cache": [], "filling": [], "cached": []}
        for _ in range(arguments.rounds):
            shutil.rmtree(cache, ignore_errors=True)
            runs["Pillow"].append(run([sys.executable, __file__, "--pillow", arguments.parquet]))
            runs["no cache"].append(ours(""))
            runs["filling"].append(ours(cache))
            runs["cached"].append(ours(cache))
        if not all(r["cached"] for r in runs["cached"]):
            sys.exit("the cache was not used")
        prints = {r["fingerprint"] for results in runs.values() for r in results}
        if len(prints) != 1:
            sys.exit(f"the images differ: {prints}")

    import numpy
    import PIL
    import pyarrow

    names = {
        "Pillow": "Pillow, two processes",
        "no cache": "vlora, no cache",
        "filling": "vlora, filling the cache",
        "cached": "vlora, from the cache",
    }
    first = runs["Pillow"][0]
    print(f"{first['images']} images of {SIDE} × {SIDE}, {os.path.getsize(arguments.parquet) / 1e6:.1f} MB of Parquet")
    print(f"CPU: {cpu()}, {os.cpu_count()} cores; {arguments.rounds} rounds, the four in turn")
    print(f"Python {platform.python_version()}, Pillow {PIL.__version__}, numpy {numpy.__version__}, pyarrow {pyarrow.__version__}")
    print()
    print(f"{'':26}{'quartile':>9}{'median':>9}{'quartile':>9}  {'peak memory':>12}")
    for key, name in names.items():
        low, middle, high = statistics.quantiles([r["seconds"] for r in runs[key]], n=4)
        peak = max(r["peak_kib"] for r in runs[key]) / 1024
        print(f"{name:26}{low:7.3f} s{middle:7.3f} s{high:7.3f} s  {peak:8.0f} MiB")
    child = max(r["child_peak_kib"] for r in runs["Pillow"]) / 1024
    print(f"{'  each of its processes':26}{'':27}  {child:8.0f} MiB (shared pages counted in each)")
    print()
    for key in ["no cache", "filling", "cached"]:
        ratios = [r["seconds"] / p["seconds"] for r, p in zip(runs[key], runs["Pillow"])]
        print(f"{names[key]} over Pillow, round by round: median {statistics.median(ratios):.2f}, worst {max(ratios):.2f}")


if __name__ == "__main__":
    main()
