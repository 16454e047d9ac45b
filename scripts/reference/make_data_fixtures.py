"""Makes tests/fixtures/data: small files in the formats of datasets, written and read by others.

    pip install pillow==13.0.0 numpy==2.4.6 pyarrow==26.0.1
    python scripts/reference/make_data_fixtures.py

`*.parquet` are written by pyarrow with different compressions and encodings; `*.pixels` hold what Pillow
decodes from their images (row, column, channel), and `text.json` what pyarrow reads from `text.parquet`.
The folder `wrong` has files whose columns are not what a dataset's are.
"""

import datetime
import io
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = pathlib.Path(__file__).parents[2] / "tests/fixtures/data"
SIDE = 8
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed):
    """An RGB image with edges and gradients."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    channels = [(x * 31 + seed * 40) % 256, (y * 29 + x * seed) % 256, (x * y * 5 + 60) % 256]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def slope(seed):
    """Colours that change slowly, as in photographs."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    channels = [90 + x * 4 + seed * 20, 60 + y * 5 + x, 120 - x * 3 + y * 2]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def encoded(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def write(name, columns, features=None, **options):
    schema = pa.schema([(name, array.type) for name, array in columns.items()])
    if features:
        info = json.dumps({"info": {"features": features}})
        schema = schema.with_metadata({"huggingface": info})
    path = OUT / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(list(columns.values()), schema=schema), path, **options)


def images(files):
    return pa.array([{"bytes": b, "path": None} for b in files], IMAGE)


def pixels(name, files, mode):
    decoded = [np.asarray(Image.open(io.BytesIO(f)).convert(mode)).tobytes() for f in files]
    (OUT / f"{name}.pixels").write_bytes(b"".join(decoded))


def labelled(names):
    return {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    labels = lambda *values: pa.array(values, pa.int64())
    rgb = [
        encoded(picture(0), "PNG"),
        encoded(picture(1).quantize(7), "PNG"),
        encoded(picture(2).convert("RGBA"), "PNG"),
        encoded(picture(3), "PNG", compress_level=0),
        encoded(picture(4), "WEBP", lossless=True),
        encoded(picture(5).convert("RGBA"), "WEBP", lossless=True),
    ]
    pixels("rgb", rgb, "RGB")
    # Two row groups, not compressed, so that pages are stored as they are.
    write("rgb", {"image": images(rgb), "label": labels(0, 1, 2, 0, 1, 2)},
          labelled(["a", "b", "c"]), compression="NONE", row_group_size=4)

    # 4:4:4, 4:2:2 and 4:2:0.
    jpeg = [encoded(slope(i), "JPEG", quality=90, subsampling=i) for i in range(3)]
    pixels("jpeg", jpeg, "RGB")
    write("jpeg", {"image": images(jpeg), "label": labels(0, 1, 2)}, compression="ZSTD")

    grey = [
        encoded(picture(0).convert("L"), "PNG"),
        encoded(picture(1).convert("L").point(lambda v: 255 * (v > 99)).convert("1"), "PNG"),
        encoded(picture(2).convert("LA"), "PNG"),
    ]
    pixels("grey", grey, "L")
    # A plain binary column, labels as names.
    write("grey", {"image": pa.array(grey), "label": pa.array(["dog", "cat", "dog"])},
          compression="GZIP")

    table = {
        "translation": pa.array([{"de": "Hund", "en": "dog"}, {"de": "Bär", "en": "bear"}, None],
                                pa.struct([("de", pa.string()), ("en", pa.string())])),
        "text": pa.array(["", "Bär\n„x“", None]),
        "score": pa.array([0.5, None, -3.25]),
        "half": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "label": pa.array([1, None, -(2**40)], pa.int64()),
        "flag": pa.array([True, False, None]),
        "ids": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
        "tiny": pa.array([1, 2, 3], pa.int8()),
        "day": pa.array([datetime.date(2024, 6, 13)] * 3),
    }
    write("text", table, {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}},
          compression="SNAPPY", data_page_version="2.0")
    told = {name: array.to_pylist() for name, array in table.items() if name not in ("ids", "day")}
    (OUT / "text.json").write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n")

    png = images(rgb[:1])
    one = labels(0)
    write("wrong/image-is-text", {"image": pa.array(["a.png"]), "label": one})
    write("wrong/image-without-bytes",
          {"image": pa.array([{"bytes": None, "path": "a.png"}], IMAGE), "label": one})
    write("wrong/image-is-list", {"image": pa.array([[1, 2]]), "label": one})
    write("wrong/label-is-fraction", {"image": png, "label": pa.array([0.5])})
    write("wrong/label-is-byte", {"image": png, "label": pa.array([0], pa.int8())})
    write("wrong/label-is-empty", {"image": png, "label": pa.array([None], pa.int64())})
    write("wrong/label-too-large", {"image": images(rgb[:2]), "label": labels(2, 3)})
    write("wrong/label-negative", {"image": png, "label": labels(-1)})
    write("wrong/names-too-many", {"image": png, "label": one}, labelled(list("abcd")))
    write("wrong/columns-otherwise-named", {"img": png, "fine_label": one},
          {"fine_label": {"names": list("abc"), "_type": "ClassLabel"}})
    write("wrong/no-rows", {"image": png[:0], "label": one[:0]})


if __name__ == "__main__":
    main()
