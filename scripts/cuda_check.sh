#!/usr/bin/env bash
# Builds and lints the `cuda` feature on a machine without a GPU, and checks the result:
#
#   - no target has lints;
#   - neither the program nor its tests need a CUDA library to start;
#   - src/cuda_loader/names.rs defines exactly the functions that the crates refer to;
#   - without a driver, `--device cuda` ends with one plain sentence, and `auto` computes on the CPU.
#
# For information it prints the registers and spills of each kernel, as ptxas compiles them for sm_90.
#
# Sets up the toolkit first if it is missing (scripts/cuda_toolkit.sh). The first build takes ten
# minutes on two cores, mostly for candle's kernels.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vlora/target}"
export CARGO_TERM_COLOR=never

fail() { echo "cuda_check.sh: $*" >&2; exit 1; }

command -v readelf >/dev/null || fail "readelf is needed (Debian: apt install binutils)"
environment=$(scripts/cuda_toolkit.sh --env)
eval "$environment"
vlora=$CARGO_TARGET_DIR/release/vlora
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The executables that cargo reports.
executables() {
    python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["reason"] == "compiler-artifact" and message.get("executable"):
        print(message["executable"])'
}

echo "-- lints"
cargo clippy --release --features cuda --all-targets -- -D warnings

echo "-- build"
messages=(--message-format json-render-diagnostics)
cargo build --release --features cuda "${messages[@]}" | executables >"$work/executables"
cargo test --release --features cuda --test suite --no-run "${messages[@]}" | executables >>"$work/executables"
sort -u -o "$work/executables" "$work/executables"
scripts/cuda_symbols.sh --check

echo "-- libraries needed at the start"
while read -r executable; do
    needed=$(readelf -d "$executable" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | paste -sd ' ')
    echo "$(basename "$executable"): $needed"
    case " $needed " in
        *' libcu'* | *' libnv'*) fail "$executable needs a CUDA library to start: a function is called that src/cuda_loader/names.rs lacks; run scripts/cuda_symbols.sh" ;;
    esac
done <"$work/executables"

echo "-- start"
"$vlora" --version
if [ -e /dev/nvidiactl ]; then
    echo "this machine has an NVIDIA driver: what is said without one is not tried"
else
    cargo test --release --features cuda --test suite -- cuda_loader::
    status=0
    said=$("$vlora" bench experiments/quickstart.yaml --synthetic --device cuda 2>&1) || status=$?
    echo "$said"
    [ "$status" = 1 ] || fail "--device cuda without a driver exits with $status, not 1"
    [ "$(wc -l <<<"$said")" = 1 ] || fail "--device cuda without a driver says more than a sentence"
    grep -q 'no NVIDIA driver was found' <<<"$said" || fail "--device cuda without a driver does not say so"
    "$vlora" bench experiments/quickstart.yaml --synthetic --arm baseline --steps 1 --warmup 0 >"$work/auto" ||
        fail "--device auto without a driver does not compute on the CPU"
fi

echo "-- kernels, for sm_90"
nvcc -ptx -O3 -std=c++17 -arch=compute_80 -o "$work/kernels.ptx" src/nn/cuda/kernels/kernels.cu
ptxas -v -arch=sm_90 -o "$work/kernels.cubin" "$work/kernels.ptx" 2>"$work/ptxas" || { cat "$work/ptxas" >&2; fail "ptxas does not compile the kernels"; }
awk '
    /Compiling entry function/ { split($0, part, "\047"); name = part[2] }
    /bytes spill stores/ { spills = $5 + $9 }
    /Used [0-9]+ registers/ { for (i = 1; i < NF; i++) if ($i == "Used") registers = $(i + 1)
        printf "%4d registers %4d bytes spilled  %s\n", registers, spills, name }' "$work/ptxas"
