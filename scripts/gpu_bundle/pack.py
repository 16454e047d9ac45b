#!/usr/bin/env python3
"""Packs what run.sh wrote into one archive of a limited size: pack.py FOLDER ARCHIVE BYTES.

Weights, caches and unpacked packages stay out, and of the rest what is largest where all would be too
much: left-out.txt in the archive names it.
"""

import gzip
import io
import os
import pathlib
import sys
import tarfile

# Left out by name: folders that can be made again from the bundle, and files that only a program
# reads.
FOLDERS = {"cache", "hub", "site", "done"}
ENDINGS = (".safetensors", ".nsys-rep", ".sqlite", ".tar.gz", ".partial")


def chosen(folder):
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_symlink() or not path.is_file() or inside[0] in FOLDERS or path.name.endswith(ENDINGS):
            continue
        yield path, path.stat().st_size


def write(archive, folder, files, left):
    """Writes the archive; returns its size."""
    partial = archive.with_name(archive.name + ".partial")
    with tarfile.open(partial, "w:gz") as tar:
        for path in files:
            tar.add(path, pathlib.PurePosixPath("out", *path.relative_to(folder).parts), recursive=False)
        if left:
            lines = [f"{size:>12}  {path.relative_to(folder)}" for path, size in left]
            text = ("bytes, of files that were left out\n" + "\n".join(lines) + "\n").encode()
            entry = tarfile.TarInfo("out/left-out.txt")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    os.replace(partial, archive)
    return archive.stat().st_size


def main():
    folder, archive, most = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    # The smallest first, since logs and tables are worth more than large files.
    files = sorted(chosen(folder), key=lambda f: (f[1], f[0]))
    # Leave room for file names and the list of files left out.
    room, kept, left = most - most // 20, [], []
    for path, size in files:
        packed = len(gzip.compress(path.read_bytes(), 6)) if size < 4 * most else size
        if packed <= room:
            kept.append(path)
            room -= packed
        else:
            left.append((path, size))
    size = write(archive, folder, kept, left)
    while size > most and kept:
        path = kept.pop()
        left.append((path, path.stat().st_size))
        size = write(archive, folder, kept, left)
    print(f"{archive}: {len(kept)} files, {size} bytes" + (f"; {len(left)} left out" if left else ""))


main()
