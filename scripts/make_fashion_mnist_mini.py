#!/usr/bin/env python3
"""Makes src/hub/embedded/fashion-mnist-mini/ from Fashion-MNIST's original IDX files.

    pip install pyarrow==26.0.1 pillow==13.0.0 numpy==2.4.6
    python scripts/make_fashion_mnist_mini.py IDX_FOLDER [OUT_FOLDER]

IDX_FOLDER holds {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz, from the
dataset's repository (github.com/zalandoresearch/fashion-mnist) or, on Debian,
from the package dataset-fashion-mnist (/usr/share/datasets/fashion-mnist).

Which images: within each class, images in the order of the SHA-256 of their
pixels (so any language can repeat the choice); of the original training split
the first 600 a class are `train` and the next 100 `validation`; of the original
test split the first 100 are `test`. Rows then follow the same hash order, all
classes mixed.

The files have the layout of a Hugging Face image dataset: `image` is
struct<bytes: binary, path: string> with PNG bytes, `label` is int64, and the
schema metadata names the features.
"""

import gzip
import hashlib
import io
import json
import pathlib
import struct
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": CLASSES, "_type": "ClassLabel"},
}


def read_idx(path):
    raw = gzip.decompress(path.read_bytes())
    dims = raw[3]
    shape = struct.unpack(f">{dims}I", raw[4 : 4 + 4 * dims])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


def ordered(folder, prefix):
    """Per class, (hash, original row, pixels) in hash order, without repeated images."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    classes = [{} for _ in CLASSES]
    for row, (pixels, label) in enumerate(zip(images, labels)):
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        classes[label].setdefault(digest, (digest, row, pixels))
    return [[c[k] for k in sorted(c)] for c in classes]


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def write(path, source, picked):
    rows = sorted((item[0], item, label) for label, items in enumerate(picked) for item in items)
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": png(i[2]), "path": f"{source}-{i[1]:05}.png"} for _, i, _ in rows]
    schema = pa.schema(
        [("image", image_type), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    table = pa.table({"image": pa.array(images, image_type), "label": [l for *_, l in rows]}, schema)
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=False)
    counts = np.bincount([l for *_, l in rows], minlength=len(CLASSES))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path.name}: {len(rows)} rows, {counts.tolist()} a class, {path.stat().st_size} bytes, sha256 {digest}")


def main():
    idx = pathlib.Path(sys.argv[1])
    default = pathlib.Path(__file__).resolve().parent.parent / "src/hub/embedded/fashion-mnist-mini"
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else default
    out.mkdir(parents=True, exist_ok=True)
    train, test = ordered(idx, "train"), ordered(idx, "t10k")
    write(out / "train.parquet", "train", [c[:600] for c in train])
    write(out / "validation.parquet", "train", [c[600:700] for c in train])
    write(out / "test.parquet", "t10k", [c[:100] for c in test])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main()
