"""Makes tests/fixtures/layouts/layouts.json: folders as people lay datasets out, and what Hugging Face's
`datasets` reads from each.

    pip install datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1 pillow==13.0.0 numpy==2.4.6 fsspec==2026.9.0
    python scripts/reference/make_layouts.py

Each layout is a list of files; `datasets.load_dataset(FOLDER)` reads them. Written is, of every split, the
number of rows and the values of each column; of an image its encoded bytes' SHA-256 and the pixels that
Pillow makes of them (row, column, channel). Where `datasets` refuses a layout, its error's first line is
written. `tests/suite/layouts.rs` makes the same folders and checks that this program reads the same or
refuses and names a file. Which layouts are refused on purpose, and why, is written beside them (`refuse`).
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import sys
import shutil
import tempfile

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = pathlib.Path(__file__).parents[2] / "tests/fixtures/layouts/layouts.json"
SIDE = 4
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed, mode="RGB"):
    """Smooth colours, which JPEG changes little; different for each seed."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    channels = [40 + 13 * seed % 180 + x * 3, 30 + 29 * seed % 190 + y * 4, 150 - 7 * seed % 120 + x + y]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8)).convert(mode)


def encoded(seed, format, mode="RGB"):
    out = io.BytesIO()
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    picture(seed, mode).save(out, format, **options)
    return out.getvalue()


def png(seed):
    return encoded(seed, "PNG")


def jpg(seed):
    return encoded(seed, "JPEG")


def webp(seed):
    return encoded(seed, "WEBP")


def csv(*values, name="n", sep=","):
    """Two columns; the second identifies the file of a row."""
    return "".join([f"{name}{sep}word\n"] + [f"{v}{sep}w{v}\n" for v in values])


def lines(*values):
    return "".join(json.dumps({"n": v, "word": f"w{v}"}) + "\n" for v in values)


def parquet(*values):
    return table({"n": pa.array(values, pa.int64()), "word": pa.array([f"w{v}" for v in values])})


def images(*seeds, names=None):
    """A Parquet file of images and labels as `datasets` writes it."""
    files = pa.array([{"bytes": png(s), "path": f"{s}.png"} for s in seeds], IMAGE)
    features = {"image": {"_type": "Image"}, "label": {"names": names or ["a", "b"], "_type": "ClassLabel"}}
    return table({"image": files, "label": pa.array([s % 2 for s in seeds], pa.int64())}, features)


def table(columns, features=None):
    schema = pa.schema([(name, array.type) for name, array in columns.items()])
    if features:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    out = io.BytesIO()
    pq.write_table(pa.table(list(columns.values()), schema=schema), out, compression="NONE")
    return out.getvalue()


def gz(text):
    return gzip.compress(text.encode(), mtime=0)


def card(yaml):
    return f"---\n{yaml.strip()}\n---\n# A dataset\n"


def classes(folder, *names, start=0, file=png, ending="png", each=2):
    """Images with one folder per class."""
    seeds = iter(range(start, start + 99))
    return {f"{folder}{c}/{i}.{ending}": file(next(seeds)) for c in names for i in range(each)}


def meta(*rows, columns=("file_name", "label")):
    return "".join(",".join(map(str, row)) + "\n" for row in [columns, *rows])


def meta_lines(*rows, columns=("file_name", "label")):
    return "".join(json.dumps(dict(zip(columns, row))) + "\n" for row in rows)


LAYOUTS = []


def layout(name, files, refuse=None, here=None, config=None):
    """`refuse`: why this program refuses what `datasets` reads, or names what it drops. `here`: why this
    program reads what `datasets` refuses."""
    LAYOUTS.append({"name": name, "files": files, "config": config, "refuse": refuse, "here": here})


DROPPED = "rows or images that no split takes are named"
TWICE = "an example in two splits, or twice in one"


def tables():
    for ending, write in [("csv", csv), ("jsonl", lines), ("parquet", parquet)]:
        def at(*values, write=write):
            return write(*values)
        of = f" ({ending})"
        layout("one file" + of, {f"data.{ending}": at(1, 2)})
        layout("three files, three splits" + of,
               {f"train.{ending}": at(1, 2), f"validation.{ending}": at(3), f"test.{ending}": at(4)})
        layout("train and train_2" + of, {f"train.{ending}": at(1, 2), f"train_2.{ending}": at(3)})
        layout("all that separates words" + of,
               {f"{n}.{ending}": at(i) for i, n in
                enumerate(["train2", "my-train", "a train", "b.train.x", "0train1", "test1", "x_val"])})
        layout("every word for a split" + of,
               {f"{n}.{ending}": at(i) for i, n in enumerate(
                   ["training", "valid", "dev", "val", "testing", "eval", "evaluation", "train"])})
        layout("words that only look like a split's" + of,
               {f"{n}.{ending}": at(i) for i, n in enumerate(["latest", "contrast", "trainset", "evals"])})
        layout("a file of no split beside those of splits" + of,
               {f"train.{ending}": at(1), f"test.{ending}": at(2), f"extra.{ending}": at(3)}, refuse=DROPPED)
        layout("a name of two splits" + of, {f"train-val.{ending}": at(1), f"train.{ending}": at(2)},
               refuse=TWICE)
        layout("folders of splits" + of,
               {f"train/a.{ending}": at(1), f"train/b.{ending}": at(2), f"test/a.{ending}": at(3)})
        layout("folders before files" + of,
               {f"train/test.{ending}": at(1), f"test/train.{ending}": at(2)})
        layout("folders with more than a split's word" + of,
               {f"my-train/a.{ending}": at(1), f"train_2/a.{ending}": at(2), f"old test/a.{ending}": at(3)})
        layout("a folder of a split and a file of one" + of,
               {f"train/a.{ending}": at(1), f"test.{ending}": at(2)}, refuse=DROPPED)
        layout("a split's word in two folders of a path" + of,
               {f"train/my_train/a.{ending}": at(1), f"train/b.{ending}": at(2)}, refuse=TWICE)
        layout("shards in data" + of,
               {f"data/train-0000{i}-of-00003.{ending}": at(i) for i in range(3)}
               | {f"data/test-00000-of-00001-0a1b2c3d.{ending}": at(9)})
        layout("shards of a split of another name" + of,
               {f"data/train-00000-of-00001.{ending}": at(1), f"data/extra-00000-of-00001.{ending}": at(2),
                f"data/val-00000-of-00001.{ending}": at(3)})
        layout("a shard missing" + of,
               {f"data/train-0000{i}-of-00003.{ending}": at(i) for i in (0, 2)},
               refuse="a part of a set is missing")
        layout("a shard missing at the top" + of,
               {f"train-0000{i}-of-00002.{ending}": at(i) for i in (1,)},
               refuse="a part of a set is missing")
        layout("shards in data and a file at the top" + of,
               {f"data/train-00000-of-00001.{ending}": at(1), f"test.{ending}": at(2)}, refuse=DROPPED)
        layout("shards at the top" + of,
               {f"train-0000{i}-of-00002.{ending}": at(i) for i in range(2)}
               | {f"dev-00000-of-00001.{ending}": at(5)})
        layout("a file and its shards" + of,
               {f"train.{ending}": at(1), f"train-00000-of-00001.{ending}": at(2)},
               refuse="a whole file and a set of the same name are likely the same rows")
        layout("parts in folders that name nothing" + of,
               {f"b/2.{ending}": at(1), f"a/10.{ending}": at(2), f"a/9.{ending}": at(3)},
               refuse="folders of tables may be configurations: one has to be named")
        layout("one folder of that" + of, {f"a/10.{ending}": at(2), f"a/9.{ending}": at(3)})
        layout("upper case" + of, {f"Train.{ending}": at(1), f"Test.{ending}": at(2)},
               refuse="datasets knows lower case alone and would train on the test split")
        layout("an ending in upper case" + of, {f"train.{ending.upper()}": at(1), f"train_2.{ending}": at(2)},
               refuse="datasets drops endings in upper case")
        layout("names with accents and spaces" + of,
               {f"données train.{ending}": at(1), f"日本 test.{ending}": at(2)})
        layout("a copy that an editor left" + of, {f"train.{ending}": at(1), f"train.{ending}.bak": at(2)},
               refuse="datasets reads any name with the ending inside it")
        layout("a hidden file" + of, {f"train.{ending}": at(1), f".train_2.{ending}": at(2)}, refuse=DROPPED)
        layout("a hidden folder" + of, {f"train.{ending}": at(1), f".old/train_2.{ending}": at(2)},
               refuse=DROPPED)
        layout("folders of other programs" + of,
               {f"train.{ending}": at(1), f".cache/train_3.{ending}": at(3),
                f".ipynb_checkpoints/train.{ending}": at(2)})
        layout("folders in underscores" + of, {f"train.{ending}": at(1), f"__old__/train.{ending}": at(2)},
               refuse=DROPPED)
        layout("about the dataset" + of,
               {f"train.{ending}": at(1), "LICENSE": "x", "NOTES.md": "x", ".gitattributes": "x",
                "dataset_infos.json": "{}", "load.py": "x", "README.md": "# Title\n"})
        layout("a card that names files" + of,
               {"README.md": card(f"configs:\n- config_name: default\n  data_files:\n  - {{split: train, path: "
                                  f"[b.{ending}, a.{ending}]}}\n  - {{split: test, path: 'x/*.{ending}'}}"),
                f"a.{ending}": at(1), f"b.{ending}": at(2), f"x/2.{ending}": at(3), f"x/10.{ending}": at(4),
                f"unused.{ending}": at(5)})
        layout("a card with a string" + of,
               {"README.md": card(f"configs: [{{config_name: x, data_files: '*.{ending}'}}]"),
                f"test.{ending}": at(1), f"sub/train.{ending}": at(2)})
        layout("a card with a list" + of,
               {"README.md": card(f"configs: [{{config_name: x, data_files: ['**/b.{ending}', a.{ending}]}}]"),
                f"a.{ending}": at(1), f"x/b.{ending}": at(2), f"b.{ending}": at(3)})
        layout("a card whose patterns overlap" + of,
               {"README.md": card(f"configs: [{{config_name: x, data_files: ['*.{ending}', a.{ending}]}}]"),
                f"a.{ending}": at(1), f"b.{ending}": at(2)}, refuse=TWICE)
        layout("a card with a pattern that finds nothing" + of,
               {"README.md": card(f"configs: [{{config_name: x, data_files: [a.{ending}, 'c*.{ending}']}}]"),
                f"a.{ending}": at(1)}, refuse="a pattern that finds nothing is a mistake")
        layout("a card with a folder" + of,
               {"README.md": card("configs: [{config_name: x, data_dir: sub}]"),
                f"sub/train.{ending}": at(1), f"sub/test.{ending}": at(2), f"other/train.{ending}": at(3)})
        two = card("configs:\n- {config_name: one, data_dir: a}\n- {config_name: two, data_dir: b, default: true}")
        for config in (None, "one"):
            layout(f"a card of two configurations, {config or 'the default'}{of}",
                   {"README.md": two, f"a/train.{ending}": at(1), f"b/train.{ending}": at(2)}, config=config)
        layout("a card whose configurations name no files" + of,
               {"README.md": card("configs: [{config_name: a, default: true}, {config_name: b}]"),
                f"a/train.{ending}": at(1), f"b/train.{ending}": at(2)},
               refuse="a folder of the configuration's name is likely meant, datasets takes everything")
        layout("a card of one configuration without files" + of,
               {"README.md": card("configs: [{config_name: a}]"), f"train.{ending}": at(1),
                f"test.{ending}": at(2)})
        layout("no rows in one of two files" + of,
               {f"train.{ending}": at(1, 2), f"train_2.{ending}": at() or "\n"})
    for ending, text in [("csv", csv(1, 2)), ("jsonl", lines(1, 2))]:
        layout(f"packed ({ending})", {f"train.{ending}.gz": gz(text), f"test.{ending}": text.replace("1", "3")})
    layout("packed and not", {"train.csv": csv(1), "train.csv.gz": gz(csv(1))},
           refuse="the same set packed and not is likely the same rows")
    layout("tab-separated", {"train.tsv": csv(1, 2, sep="\t"), "test.tsv": csv(3, sep="\t")})
    layout("tabs and commas in one split", {"train.csv": csv(1), "train_2.tsv": csv(2, sep="\t")},
           refuse="datasets reads the tabs as part of a value")
    layout("tabs and commas in two splits", {"train.csv": csv(1), "test.tsv": csv(2, sep="\t")})
    layout("json and jsonl", {"train.jsonl": lines(1), "train_2.json": lines(2)})
    layout("a list in json", {"train.json": json.dumps([{"n": 1, "word": "w"}])},
           refuse="JSON is read a line a row")
    layout("ndjson", {"train.ndjson": lines(1), "test.ndjson": lines(2)})
    layout("two formats in one split", {"train.csv": csv(1), "train_2.jsonl": lines(2)}, refuse=DROPPED)
    layout("two formats in two splits", {"train.csv": csv(1), "test.jsonl": lines(2)})
    layout("parquet beside more csv", {"train.parquet": parquet(1), "train_2.csv": csv(2),
                                       "train_3.csv": csv(3)}, refuse=DROPPED)
    layout("an archive beside", {"train.csv": csv(1), "train_2.zip": "PK"}, refuse=DROPPED)
    layout("rows in a form that is not read", {"train.csv": csv(1), "train_2.arrow": "x"}, refuse=DROPPED)
    layout("metadata.csv beside tables alone", {"data.csv": csv(1), "metadata.csv": csv(2)})
    layout("metadata.json beside lines", {"train.jsonl": lines(1), "metadata.json": lines(2)}, refuse=DROPPED)
    layout("notes in text", {"train.csv": csv(1), "notes.txt": "x\n", "train.log": "x\n"})
    layout("a picture that the card shows",
           {"README.md": "# T\n![](figures/a.png)\n", "figures/a.png": png(0), "data.csv": csv(1)})
    layout("a picture that nothing names", {"figures/a.png": png(0), "data.csv": csv(1), "b.csv": csv(2)},
           refuse=DROPPED)
    layout("class names in the card",
           {"README.md": card("dataset_info:\n  features:\n  - {name: n, dtype: int64}\n  - name: word\n    dtype: "
                              "{class_label: {names: {'0': w2, '1': w1}}}"),
            "train.csv": csv(1, 2), "test.csv": csv(2)})
    layout("nothing that is read", {"LICENSE": "x"})
    layout("a folder in the card that is not there",
           {"README.md": card("configs: [{config_name: x, data_dir: nowhere}]"), "train.csv": csv(1)})
    layout("a split that holds no file of the format",
           {"train.csv": csv(1), "test.log": "x"}, here="a log is no split")
    layout("labels with leading zeros", {"train.csv": "label,n\n00,1\n01,2\n"},
           here="a code with leading zeros stays text: datasets makes it a number")


def folders():
    two = lambda **more: classes("train/", "cat", "dog", **more) | classes("test/", "cat", "dog", start=50, **more)
    layout("classes, two splits", two())
    layout("classes, JPEG", two(file=jpg, ending="jpg"))
    layout("classes, JPEG of another ending", two(file=jpg, ending="JPEG"))
    layout("classes, WebP", two(file=webp, ending="webp"))
    layout("classes, JPEG as jfif", two(file=jpg, ending="jfif"))
    layout("classes, PNG in upper case", two(ending="PNG"))
    layout("classes, PNG in two cases", two() | {"train/cat/x.PNG": png(90), "train/dog/x.Png": png(91)},
           refuse=DROPPED)
    layout("classes, no split named", classes("", "cat", "dog"))
    layout("classes in data", classes("data/", "cat", "dog"))
    layout("a class of one split alone",
           classes("train/", "cat", "dog") | classes("validation/", "cat", "emu", start=50))
    layout("classes below a folder of the dataset",
           classes("pets/train/", "cat", "dog") | classes("pets/eval/", "cat", "dog", start=50))
    layout("classes above the splits",
           classes("cat/", "train", "test") | classes("dog/", "train", "test", start=50),
           refuse="the folder of an image is a split's and no class")
    layout("a class called train", classes("train/", "train", "car") | classes("test/", "car", "bus", start=50))
    layout("a class called train in test",
           classes("train/", "train", "car") | classes("test/", "train", "car", start=50), refuse=TWICE)
    layout("a class called test in train", classes("train/", "test", "car"), refuse=TWICE)
    layout("a class called train 1", classes("train/", "train 1", "car"), refuse=TWICE)
    layout("a class with a split's word inside",
           classes("train/", "old train", "car") | classes("test/", "car", "bus", start=50), refuse=TWICE)
    layout("classes with accents and spaces",
           classes("train/", "Bär é", "日本", "two words") | classes("test/", "Bär é", "日本", start=50))
    layout("one class", classes("train/", "cat") | classes("test/", "cat", start=50),
           refuse="datasets gives no labels, nor is there anything to tell apart")
    layout("images in no folder", {f"{i}.png": png(i) for i in range(3)},
           refuse="datasets gives no labels")
    layout("images in the folders of splits",
           {f"train/{i}.png": png(i) for i in range(3)} | {f"test/{i}.png": png(50 + i) for i in range(3)},
           refuse="datasets takes the splits for classes")
    layout("images at two depths", two() | {"train/dog/old/9.png": png(90)},
           refuse="datasets gives no labels")
    layout("images without labels in test",
           classes("train/", "cat", "dog") | {f"test/{i}.png": png(50 + i) for i in range(3)},
           refuse="datasets gives no labels")
    layout("images of splits in names", {f"{s}_{c}_{i}.png": png(3 * j + i) for j, (s, c) in enumerate(
        [("train", "a"), ("test", "a")]) for i in range(3)}, refuse="datasets gives no labels")
    layout("a class called train without splits", classes("", "train", "car"), refuse=DROPPED)
    for ending, format in [("bmp", "BMP"), ("tif", "TIFF"), ("gif", "GIF")]:
        other = encoded(90, format)
        layout(f"a {ending} among others", two() | {f"train/cat/x.{ending}": other},
               refuse="a format of images that is not read")
        layout(f"{ending} alone", two(file=lambda s, f=format: encoded(s, f), ending=ending),
               refuse="a format of images that is not read")
    layout("a table beside", two() | {"train/notes.csv": "file,checked\n1.png,yes\n"}, refuse=DROPPED)
    layout("lists and notes beside", two() | {"classes.txt": "cat\ndog\n", "train/Thumbs.db": "x",
                                              "train/.DS_Store": "x", "README.md": "# T\n"})
    layout("an archive of images beside", two() | {"train.zip": "PK"}, refuse=DROPPED)
    layout("annotations beside", two() | {"annotations.json": "{}"}, refuse=DROPPED)
    layout("what macOS leaves", two() | {"train/cat/._0.png": "x", "._train": "x", ".DS_Store": "x"})
    layout("a hidden image", two() | {"train/cat/.9.png": png(7)}, refuse=DROPPED)
    layout("a hidden image as macOS names it", two() | {"train/cat/._9.png": png(7)}, refuse=DROPPED)
    layout("a hidden folder of images", two() | {"train/.thumbs/1.png": png(7)}, refuse=DROPPED)
    layout("a hidden folder of a split", two() | {".old/train/cat/1.png": png(7)}, refuse=DROPPED)
    layout("a hidden image that metadata name",
           {"0.png": png(0), ".1.png": png(1), "metadata.csv": meta(("0.png", 1), (".1.png", 0))},
           refuse="datasets reads it by its row alone")
    layout("an ending in mixed case", two(file=jpg, ending="Jpeg"))
    layout("one ending in mixed case", two() | {"train/cat/7.Jpeg": jpg(7)}, refuse=DROPPED)
    layout("classes called None and NA", classes("train/", "None", "NA") | classes("test/", "None", "NA", start=50))
    layout("a card that drops labels", two() | {"README.md": card("configs: [{config_name: x, drop_labels: true}]")},
           refuse="datasets gives no labels")
    layout("a card that drops no labels",
           two() | {"README.md": card("configs: [{config_name: x, drop_labels: false, unknown: 3}]")})
    layout("a card that drops metadata",
           {"0.png": png(0), "1.png": png(1), "metadata.csv": meta(("0.png", 1), ("1.png", 0)),
            "README.md": card("configs: [{config_name: x, drop_metadata: true}]")},
           refuse="datasets gives no labels")
    layout("a table of paths beside images",
           {f"images/{i}.png": png(i) for i in range(3)}
           | {"train.csv": meta(*[(f"images/{i}.png", i % 2) for i in range(3)], columns=("image", "label"))},
           refuse=DROPPED)
    layout("tables of paths beside images",
           {f"images/{i}.png": png(i) for i in range(3)}
           | {f"{s}.jsonl": meta_lines((f"images/{i}.png", 1), columns=("image", "label"))
              for i, s in enumerate(["train", "test"])},
           refuse=DROPPED)
    layout("a class in underscores",
           classes("train/", "cat", "dog", "__background__"), refuse=DROPPED)
    layout("a card that names folders of images",
           {"README.md": card("configs:\n- config_name: x\n  data_files:\n  - {split: train, path: 'a/**'}\n  "
                              "- {split: val, path: 'b/**/*.png'}")}
           | classes("a/", "cat", "dog") | classes("b/", "cat", "dog", start=50) | classes("c/", "cat", start=70))
    layout("a card that names splits whose words are classes",
           {"README.md": card("configs: [{config_name: x, data_files: [{split: train, path: 'train/**'}, "
                              "{split: test, path: 'test/**'}]}]")}
           | classes("train/", "train", "car") | classes("test/", "train", "car", start=50))


def described():
    """Image folders with a metadata file."""
    rows = [("0.png", 1), ("1.png", 0), ("2.png", 1)]
    files = lambda folder="", start=0: {f"{folder}{i}.png": png(start + i) for i in range(3)}
    layout("metadata.csv", files() | {"metadata.csv": meta(*rows)})
    layout("metadata.jsonl", files() | {"metadata.jsonl": meta_lines(*rows)})
    as_table = table({"file_name": pa.array([r[0] for r in rows]), "label": pa.array([r[1] for r in rows])})
    layout("metadata.parquet", files() | {"metadata.parquet": as_table})
    layout("metadata in each split",
           files("train/") | {"train/metadata.csv": meta(*rows)}
           | files("test/", 50) | {"test/metadata.csv": meta(*rows)})
    layout("metadata and shards of folders",
           {f"train/0{k}/{i}.png": png(3 * k + i) for k in range(2) for i in range(2)}
           | {"train/metadata.csv": meta(("01/1.png", "dog"), ("00/0.png", "cat"), ("00/1.png", "dog"),
                                         ("01/0.png", "cat"))})
    layout("metadata beside folders of classes",
           classes("train/", "cat", "dog")
           | {"train/metadata.jsonl": meta_lines(*[(f"{c}/{i}.png", f"{c}{i}") for c in ("dog", "cat")
                                                   for i in range(2)])})
    layout("metadata in each folder",
           {f"{k}/{i}.png": png(3 * k + i) for k in range(2) for i in range(2)}
           | {f"{k}/metadata.csv": meta(("1.png", k), ("0.png", k)) for k in range(2)})
    layout("metadata with more columns",
           files() | {"metadata.jsonl": meta_lines(*[(f"a{r[1]}", *r, f"text {i}") for i, r in enumerate(rows)],
                                                   columns=("id", "file_name", "label", "text"))})
    layout("metadata with a column of another name",
           files() | {"metadata.csv": meta(*rows, columns=("photo_file_name", "label"))})
    layout("metadata with paths that need tidying",
           files("images/") | {"metadata.csv": meta(("./images/0.png", 1), ("images//1.png", 0),
                                                    ("images/x/../2.png", 1))})
    layout("metadata for a part of the images", files() | {"metadata.csv": meta(*rows[:2])}, refuse=DROPPED)
    layout("metadata of an image that is not there", files() | {"metadata.csv": meta(*rows, ("9.png", 0))})
    layout("metadata that leads outside", files("a/") | {"a/metadata.csv": meta(("../b.png", 1))})
    layout("metadata with an absolute path", files() | {"metadata.csv": meta(("/etc/0.png", 1))})
    layout("metadata without file_name", files() | {"metadata.csv": meta(*rows, columns=("name", "label"))})
    layout("metadata in two formats",
           files() | {"metadata.csv": meta(*rows), "metadata.jsonl": meta_lines(*rows)})
    layout("metadata of one split alone",
           files("train/") | {"train/metadata.csv": meta(*rows)} | files("test/", 50),
           refuse="datasets leaves the other split empty or without labels")
    layout("metadata of different columns",
           files("train/") | {"train/metadata.csv": meta(*rows)}
           | files("test/", 50) | {"test/metadata.csv": meta(*rows, columns=("file_name", "class"))},
           here="each split is read by itself; one without the column is refused when it is asked for")
    layout("metadata above the splits",
           files("train/") | files("test/", 50)
           | {"metadata.csv": meta(*[(f"{s}/{n}", v) for s in ("train", "test") for n, v in rows])},
           refuse=DROPPED)
    layout("metadata with an image twice", files() | {"metadata.csv": meta(*rows, rows[0])},
           refuse=TWICE)
    layout("metadata with an empty label", files() | {"metadata.csv": meta(rows[0], ("1.png", ""), rows[2])})
    layout("metadata with lists of files",
           files() | {"metadata.jsonl": meta_lines((["0.png", "1.png"], 1), (["2.png"], 0),
                                                   columns=("file_names", "label"))},
           refuse="lists of images are not read")
    layout("metadata.csv in upper case", files("a/") | files("b/", 50) | {"Metadata.csv": meta(*rows)},
           refuse=DROPPED)
    layout("metadata.json", classes("", "cat", "dog") | {"metadata.json": "{}"}, refuse=DROPPED)
    layout("metadata with class names in the card",
           files() | {"metadata.csv": meta(("0.png", "dog"), ("1.png", "cat"), ("2.png", "dog")),
                      "README.md": card("dataset_info:\n  features:\n  - {name: image, dtype: image}\n  - name: "
                                        "label\n    dtype: {class_label: {names: {'0': dog, '1': cat}}}")})
    layout("metadata with a label that pandas takes for none",
           files() | {"metadata.csv": meta(("0.png", "None"), ("1.png", "cat"), ("2.png", "dog"))},
           refuse="pandas takes None, NA and others for a missing value")


def types():
    """Parquet columns of every type that labels may have."""
    whole = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
    columns = lambda **more: {f"{t}": pa.array([1, None, 100], t) for t in whole} | more
    layout("whole numbers of every width", {"train.parquet": table(columns())})
    layout("negative numbers of every width",
           {"train.parquet": table({f"{t}": pa.array([-1, -100, 7], t) for t in whole[:4]})})
    layout("the largest numbers of every width",
           {"train.parquet": table({f"{t}": pa.array([2 ** (t.bit_width - (i < 4)) - 1], t)
                                    for i, t in enumerate(whole[:7])})})
    words = pa.array(["b", None, "a", "b"])
    layout("dictionaries of text", {"train.parquet": table(
        {"plain": words.dictionary_encode(), "large": words.cast(pa.large_string()).dictionary_encode(),
         "narrow": words.cast(pa.dictionary(pa.int8(), pa.string())),
         "numbers": pa.array([7, 9, None, 7], pa.int16()).dictionary_encode()})})
    files = pa.array([{"bytes": png(s), "path": None} for s in range(4)], IMAGE)
    for name, labels in [("bytes", pa.array([0, 1, 1, 0], pa.uint8())),
                         ("dictionaries", pa.array(["dog", "cat", "cat", "dog"]).dictionary_encode())]:
        features = {"image": {"_type": "Image"}} | (
            {"label": {"_type": "Value", "dtype": "uint8"}} if name == "bytes" else {"label": {"_type": "Value", "dtype": "string"}})
        layout(f"images with labels that are {name}",
               {"train.parquet": table({"image": files, "label": labels}, features)})
    layout("shards whose classes are named otherwise",
           {f"train-0000{i}-of-00002.parquet": images(2 * i, 2 * i + 1, names=n)
            for i, n in enumerate([["a", "b"], ["a", "c"]])},
           refuse="datasets takes the names of the first")
    layout("values between semicolons", {"train.csv": "n;label\n1;2\n"})
    layout("a card with another separator",
           {"train.csv": "n;label\n1;2\n",
            "README.md": card("configs: [{config_name: x, data_files: train.csv, sep: ';'}]")},
           refuse="options of a card are not known here")
    layout("a card with the usual separator",
           {"train.csv": csv(1, 2), "README.md": card("configs: [{config_name: x, data_files: train.csv, sep: ','}]")})


def embedded():
    """Images in Parquet."""
    layout("images, train and train_2", {"train.parquet": images(*range(4)), "train_2.parquet": images(4, 5, 6),
                                         "test.parquet": images(10, 11, 12)})
    layout("images in shards", {"data/train-00000-of-00002.parquet": images(*range(3)),
                                "data/train-00001-of-00002.parquet": images(3, 4, 5),
                                "data/test-00000-of-00001.parquet": images(10, 11, 12)})
    layout("images and a card that is not of all",
           {"README.md": card("configs: [{config_name: x, data_files: [{split: train, path: 'a/t*'}]}]\nlicense: mit"),
            "a/t1.parquet": images(0, 1, 2), "a/t2.parquet": images(3, 4), "b/x.parquet": images(5)})
    layout("a png beside parquet", {"train.parquet": images(0, 1, 2), "train/1.png": png(1)}, refuse=DROPPED)


def plain(value):
    """A value in a form that JSON can represent."""
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, (str, int, float, type(None))):
        return value
    return str(type(value).__name__)


def image(value, root):
    """A decoded image beside what it was decoded from."""
    raw = value["bytes"] or pathlib.Path(value["path"]).read_bytes()
    decoded = datasets.Image().decode_example(value).convert("RGB")
    return {"sha256": hashlib.sha256(raw).hexdigest(),
            "pixels": np.asarray(decoded).tobytes().hex()}


def read(root, config, cache):
    found = datasets.load_dataset(str(root), config, cache_dir=cache)
    splits = {}
    for name, split in found.items():
        kinds = {c: f for c, f in split.features.items() if isinstance(f, datasets.Image)}
        for column in kinds:
            split = split.cast_column(column, datasets.Image(decode=False))
        columns, names = {}, {}
        for column, feature in split.features.items():
            values = split[column][:]
            columns[column] = [image(v, root) if column in kinds else plain(v) for v in values]
            if isinstance(feature, datasets.ClassLabel):
                names[column] = feature.names
        splits[name] = {"rows": len(split), "columns": columns, "classes": names}
    return splits


def main():
    # Errors of `datasets` list sets, whose order follows the hashes of strings.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    tables(), folders(), described(), types(), embedded()
    contents, written = {}, []
    for each in LAYOUTS:
        files = {}
        for path, content in each.pop("files").items():
            if isinstance(content, str):
                files[path] = content
            else:
                key = hashlib.sha256(content).hexdigest()[:12]
                contents[key] = content.hex()
                files[path] = {"is": key}
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
            root = pathlib.Path(folder) / "dataset"
            for path, content in files.items():
                at = root / path
                at.parent.mkdir(parents=True, exist_ok=True)
                at.write_bytes(content.encode() if isinstance(content, str)
                               else bytes.fromhex(contents[content["is"]]))
            try:
                expected = {"splits": read(root, each["config"], cache)}
            except Exception as error:
                while error.__cause__ is not None:
                    error = error.__cause__
                text = str(error).replace(str(root), "DATA").replace(str(cache), "CACHE")
                expected = {"error": f"{type(error).__name__}: {text}".split("\n")[0][:200]}
        each = {k: v for k, v in each.items() if v is not None}
        written.append(each | {"files": files} | expected)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    versions = {m: __import__(m).__version__ for m in ("datasets", "pyarrow", "pandas", "PIL", "fsspec")}
    text = json.dumps({"versions": versions, "contents": contents, "layouts": written}, ensure_ascii=False)
    OUT.write_text(text.replace('{"name": ', '\n{"name": ') + "\n")


if __name__ == "__main__":
    main()
