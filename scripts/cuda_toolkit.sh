#!/usr/bin/env bash
# Sets up what builds the `cuda` feature: nvcc 13.0 and the CUDA libraries' link-time parts, from PyPI's
# wheels, without a GPU, a driver, or root. About 1.3 GB on disk.
#
#   scripts/cuda_toolkit.sh [FOLDER]    set up, unless it is there; prints CUDA_HOME
#   eval "$(scripts/cuda_toolkit.sh --env [FOLDER])"    and set what cargo needs in this shell
#
# FOLDER is $VLORA_CUDA_TOOLKIT, else vlora/cuda-toolkit in the user's cache folder.
set -euo pipefail

version=13.0.2
parts=nvcc,cudart,cccl,crt,nvvm,nvrtc,cublas,curand

environment=false
fail() {
    echo "cuda_toolkit.sh: $*" >&2
    # The evaluated command fails, too, so that a build after `&&` does not start.
    if $environment; then echo false; fi
    exit 1
}

case "${1:-}" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit ;;
    --env) environment=true; shift ;;
esac
[ $# -le 1 ] || fail "expected at most one folder, found: $*"
case "${1:-}" in -*) fail "unknown option $1; expected [--env] [FOLDER]" ;; esac
cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}
folder=$(realpath -m -- "${1:-${VLORA_CUDA_TOOLKIT:-$cache/vlora/cuda-toolkit}}")

[ "$(uname -sm)" = "Linux x86_64" ] || fail "the wheels are for Linux on x86-64, not $(uname -sm)"
command -v python3 >/dev/null || fail "python3 is needed to get the wheels"
command -v cc >/dev/null || fail "a C compiler (cc) is needed for the link-time stub of libcuda"

# Gives the folder of the wheels the layout of a toolkit, with three changes inside it.
repair() {
    local home=$1
    ln -sfn lib "$home/lib64"
    local library
    for library in "$home"/lib/lib*.so.*; do
        ln -sf "$(basename "$library")" "${library%%.so.*}.so"
    done
    # libcuda comes with the driver, which a build machine may lack. This one has only its names.
    mkdir -p "$home/lib/stubs"
    grep -ohE '\bcu[A-Z][A-Za-z0-9_]*[[:space:]]*\(' "$home/include/cuda.h" | tr -d ' \t(' | sort -u |
        sed 's/.*/void &(void) {}/' |
        cc -x c -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$home/lib/stubs/libcuda.so" -
}

if [ ! -e "$folder/ready-$version" ]; then
    mkdir -p "$(dirname "$folder")" || fail "no folder can be made in $(dirname "$folder")"
    # Only one call at a time.
    exec 9>"$folder.lock"
    flock 9 || fail "$folder.lock cannot be locked"
fi
if [ ! -e "$folder/ready-$version" ]; then
    [ ! -e "$folder" ] || [ -d "$folder" ] || fail "$folder is there and is no folder"
    if [ -n "$(ls -A "$folder" 2>/dev/null)" ] && ! ls "$folder"/ready-* >/dev/null 2>&1; then
        fail "$folder is there and is no toolkit of before; name another folder, or remove it"
    fi
    # Built beside its final place, so that an interrupted setup is never taken for a toolkit.
    work=$folder.partial
    rm -rf "$work"
    python3 -m venv "$work" || fail "python3 could not make a virtual environment (Debian: apt install python3-venv)"
    "$work/bin/pip" install -q --disable-pip-version-check "cuda-toolkit[$parts]==$version" >&2
    home=$(echo "$work"/lib/python3*/site-packages/nvidia/cu13)
    [ -x "$home/bin/nvcc" ] || fail "the wheels hold no bin/nvcc where it is expected: $home"
    repair "$home"
    mv "$home" "$work/cu13"
    touch "$work/ready-$version"
    rm -rf "$folder"
    mv "$work" "$folder"
fi
home=$folder/cu13
"$home/bin/nvcc" --version >/dev/null || fail "nvcc in $home does not start; remove $folder to set it up again"

if $environment; then
    # The oldest supported architecture; the driver compiles for the actual one.
    printf 'export CUDA_HOME=%q PATH=%q:"$PATH" CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"\n' "$home" "$home/bin"
else
    echo "$home"
fi
