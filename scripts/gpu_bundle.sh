#!/usr/bin/env bash
# Makes a folder that runs on a Linux x86-64 machine with an NVIDIA GPU and no network, where there are
# only the driver, the CUDA 13 libraries and Python with PyTorch and timm: the program and its tests, specs,
# data, the authors' package, and run.sh, which does the rest there.
#
#   scripts/gpu_bundle.sh [--mirror FOLDER] [--out FOLDER] [--without-cuda]
#
#   --mirror FOLDER   take CIFAR-10 from this folder, which scripts/offline_mirror.sh made
#   --out FOLDER      where the bundle is made (default: bundle)
#   --without-cuda    build without the feature, to try the scripts alone: such a bundle only does its dry run
#
# Beside the folder comes FOLDER.tar.gz, at most 48 MB, or in parts of 40 MB where it would be larger: the
# bundle without the data. The data is in FOLDER/data, in parts of 40 MB. On the other machine, with Python
# alone:
#
#   cat bundle.tar.gz* | python3 -c 'import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz").extractall()'
#   mv cifar10.tar.part-* bundle/data/ && bundle/run.sh --dry-run && bundle/run.sh all
#
# Builds with the `cuda` feature; the toolkit is set up first if it is not there. The machine needs a libc
# no older than this one's: the bundle's libc.txt says which.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vlora/target}"
export CARGO_TERM_COLOR=never
largest=48000000 part=40000000

fail() { echo "gpu_bundle.sh: $*" >&2; exit 1; }

mirror='' bundle=bundle features=(--features cuda)
while [ $# -gt 0 ]; do
    case $1 in
        --mirror | --out)
            [ $# -gt 1 ] || fail "$1 needs a folder"
            if [ "$1" = --mirror ]; then mirror=$2; else bundle=$2; fi
            shift ;;
        --without-cuda) features=() ;;
        *) fail "unknown argument $1; expected [--mirror FOLDER] [--out FOLDER] [--without-cuda]" ;;
    esac
    shift
done
for tool in strip objdump python3 split gzip sha256sum; do
    command -v "$tool" >/dev/null || fail "$tool is needed (Debian: apt install binutils coreutils python3-pip)"
done
cifar=datasets--uoft-cs--cifar10
[ -z "$mirror" ] || [ -d "$mirror/$cifar" ] || fail "$mirror has no $cifar: scripts/offline_mirror.sh $mirror --only cifar10"
[ ! -e "$bundle" ] || [ -e "$bundle/SHA256SUMS" ] || fail "$bundle is there and is no bundle of before; name another folder with --out"

if [ ${#features[@]} -gt 0 ]; then
    environment=$(scripts/cuda_toolkit.sh --env)
    eval "$environment"
fi

echo "-- program and tests"
cargo build --release "${features[@]}"
tests=$(cargo test --release "${features[@]}" --lib --no-run --message-format json-render-diagnostics | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message.get("executable"):
        print(message["executable"])')
[ -x "$tests" ] || fail "cargo made no executable of the tests"

# Built beside its final place, so that an interrupted call is never taken for a bundle.
work=$bundle.partial
rm -rf "$work"
mkdir -p "$work"/{bin,data,wheels,experiments,scripts}
strip -o "$work/bin/vlora" "$CARGO_TARGET_DIR/release/vlora"
strip -o "$work/bin/tests" "$tests"
for program in vlora tests; do
    ! objdump -p "$work/bin/$program" | grep -E 'NEEDED +lib(cu|nv)' ||
        fail "bin/$program needs a CUDA library to start; scripts/cuda_check.sh says more"
done
[ ${#features[@]} -gt 0 ] || touch "$work/without-cuda"
objdump -T "$work"/bin/* | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1 >"$work/libc.txt"

echo "-- specs and scripts"
cp -r experiments/{quickstart.yaml,quickstart-language.yaml,reference.yaml,ablations,benchmarks,gpu} "$work/experiments/"
mkdir "$work/experiments/paper"
cp experiments/paper/cifar10-vit-lite*.yaml "$work/experiments/paper/"
mkdir "$work"/scripts/{bench,reference}
cp scripts/bench/{step,torch_step,gpt}.py "$work/scripts/bench/"
cp scripts/reference/readings.py "$work/scripts/reference/"
cp scripts/gpu_bundle/{machine,same_bits}.sh scripts/gpu_bundle/pack.py "$work/scripts/"
cp scripts/gpu_bundle/run.sh LICENSE-MIT LICENSE-APACHE "$work/"

echo "-- wheels"
# timm for machines whose own version does not fit the authors' package.
for package in vlora timm; do
    version=$(sed -n "s/^$package==//p" scripts/reference/requirements.txt)
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work/wheels" "$package==$version" ||
        fail "pip could not get $package $version"
done

if [ -n "$mirror" ]; then
    echo "-- CIFAR-10"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$mirror" -cf - "$cifar" |
        split -b $part -d -a 2 - "$work/data/cifar10.tar.part-"
    cat "$work"/data/cifar10.tar.part-* | sha256sum | sed 's/-$/cifar10.tar/' >"$work/data/cifar10.sha256"
fi

(cd "$work" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs -d '\n' sha256sum >SHA256SUMS)
# Results of the previous bundle are kept.
[ ! -e "$bundle/out" ] || mv "$bundle/out" "$work/out"
rm -rf "$bundle"
mv "$work" "$bundle"

name=$(basename "$bundle")
rm -f "$bundle".tar.gz "$bundle".tar.gz.part-*
tar --sort=name --owner=0 --group=0 --numeric-owner -C "$(dirname "$bundle")" --exclude "$name/data/*.part-*" --exclude "$name/out" -cf - "$name" |
    gzip -9n >"$bundle.tar.gz"
if [ "$(stat -c %s "$bundle.tar.gz")" -gt $largest ]; then
    split -b $part -d -a 2 "$bundle.tar.gz" "$bundle.tar.gz.part-"
    rm "$bundle.tar.gz"
fi
for file in "$bundle".tar.gz* "$bundle"/data/*.part-*; do
    [ -e "$file" ] || continue
    size=$(stat -c %s "$file")
    [ "$size" -le $largest ] || fail "$file has $size bytes, more than $largest"
    printf '%10d bytes  %s\n' "$size" "$file"
done

echo "-- a look at it, without a GPU"
"$bundle/run.sh" --dry-run
