#!/usr/bin/env bash
# Writes src/cuda_loader/names.rs: every function of the CUDA libraries that the crates refer to
# when compiled with the `cuda` feature. That is everything cudarc declares, and the functions of
# the CUDA runtime that candle calls. Run it after a change of candle or cudarc.
#
#   scripts/cuda_symbols.sh            write the file
#   scripts/cuda_symbols.sh --check    report whether it would change
#
# Sets up the toolkit first if it is missing (scripts/cuda_toolkit.sh).
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vlora/target}"
file=src/cuda_loader/names.rs

fail() { echo "cuda_symbols.sh: $*" >&2; exit 1; }

check=false
if [ "${1:-}" = --check ]; then check=true; shift; fi
[ $# -eq 0 ] || fail "unknown argument $1; expected [--check]"
command -v nm >/dev/null || fail "nm is needed (Debian: apt install binutils)"

environment=$(scripts/cuda_toolkit.sh --env)
eval "$environment"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The build reports the archive of each crate and the output of its build script. Older ones may be
# in the same folders.
cargo build --release --features cuda --lib --message-format json-render-diagnostics >"$work/messages"
python3 - "$work/messages" >"$work/archives" <<'PYTHON'
import json, pathlib, sys
wanted = {"vlora", "candle_core", "candle_kernels", "cudarc"}
for line in open(sys.argv[1]):
    message = json.loads(line)
    if message["reason"] == "compiler-artifact":
        if message["target"]["name"].replace("-", "_") in wanted:
            print(*(name for name in message["filenames"] if name.endswith(".rlib")), sep="\n")
    elif message["reason"] == "build-script-executed" and "candle-kernels" in message["package_id"]:
        print(*pathlib.Path(message["out_dir"]).glob("*.a"), sep="\n")
PYTHON
xargs -d '\n' nm --undefined-only --format=just-symbols <"$work/archives" |
    grep -xE '(cu[A-Z]|cublas|curand|nvrtc|cuda|__cuda)[A-Za-z0-9_]*' | sort -u >"$work/names"
[ -s "$work/names" ] || fail "no CUDA function is referred to, which cannot be"

# The functions of a library. Arguments: the library, its key in the macro, the pattern of its
# names.
library() {
    local about=$1 key=$2 pattern=$3
    grep -xE "$pattern" "$work/names" >"$work/own" || fail "no function matches $pattern"
    grep -vxE "$pattern" "$work/names" >"$work/others" || true
    mv "$work/others" "$work/names"
    printf '        // %s\n        %s:\n' "$about" "$key"
    paste -sd ' ' "$work/own" | fold -s -w 84 | sed 's/ *$//; s/^/            /; $s/$/;/'
}

{
    cat <<'HEAD'
//! Every function of the CUDA libraries that the compiled crates refer to, by library. Made by
//! scripts/cuda_symbols.sh.

trampolines! {
    loaded {
HEAD
    library "The driver, libcuda." driver 'cu[A-Z].*'
    library "libcublasLt." cublaslt 'cublasLt.*'
    library "libcublas." cublas 'cublas.*'
    library "libcurand." curand 'curand.*'
    printf '    }\n    left_out {\n'
    library "libnvrtc, which compiles kernels at run time: this program does not do that." missing 'nvrtc.*'
    library "Of the CUDA runtime, libcudart, what is called as the program starts." nothing \
        '__cuda(Un)?[Rr]egister.*'
    library "The rest of the CUDA runtime." missing '(__)?cuda.*'
    printf '    }\n}\n'
} >"$work/names.rs"
[ ! -s "$work/names" ] || fail "functions of no known library: $(paste -sd ' ' "$work/names")"

if cmp -s "$work/names.rs" "$file"; then
    echo "$file is as it must be"
elif $check; then
    diff -u "$file" "$work/names.rs" || true
    fail "$file is not what the compiled crates refer to: run scripts/cuda_symbols.sh"
else
    cp "$work/names.rs" "$file"
    echo "wrote $file"
fi
