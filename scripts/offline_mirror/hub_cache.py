"""A repository in the layout that huggingface_hub keeps its downloads in.

    datasets--owner--name/
      blobs/<etag>                     contents
      snapshots/<commit>/<path>        relative links into blobs
      refs/main                        the commit, written last: a reader sees all or nothing

An etag is what the Hub answers: the SHA-256 for a file it keeps in LFS (Parquet, safetensors, and
whatever has 10 MB or more), git's blob SHA-1 for any other. The Hub's commit is git's; here it is the
SHA-1 of the lines "path sha256" in path order, so the same files always have the same commit.
"""

import hashlib
import os
import pathlib
import tempfile

LFS_SUFFIXES = (".parquet", ".safetensors")
LFS_SIZE = 10_000_000


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def etag(path, file_sha256):
    size = path.stat().st_size
    if path.name.endswith(LFS_SUFFIXES) or size >= LFS_SIZE:
        return file_sha256
    return hashlib.sha1(b"blob %d\0" % size + path.read_bytes()).hexdigest()


def commit(files):
    """`files`: {path: sha256}."""
    lines = "".join(f"{path} {files[path]}\n" for path in sorted(files))
    return hashlib.sha1(lines.encode()).hexdigest()


class Repository:
    def __init__(self, folder, name):
        """`name`: datasets/owner/name or models/owner/name."""
        self.root = folder / name.replace("/", "--")

    def snapshot(self, files):
        return self.root / "snapshots" / commit(files)

    def wrong(self, files):
        """The first thing that keeps this from being a whole repository of `files`, or None."""
        ref = self.root / "refs/main"
        if not ref.is_file():
            return "not there yet"
        if ref.read_text() != commit(files):
            return "refs/main names another commit"
        for path, wanted in files.items():
            link = self.snapshot(files) / path
            if not link.is_file():
                return f"{path} is missing"
            if sha256(link) != wanted:
                return f"{path} has another SHA-256"
            if not link.is_symlink() or os.readlink(link) != self._target(path, etag(link, wanted)):
                return f"{path} is no link to its blob"
        return None

    def size(self, files):
        return sum((self.snapshot(files) / path).stat().st_size for path in files)

    def publish(self, made, files):
        """Moves `files` from the folder `made`, on the same file system, to their places."""
        for path, file_sha256 in files.items():
            tag = etag(made / path, file_sha256)
            blob = self.root / "blobs" / tag
            link = self.snapshot(files) / path
            for folder in (blob.parent, link.parent):
                folder.mkdir(parents=True, exist_ok=True)
            sync(made / path)
            os.replace(made / path, blob)
            new = pathlib.Path(tempfile.mkdtemp(dir=made)) / "link"
            new.symlink_to(self._target(path, tag))
            os.replace(new, link)
            sync(blob.parent)
            sync(link.parent)
        ref = self.root / "refs/main"
        ref.parent.mkdir(exist_ok=True)
        new = made / ".ref"
        new.write_text(commit(files))
        sync(new)
        os.replace(new, ref)
        sync(ref.parent)

    @staticmethod
    def _target(path, tag):
        return "../" * (path.count("/") + 2) + f"blobs/{tag}"


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
