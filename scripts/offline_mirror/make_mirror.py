#!/usr/bin/env python3
"""Makes the repositories of an offline mirror of the Hugging Face Hub. ../offline_mirror.sh calls it.

    make_mirror.py FOLDER [--only NAME,...] [--sst2 FOLDER] [--multi30k FOLDER] [--check] [--record]

For each repository: if it is whole (every file has its SHA-256 in files.sha256), nothing. Otherwise its
recipe makes the files in FOLDER/.work/tmp, they are compared with files.sha256, and only then moved to
their places. `--check` makes nothing and exits with 3 if something is missing; it needs no packages.
`--record` makes everything and writes what it finds into files.sha256.
"""

import argparse
import contextlib
import fcntl
import pathlib
import shutil
import sys
import time

from failure import Failure, expect
from hub_cache import Repository, sha256

RECIPES = {
    "datasets/uoft-cs/cifar10": "cifar10",
    "datasets/zalando-datasets/fashion_mnist": "fashion_mnist",
    "datasets/vlora-mirror/ding-de-en": "ding_de_en",
    "datasets/vlora-mirror/movie-reviews": "movie_reviews",
    "models/sentence-transformers/all-MiniLM-L6-v2": "minilm",
    "datasets/SetFit/sst2": "sst2",
    "datasets/bentrevett/multi30k": "multi30k",
}
# No package has them; their recipes read files of the caller, from the folder that the option of the
# recipe's name gives.
FROM_CALLER = ("datasets/SetFit/sst2", "datasets/bentrevett/multi30k")
TABLE = pathlib.Path(__file__).parent / "files.sha256"
INCOMPLETE = 3


def main():
    args = arguments()
    table = read_table()
    if args.check:
        reasons = {name: wrong(args, table, name) for name in args.names}
        if any(reasons.values()):
            for name, reason in reasons.items():
                print(f"{name}: {reason or 'complete'}")
            sys.exit(INCOMPLETE)
        for name in args.names:
            print(f"{name}: complete, {len(table[name])} files, {size(args.folder, name, table)}")
        print_use(args)
        return
    with work_folder(args.folder) as work:
        for name in args.names:
            # Another call may have made it meanwhile.
            if wrong(args, table, name):
                make(args, table, name, work)
    if args.record:
        write_table(table)
    kept = sum(f.lstat().st_size for f in (args.folder / ".work").rglob("*") if f.is_file())
    print(f"\n{args.folder / '.work'}: {megabytes(kept)} of packages and environment, may be deleted")
    print_use(args)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=lambda f: pathlib.Path(f).absolute())
    parser.add_argument("--only", default="")
    for name in FROM_CALLER:
        parser.add_argument(f"--{RECIPES[name]}", type=lambda f: pathlib.Path(f) if f else None)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    asked = [name for name in args.only.split(",") if name]
    full = [name for name in RECIPES if not asked or any(is_name(a, name) for a in asked)]
    for a in asked:
        if not any(is_name(a, name) for name in RECIPES):
            known = ", ".join(name.split("/", 1)[1] for name in RECIPES)
            raise Failure("--only: there is no such repository", a, f"some of {known}")
    table = read_table()
    for name in FROM_CALLER:
        if name in full and not source(args, name) and (args.record or wrong(args, table, name)):
            short, help = name.split("/", 1)[1], f"--{RECIPES[name]} names a folder with its files"
            if asked:
                raise Failure(f"{short} is in no package", help=help)
            print(f"{short}: left out, it is in no package; {help}")
            full.remove(name)
    args.names = full
    return args


def source(args, name):
    """The caller's folder for a repository of FROM_CALLER."""
    return getattr(args, RECIPES[name])


def is_name(asked, name):
    return asked in (name, name.split("/", 1)[1], name.rsplit("/", 1)[1])


def wrong(args, table, name):
    if args.record:
        return "to be recorded"
    if name not in table:
        raise Failure(f"{TABLE.name} has no files of {name}", help="--record writes it anew")
    return Repository(args.folder, name).wrong(table[name])


def make(args, table, name, work):
    import recipes

    print(f"{name}: making", flush=True)
    start = time.monotonic()
    out = work / "tmp" / name.replace("/", "--")
    out.mkdir()
    rows = getattr(recipes, RECIPES[name])(source(args, name) if name in FROM_CALLER else work, out)
    made = {str(f.relative_to(out)): sha256(f) for f in sorted(out.rglob("*")) if f.is_file()}
    if args.record:
        table[name] = made
    check(name, made, table[name])
    Repository(args.folder, name).publish(out, made)
    expect(f"{name}: after publishing", Repository(args.folder, name).wrong(made), None)
    counts = "".join(f"{split} {count:,}, " for split, count in rows.items())
    seconds = time.monotonic() - start
    files = f"{len(made)} files, {size(args.folder, name, table)}"
    print(f"{name}: {counts}{files}, {seconds:.0f} s", flush=True)


def check(name, made, expected):
    expect(f"{name}: its files", sorted(made), sorted(expected))
    if name in FROM_CALLER:
        help = f"the files that --{RECIPES[name]} names have other contents than those known here"
    else:
        help = (
            "the packages' contents are right, so the versions in requirements.txt or this script "
            "and files.sha256 do not belong together, or this processor's PNGs differ: please report"
        )
    for path in expected:
        expect(f"{name}: SHA-256 of {path}", made[path], expected[path], help)


@contextlib.contextmanager
def work_folder(folder):
    """FOLDER/.work for one call at a time, with an empty tmp."""
    work = folder / ".work"
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another call works in this folder: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(work / "tmp", ignore_errors=True)
        (work / "tmp").mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work / "tmp", ignore_errors=True)


def read_table():
    """{repository: {path: sha256}}; a repository's name is the first three parts of a line's path."""
    table = {}
    for line in TABLE.read_text().splitlines():
        file_sha256, path = line.split("  ", 1)
        parts = path.split("/", 3)
        table.setdefault("/".join(parts[:3]), {})[parts[3]] = file_sha256
    return table


def write_table(table):
    lines = (f"{table[n][path]}  {n}/{path}\n" for n in RECIPES for path in sorted(table.get(n, ())))
    TABLE.write_text("".join(lines))


def size(folder, name, table):
    return megabytes(Repository(folder, name).size(table[name]))


def megabytes(count):
    return f"{count / 1e6:.1f} MB"


def print_use(args):
    print(f"""
To use it:

    export HF_HUB_CACHE={args.folder}
    export HF_HUB_OFFLINE=1

and for example

    vlora run experiments/paper/cifar10-vit-small.yaml

A lock that `vlora fetch` makes with this folder pins its files, which are not the Hub's own.""")


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: run this again, it goes on with what is missing")
