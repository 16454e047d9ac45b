"""Makes tests/fixtures/images: encoded images with the pixels that `datasets`, Pillow and torchvision make of them.

    pip install -r scripts/reference/requirements.txt
    python scripts/reference/make_image_fixtures.py

`decoded.parquet` has a file a row, with what `datasets` hands on of it, converted to RGB and to grey, and the
lengths to which it can be cut without Pillow's minding. `resized.parquet` has square crops of resized images by
torchvision on Pillow images. `boxes.json` has means over many boxes of torchvision's RandomResizedCrop.
"""

import io
import json
import pathlib
import struct
import warnings
import zlib

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, PngImagePlugin
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import RandomResizedCrop

OUT = pathlib.Path(__file__).parents[2] / "tests/fixtures/images"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'

warnings.simplefilter("ignore")


def slope(width, height, seed=0):
    """Colours that change slowly and differ in every corner."""
    y, x = np.mgrid[0:height, 0:width] * np.array([48 / height, 64 / width]).reshape(2, 1, 1)
    channels = [30 + x * 3 + y + seed, 200 - y * 3 - x / 2, 60 + x + y * 2 - seed]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def busy(width, height, seed):
    """Edges, lines and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    channels = [(x * 37 + seed * 40) % 256, 255 * ((x // 5 + y // 3) % 2), rng.integers(0, 256, (height, width))]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def encoded(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def tiff(orientation, order, kind):
    """EXIF data in either byte order, the tag as SHORT (3) or LONG (4)."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    return b"Exif\0\0" + head + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value + bytes(4)


def png(width, height, depth, color, rows):
    """A PNG of samples that Pillow does not write."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    lines = b"".join(b"\0" + row for row in rows)
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def with_text(image, key, text, packed):
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text, zip=packed)
    return encoded(image, "PNG", pnginfo=info)


def files():
    """Name, bytes, and the largest allowed error of a JPEG decoder."""
    image = slope(12, 8)
    for n in range(10):
        yield f"jpeg orientation {n}", encoded(image, "JPEG", quality=95, subsampling=0, exif=exif(n)), 2
        yield f"png orientation {n}", encoded(image, "PNG", exif=exif(n)), 0
        yield f"webp orientation {n}", encoded(image, "WEBP", lossless=True, exif=exif(n)), 0
    for order in "<>":
        for kind in (3, 4):
            yield f"jpeg tiff {order} {kind}", encoded(image, "JPEG", subsampling=0, exif=tiff(6, order, kind)), 2
    yield "jpeg xmp", encoded(image, "JPEG", subsampling=0, xmp=(XMP % 6).encode()), 2
    yield "jpeg exif before xmp", encoded(image, "JPEG", subsampling=0, exif=exif(1), xmp=(XMP % 6).encode()), 2
    yield "jpeg broken exif value", encoded(image, "JPEG", subsampling=0, exif=exif(77)), 2
    yield "webp xmp", encoded(image, "WEBP", lossless=True, xmp=(XMP % 8).encode()), 0
    raw = tiff(6, "<", 3)
    profile = f"\nexif\n{len(raw):8}\n{raw.hex()}\n"
    for packed in (False, True):
        yield f"png xmp, packed {packed}", with_text(image, "XML:com.adobe.xmp", XMP % 3, packed), 0
        yield f"png profile, packed {packed}", with_text(image, "Raw profile type exif", profile, packed), 0
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP % 5, zip=True)
    yield "png xmp, international", encoded(image, "PNG", pnginfo=info), 0

    rng = np.random.default_rng(0)
    noise = lambda *shape: rng.integers(0, 256, shape, dtype=np.uint8)
    rgb, alpha = noise(9, 11, 3), noise(9, 11, 1)
    color = Image.fromarray(rgb)
    grey = Image.fromarray(rgb[..., 0])
    yield "png 1 bit", encoded(grey.convert("1"), "PNG"), 0
    yield "png grey", encoded(grey, "PNG"), 0
    yield "png grey, one value transparent", encoded(grey, "PNG", transparency=int(rgb[0, 0, 0])), 0
    yield "png grey alpha", encoded(Image.fromarray(np.concatenate([rgb[..., :1], alpha], -1)), "PNG"), 0
    yield "png rgb, one colour transparent", encoded(color, "PNG", transparency=tuple(map(int, rgb[0, 0]))), 0
    yield "png rgba", encoded(Image.fromarray(np.concatenate([rgb, alpha], -1)), "PNG"), 0
    for colors in (2, 16, 99):
        palette = color.quantize(colors)
        yield f"png palette {colors}", encoded(palette, "PNG"), 0
        yield f"png palette {colors}, transparent", encoded(palette, "PNG", transparency=bytes([0, 99])), 0
    for depth in (2, 4):
        yield f"png grey of {depth} bits", png(8, 9, depth, 0, [bytes(noise(depth)) for _ in range(9)]), 0
    for name, kind, samples in [("grey alpha", 4, 2), ("rgb", 2, 3), ("rgba", 6, 4)]:
        yield f"png 16 bit {name}", png(5, 9, 16, kind, [bytes(noise(5 * samples * 2)) for _ in range(9)]), 0
    yield "webp rgba", encoded(Image.fromarray(np.concatenate([rgb, alpha], -1)), "WEBP", lossless=True, exact=True), 0

    photo = slope(130, 110).crop((0, 0, 45, 37))
    for name, options in [("", {}), (" progressive", {"progressive": True}), (" restarts", {"restart_marker_rows": 1}),
                          (" 4:4:4", {"subsampling": 0}), (" 4:2:2", {"subsampling": 1})]:
        # Decoders upsample colour channels of half the resolution with different rounding.
        off = 2 if options.get("subsampling") == 0 else 3
        yield f"jpeg{name}", encoded(photo, "JPEG", quality=90, **options), off
    yield "jpeg grey", encoded(photo.convert("L"), "JPEG"), 2
    yield "jpeg grey progressive", encoded(photo.convert("L"), "JPEG", progressive=True), 2
    yield "jpeg cmyk", encoded(photo.convert("CMYK"), "JPEG", quality=95), 3
    yield "jpeg one colour", encoded(Image.new("RGB", (45, 37), (1, 200, 90)), "JPEG"), 2
    yield "png", encoded(photo, "PNG"), 0
    yield "webp", encoded(photo, "WEBP"), 2
    yield "webp lossless", encoded(photo, "WEBP", lossless=True), 0
    yield "webp alpha", encoded(photo.convert("RGBA"), "WEBP", exif=exif(6)), 2


def decode(bytes):
    return datasets.Image().decode_example({"bytes": bytes, "path": None})


def accepted(file):
    """The lengths to which a file can be cut so that Pillow still accepts it."""
    def sound(bytes):
        try:
            decode(bytes)
            return True
        except Exception:
            return False
    return [n for n in range(len(file)) if sound(file[:n])]


def write_decoded():
    rows = {name: [] for name in ("name", "image", "width", "height", "rgb", "grey", "off", "cuts")}
    for name, file, off in files():
        image = decode(file)
        rows["name"].append(name)
        rows["image"].append({"bytes": file, "path": None})
        rows["width"].append(image.width)
        rows["height"].append(image.height)
        rows["rgb"].append(image.convert("RGB").tobytes())
        rows["grey"].append(image.convert("L").tobytes())
        rows["off"].append(off)
        rows["cuts"].append(json.dumps(accepted(file)))
    write("decoded", rows)


def write(name, rows):
    arrays = [pa.array(values, IMAGE) if key == "image" else pa.array(values) for key, values in rows.items()]
    pq.write_table(pa.table(arrays, names=list(rows)), OUT / f"{name}.parquet", compression="ZSTD")


def write_resized():
    rows = {name: [] for name in ("name", "image", "side", "resize", "interpolation", "crop", "rgb", "grey")}
    sizes = [(64, 48), (48, 64), (31, 31), (7, 90), (200, 33), (16, 16), (5, 4)]
    for seed, (width, height) in enumerate(sizes):
        image = busy(width, height, seed)
        for interpolation in ("bilinear", "bicubic"):
            mode = InterpolationMode(interpolation)
            for resize, side in [("exact", 16), ("16", 16), ("20", 16), ("37", 32)]:
                exact = resize == "exact"
                size = (side, side) if exact else int(resize)
                steps = [v2.Resize(size, mode, antialias=True)] + [v2.CenterCrop(side)] * (not exact)
                transform = v2.Compose(steps)
                rows["name"].append(f"{width} × {height}, {resize} to {side}, {interpolation}")
                rows["image"].append({"bytes": encoded(image, "PNG"), "path": None})
                rows["side"].append(side)
                rows["resize"].append(resize)
                rows["interpolation"].append(interpolation)
                rows["crop"].append("none" if exact else "center")
                rows["rgb"].append(transform(image).tobytes())
                rows["grey"].append(transform(image.convert("L")).tobytes())
    for width, height in [(33, 16), (16, 31), (40, 21)]:
        image = busy(width, height, 9)
        rows["name"].append(f"{width} × {height}, cropped to 16")
        rows["image"].append({"bytes": encoded(image, "PNG"), "path": None})
        rows["side"].append(16)
        rows["resize"].append("null")
        rows["interpolation"].append("bilinear")
        rows["crop"].append("center")
        rows["rgb"].append(v2.CenterCrop(16)(image).tobytes())
        rows["grey"].append(v2.CenterCrop(16)(image.convert("L")).tobytes())
    write("resized", rows)


def write_boxes(draws=40_000):
    """Means, deviations, minima and maxima of the boxes (left, top, width, height)."""
    torch.manual_seed(0)
    out = []
    for width, height, scale, ratio in [
        (64, 64, (0.08, 1.0), (3 / 4, 4 / 3)),
        (500, 375, (0.08, 1.0), (3 / 4, 4 / 3)),
        (37, 211, (0.08, 1.0), (3 / 4, 4 / 3)),
        (300, 20, (0.5, 1.0), (3 / 4, 4 / 3)),
        (20, 300, (0.9, 1.0), (3 / 4, 4 / 3)),
        (40, 30, (1.0, 1.0), (1.0, 1.0)),
        (50, 40, (0.2, 0.6), (0.5, 1.0)),
    ]:
        image = torch.empty(1, height, width)
        boxes = np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(draws)], float)
        boxes = boxes[:, [1, 0, 3, 2]]
        out.append({"width": width, "height": height, "scale": scale, "ratio": ratio, "draws": draws,
                    "mean": boxes.mean(0).tolist(), "std": boxes.std(0).tolist(),
                    "least": boxes.min(0).tolist(), "most": boxes.max(0).tolist()})
    (OUT / "boxes.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write_decoded()
    write_resized()
    write_boxes()
