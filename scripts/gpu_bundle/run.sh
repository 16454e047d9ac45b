#!/usr/bin/env bash
# Runs what this folder was made for, on a Linux machine with an NVIDIA GPU, its driver, the CUDA 13
# libraries and Python with PyTorch. No network is used.
#
#   ./run.sh 1          one step, within the seconds that the list names
#   ./run.sh all        steps 1 to 6, which answer most, within 30 minutes together
#   ./run.sh more       steps 7 to 11, which take longer
#   ./run.sh list       what the steps are, and their limits
#   ./run.sh --dry-run  check, without a GPU, all that can be checked without one
#
# Everything is written to out/ beside this file, or to the folder that VLORA_OUT names. What is done is
# not done again; a step that ran out of time says so and goes on from there when it is called again. After
# each step all results but weights and caches are packed into results.tar.gz there, at most 48 MB: for
# machines from which few files can be brought back.
#
#   VLORA_OUT              where results are written (default: out beside this file)
#   PYTHON                 the Python with PyTorch (default python3)
#   VLORA_CUDA_LIBRARIES   folders with libcublas, libcublasLt and libcurand, separated by colons
#                          (default: those of PyTorch, beside the loader's path)
#   STEP_SECONDS           what each step may take, in place of its own limit
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${VLORA_OUT:-} in
    '') out=$here/out ;;
    /*) out=$VLORA_OUT ;;
    *) out=$PWD/$VLORA_OUT ;;
esac
cd "$here" || exit 1
python=${PYTHON:-python3}
vlora=$here/bin/vlora
device=(--device cuda)
dry=false
failed=() unfinished=()

# The steps in order of importance: the question that a step answers, and its time limit in seconds.
titles=(
    "which machine, which libraries; three steps of the quickstart"
    "the small tests on the GPU, each in a process of its own"
    "three models in bf16: launches, waits, each kernel, cuBLASLt's choices"
    "the same beside PyTorch, plain and compiled"
    "the same run twice to the same bits"
    "a small sweep over ranks"
    "the large tests on the GPU"
    "2,000 steps of CIFAR-10 in float32 and in bf16"
    "nanoGPT's recipe for a GPU, dense and as compounds"
    "ViT-Lite on CIFAR-10 by its published recipe; goes on each time it is called"
    "VLoRA in ViT-Lite, ranks and dense models of its size; goes on each time it is called"
)
limits=(100 300 390 480 150 260 600 1200 1500 480 480)
# The steps of `all` and their time limit together in seconds, besides a minute to check for a GPU.
first=6 most=1740

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$here/run.sh"; }
fail() { echo "run.sh: $*" >&2; exit 1; }
say() { echo "-- $*"; }

# Runs one command of a step once: `part SECONDS NAME COMMAND…`, within its time limit and what is
# left of the step's. Always succeeds; failed parts are listed at the end.
part() {
    local most=$1 name=$2 left status=0 begun=$SECONDS
    shift 2
    if $dry; then parses "$name" "$@"; return 0; fi
    if [ -e "$out/done/$name" ]; then say "$name: done before"; return 0; fi
    left=$((limit - (SECONDS - started)))
    [ "$left" -le "$most" ] || left=$most
    if [ "$left" -lt 5 ]; then say "$name: no time left in this step"; unfinished+=("$name"); return 0; fi
    say "$name: $*"
    # Interrupted before it is killed, so that it can save its work.
    timeout --signal INT --kill-after 10 "$left" "$@" >"$out/$name.log" 2>&1 || status=$?
    tail -n 25 "$out/$name.log" | sed 's/^/   /'
    case $status in
        0) touch "$out/done/$name"; say "$name: done in $((SECONDS - begun)) s" ;;
        124 | 137) say "$name: stopped after $left s"; unfinished+=("$name") ;;
        *) say "$name: FAILED with exit code $status; see $out/$name.log"; failed+=("$name") ;;
    esac
    printf '%s\t%s\t%s s\texit %s\n' "$(date -u +%FT%TZ)" "$name" $((SECONDS - begun)) "$status" >>"$out/parts.tsv"
}

# Checks a part's command, as far as possible without a GPU.
parses() {
    local name=$1 arguments=() skip=false word said
    shift
    say "$name: $*"
    if [ "$1" = env ]; then
        shift
        while [[ $1 == *=* ]]; do shift; done
    fi
    case $1 in
        "$vlora")
            # With --help appended, the options are parsed and nothing is run.
            said=$("$@" --help 2>&1) || { echo "$said"; failed+=("$name"); return; }
            # `params` reads a spec and its overrides like `run` and `bench`, without data.
            arguments=("$3")
            for word in "${@:4}"; do
                if $skip; then arguments+=(--set "$word"); skip=false; fi
                [ "$word" = --set ] && skip=true
            done
            said=$("$vlora" params "${arguments[@]}" 2>&1) || { echo "$said"; failed+=("$name"); return; }
            ;;
        "$python")
            "$python" -B - "${@:2}" <<'PYTHON' || { failed+=("$name"); return; }
import importlib.util, pathlib, sys
script = sys.argv[1]
spec = importlib.util.spec_from_file_location("script", script)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.argv = sys.argv[1:]
# Does not check what is installed.
module.check = lambda *_: None
found = module.options()
assert found.spec.is_file(), found.spec
PYTHON
            ;;
        *) command -v "$1" >/dev/null || failed+=("$name") ;;
    esac
}

# CIFAR-10 in the layout of the Hub's cache, joined from its parts if they are present.
cifar() {
    ls data/cifar10.tar.part-* >/dev/null 2>&1 || return 1
    if [ ! -e "$1/joined" ]; then
        mkdir -p "$1"
        local sum
        sum=$(cat data/cifar10.tar.part-* | sha256sum | cut -d' ' -f1)
        [ "$sum" = "$(cut -d' ' -f1 data/cifar10.sha256)" ] ||
            fail "data/cifar10.tar.part-* do not join to what they were: is one missing or broken?"
        cat data/cifar10.tar.part-* | "$python" -B -c '
import sys, tarfile
tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(sys.argv[1])' "$1" || fail "CIFAR-10 cannot be unpacked into $1"
        touch "$1/joined"
    fi
}

# PyTorch's own libraries are in folders that the loader does not search.
pytorch_libraries() {
    "$python" -B - <<'PYTHON' 2>/dev/null
import glob, os, sys
found = []
for base in sys.path:
    for library in ("libcublasLt.so.1*", "libcublas.so.1*", "libcurand.so.10"):
        for pattern in ("nvidia/*/lib", "torch/lib"):
            for path in sorted(glob.glob(os.path.join(base, pattern, library)), reverse=True):
                if (folder := os.path.dirname(path)) not in found:
                    found.append(folder)
print(":".join(found))
PYTHON
}

# The authors' package for the PyTorch side, and the timm it needs if the machine's version differs.
packages() {
    local site=$1
    [ -e "$site/vlora" ] || "$python" -m zipfile -e wheels/vlora-*.whl "$site"
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PYTHONDONTWRITEBYTECODE=1
    if ! $dry && [ ! -e "$site/timm" ] && ! "$python" -c 'import timm, vlora; timm.__version__.startswith("0.9.") or exit(1)' 2>/dev/null; then
        "$python" -m zipfile -e wheels/timm-*.whl "$site"
    fi
}

prepare() {
    mkdir -p "$out/done" || fail "$out cannot be made"
    export VLORA_CACHE=$out/cache HF_HUB_CACHE=$out/hub HF_HUB_OFFLINE=1
    if [ -z "${VLORA_CUDA_LIBRARIES:-}" ]; then
        VLORA_CUDA_LIBRARIES=$(pytorch_libraries || true)
        export VLORA_CUDA_LIBRARIES
    fi
    packages "$out/site"
}

step_1() {
    part 40 1-machine bash scripts/machine.sh "$python" "$vlora"
    part 60 1-device "$vlora" bench experiments/quickstart.yaml --synthetic --steps 3 --warmup 1 "${device[@]}"
}

# The GPU tests, one per line.
gpu_tests() { "$here/bin/tests" --list --ignored on_the_gpu | sed -n 's/: test$//p'; }

# Each in its own process, since a process cannot use the GPU any more after a fault.
tests_apart() {
    local seconds=$1 prefix=$2 test count=0
    shift 2
    # Read completely before the first test, which shares this loop's standard input.
    while read -r test; do
        [ -n "$test" ] || continue
        count=$((count + 1))
        part "$seconds" "$prefix-${test##*::}" "$@" "$here/bin/tests" --exact --ignored "$test" </dev/null
    done <<<"$(gpu_tests)"
    # A list that is empty, or cannot be read, must not pass.
    [ "$count" -gt 0 ] || [ -e without-cuda ] || failed+=("$prefix: bin/tests lists no test on the GPU")
}

step_2() { tests_apart 40 2; }
step_7() { tests_apart 150 7-large env VLORA_LARGE_TESTS=1; }

measured() {
    local model=$1 batch=$2
    shift 2
    local bench=("$vlora" bench "experiments/benchmarks/$model.yaml" --synthetic "${device[@]}")
    bench+=(--set "training.batch_size=$batch" --set precision=bf16)
    part 90 "3-$model" "${bench[@]}" --steps 20 --warmup 5 --json "$out/3-$model.json"
    part 60 "3-$model-kernels" "${bench[@]}" --steps 3 --warmup 3 --kernels
    # The requests to cuBLASLt, with the algorithm of each product.
    part 45 "3-$model-cublaslt" env CUBLASLT_LOG_LEVEL=5 "CUBLASLT_LOG_FILE=$out/3-$model-cublaslt.txt" \
        "${bench[@]}" --arm baseline --steps 1 --warmup 1
}

# NVIDIA's own profiler, if installed: it also sees kernels that are not this program's.
profiled() {
    local model=$1 batch=$2
    if ! command -v nsys >/dev/null; then say "no nsys here: kernels are timed by events alone"; return 0; fi
    part 60 "3-$model-nsys" nsys profile --trace cuda --stats true --force-overwrite true --output "$out/3-$model-nsys" \
        "$vlora" bench "experiments/benchmarks/$model.yaml" --synthetic "${device[@]}" \
        --set "training.batch_size=$batch" --set precision=bf16 --arm baseline --steps 5 --warmup 3
}

step_3() {
    measured vit-192 512
    measured vit-b16 128
    measured decoder-384 64
    profiled vit-192 512
}

beside_pytorch() {
    local model=$1 batch=$2 variant=$3 arm
    for arm in baseline vlora; do
        part 110 "4-$model-$variant-$arm" "$python" scripts/bench/step.py --model "$model" --vlora "$vlora" \
            "${device[@]}" --batch "$batch" --precision bf16 --arms "$arm" --variants "$variant" \
            --rounds 3 --steps 10 --warmup 5 --json "$out/4-$model-$variant-$arm.json"
    done
}

step_4() {
    local variant
    # Variants that must be compiled come last: they start slowly and may not work here.
    for variant in bf16 compile+bf16; do
        beside_pytorch vit-192 512 "$variant"
        beside_pytorch vit-b16 128 "$variant"
        beside_pytorch decoder-384 64 "$variant"
    done
}

run() {
    local seconds=$1 name=$2 spec=$3
    shift 3
    part "$seconds" "$name" "$vlora" run "$spec" --out "$out/$name" "${device[@]}" "$@"
}

step_5() {
    run 60 5-quickstart experiments/quickstart.yaml
    run 60 5-quickstart-again experiments/quickstart.yaml
    part 10 5-same-bits bash scripts/same_bits.sh "$out/5-quickstart/quickstart" "$out/5-quickstart-again/quickstart"
    run 60 5-quickstart-jobs experiments/quickstart.yaml --jobs 3
    part 10 5-same-bits-jobs bash scripts/same_bits.sh "$out/5-quickstart/quickstart" "$out/5-quickstart-jobs/quickstart"
}

step_6() {
    # Without CIFAR-10 in this folder, the images embedded in the program.
    if cifar "$HF_HUB_CACHE"; then
        run 300 6-sweep experiments/gpu/rank-sweep.yaml --jobs 6
    else
        say "no CIFAR-10 here: the quickstart's images"
        run 300 6-sweep-embedded experiments/ablations/rank.yaml --set 'seeds=[0]'
    fi
}

step_8() {
    if cifar "$HF_HUB_CACHE"; then
        run 1200 8-precisions experiments/gpu/steps-2000.yaml
    else
        say "no CIFAR-10 here: the quickstart's images"
        run 1200 8-precisions-embedded experiments/quickstart.yaml --set 'sweep={precision: [float32, bf16]}'
    fi
}

step_9() { run 1500 9-shakespeare experiments/gpu/shakespeare-384.yaml --jobs 5; }

# The published recipe takes longer than a step: runs are interrupted at its end and resumed by the next call.
vit_lite() {
    local name=$1 spec=$2 jobs=$3
    cifar "$HF_HUB_CACHE" || { say "no CIFAR-10 here"; $dry || failed+=("$name: data/ has no CIFAR-10"); return 0; }
    run 470 "$name" "$spec" --jobs "$jobs" --checkpoint-minutes 2
}

step_10() { vit_lite 10-vit-lite experiments/paper/cifar10-vit-lite-published.yaml 3; }
step_11() { vit_lite 11-vlora-in-vit-lite experiments/paper/cifar10-vit-lite.yaml 6; }

# Packs everything written so far into one file.
pack() { "$python" -B scripts/pack.py "$out" "$out/results.tar.gz" 48000000 || failed+=(results.tar.gz); }

step() {
    local number=$1
    limit=${STEP_SECONDS:-${limits[number - 1]}}
    started=$SECONDS
    echo "== step $number: ${titles[number - 1]}"
    "step_$number"
    $dry || { echo "== step $number: $((SECONDS - started)) s"; pack; }
}

dry_run() {
    dry=true
    command -v "$python" >/dev/null || fail "$python is not here; PYTHON names the Python with PyTorch"
    local script
    # Not a local variable, since it is removed when the script ends.
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    out=$work
    export HF_HUB_CACHE=$work/hub HF_HUB_OFFLINE=1 VLORA_CACHE=
    local seconds=0 number
    for number in $(seq "$first"); do seconds=$((seconds + limits[number - 1])); done
    say "steps 1 to $first: $seconds s at most"
    [ "$seconds" -le "$most" ] || failed+=("steps 1 to $first may take $seconds s, more than $most")
    say "files and their checksums"
    if [ ! -e data/cifar10.sha256 ] || ls data/cifar10.tar.part-* >/dev/null 2>&1; then
        sha256sum --check --quiet SHA256SUMS || fail "a file is missing or broken; see above"
    else
        say "the parts of CIFAR-10 are not in data/: steps 6 and 8 will take the images that the program carries, steps 10 and 11 will train nothing"
        grep -v ' data/.*part-' SHA256SUMS | sha256sum --check --quiet || fail "a file is missing or broken; see above"
    fi
    local version
    version=$("$vlora" --version) || fail "bin/vlora does not start; it needs $(cat libc.txt) or newer"
    say "program: $version"
    local tests
    tests=$(gpu_tests | grep -c .) || true
    say "tests on the GPU: $tests"
    [ "$tests" -gt 0 ] || [ -e without-cuda ] || failed+=("bin/tests has no test on the GPU")
    say "Python scripts"
    for script in scripts/*.py scripts/bench/*.py scripts/reference/*.py; do
        "$python" -B -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$script" || failed+=("$script")
    done
    packages "$work/site"
    [ -e "$work/site/vlora/__init__.py" ] || failed+=("the authors' package is not in its wheel")
    say "specs"
    local spec
    for spec in experiments/quickstart*.yaml experiments/{gpu,paper}/*.yaml experiments/ablations/rank.yaml; do
        if grep -q 'hub: uoft-cs/cifar10' "$spec" && ! cifar "$HF_HUB_CACHE"; then
            "$vlora" params "$spec" >/dev/null || failed+=("$spec")
        else
            "$vlora" plan "$spec" --device cuda >/dev/null || failed+=("$spec")
        fi
        say "$spec"
    done
    for spec in experiments/benchmarks/*.yaml; do
        "$vlora" params "$spec" >/dev/null || failed+=("$spec")
        say "$spec"
    done
    for number in $(seq ${#titles[@]}); do step "$number"; done
    say "the archive of results"
    mkdir -p "$work/packed/done" "$work/packed/run" || fail "no folder can be made in $work"
    echo kept >"$work/packed/a.log"
    echo kept >"$work/packed/run/result.json"
    head -c 3000000 /dev/urandom >"$work/packed/large"
    echo left >"$work/packed/run/model.safetensors"
    "$python" -B scripts/pack.py "$work/packed" "$work/packed/results.tar.gz" 100000 >"$work/said" || failed+=("scripts/pack.py")
    "$python" -B - "$work/packed/results.tar.gz" <<'PYTHON' || failed+=("the archive of results holds other files than it must")
import sys, tarfile
names = sorted(m.name for m in tarfile.open(sys.argv[1]) if m.isfile())
assert names == ["out/a.log", "out/left-out.txt", "out/run/result.json"], names
PYTHON
    [ ${#failed[@]} = 0 ] || { printf 'run.sh: this is not as it must be: %s\n' "${failed[@]}" >&2; exit 1; }
    "$python" -c 'import torch' 2>/dev/null || say "note: $python has no PyTorch; PYTHON names the one that has, for steps 1 and 4"
    [ ! -e without-cuda ] || say "note: this bundle was made to try its scripts, without the program's part for GPUs"
    echo "everything that can be checked without a GPU holds"
}

[ $# = 1 ] || { usage; exit 2; }
case ${STEP_SECONDS:-60} in *[!0-9]*) fail "STEP_SECONDS is ${STEP_SECONDS}; expected a whole number of seconds" ;; esac
[ "${STEP_SECONDS:-60}" -ge 10 ] || fail "STEP_SECONDS is ${STEP_SECONDS}; expected at least 10"
case $1 in
    -h | --help) usage; exit ;;
    --dry-run) dry_run; exit ;;
    list)
        for number in "${!titles[@]}"; do echo "$((number + 1))  ${titles[number]} (${limits[number]} s)"; done
        exit ;;
    all) numbers=$(seq "$first") ;;
    more) numbers=$(seq $((first + 1)) ${#titles[@]}) ;;
    [1-9] | 1[0-9])
        [ "$1" -le ${#titles[@]} ] || fail "there is no step $1; ./run.sh list"
        numbers=$1 ;;
    *) fail "unknown argument $1; expected a step's number, all, more, list or --dry-run" ;;
esac
command -v "$python" >/dev/null || fail "$python is not here; PYTHON names the Python with PyTorch"
[ ! -e without-cuda ] || fail "this bundle was made with --without-cuda: it only does its dry run"
prepare
# Without a GPU every part would fail with its own message.
# The driver first compiles candle's kernels for this GPU, which takes up to twenty seconds.
said=$(timeout 180 "$vlora" bench experiments/quickstart.yaml --synthetic --arm baseline --steps 1 --warmup 0 "${device[@]}" 2>&1) ||
    fail "the program cannot use a GPU here: ${said#error: }"
for number in $numbers; do step "$number"; done
echo "everything written is in $out, and packed in $out/results.tar.gz"
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
[ ${#unfinished[@]} = 0 ] || { echo "not finished: ${unfinished[*]}; run the same again"; exit 3; }
