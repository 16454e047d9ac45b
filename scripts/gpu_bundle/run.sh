#!/usr/bin/env bash
# Runs what this folder was made for, on a Linux machine with an NVIDIA GPU, its driver, the CUDA 13
# libraries and Python with PyTorch. No network is used.
#
#   ./run.sh 1          one step; each ends within 8 minutes, the first within 2
#   ./run.sh all        all of them, one after the other
#   ./run.sh list       what the steps are
#   ./run.sh --dry-run  check, without a GPU, all that can be checked without one
#
# Everything is written to out/ beside this file, or to the folder that OUT names. What is done is not
# done again; a step that ran out of time says so and goes on from there when it is called again.
#
#   PYTHON                 the Python with PyTorch (default python3)
#   VLORA_CUDA_LIBRARIES   folders with libcublas, libcublasLt and libcurand, separated by colons
#                          (default: those of PyTorch, beside the loader's path)
#   STEP_SECONDS           what a step may take (default 455; the first: 100)
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${OUT:-} in
    '') out=$here/out ;;
    /*) out=$OUT ;;
    *) out=$PWD/$OUT ;;
esac
cd "$here" || exit 1
python=${PYTHON:-python3}
vlora=$here/bin/vlora
device=(--device cuda)
dry=false
failed=() unfinished=()

titles=(
    "the machine, the program, the device, the first tests on the GPU"
    "all tests on the GPU"
    "ViT-192, batch 512, beside PyTorch"
    "ViT-B/16, batch 128, beside PyTorch"
    "the quickstart, and the same run twice to the same bits"
    "2,000 steps of CIFAR-10 in float32 and in bf16"
    "a small sweep over ranks"
)

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$here/run.sh"; }
fail() { echo "run.sh: $*" >&2; exit 1; }
say() { echo "-- $*"; }

# One command of a step: `part NAME COMMAND…`, done once, within what is left of the step's time.
part() {
    local name=$1 left status=0 begun=$SECONDS
    shift
    if $dry; then parses "$name" "$@"; return; fi
    if [ -e "$out/done/$name" ]; then say "$name: done before"; return; fi
    left=$((limit - (SECONDS - started)))
    if [ "$left" -lt 5 ]; then say "$name: no time left in this step"; unfinished+=("$name"); return; fi
    say "$name: $*"
    # Interrupted first, so that what keeps its work can do so.
    timeout --signal INT --kill-after 15 "$left" "$@" >"$out/$name.log" 2>&1 || status=$?
    tail -n 25 "$out/$name.log" | sed 's/^/   /'
    case $status in
        0) touch "$out/done/$name"; say "$name: done in $((SECONDS - begun)) s" ;;
        124 | 137) say "$name: stopped after $left s"; unfinished+=("$name") ;;
        *) say "$name: FAILED with exit code $status; see $out/$name.log"; failed+=("$name") ;;
    esac
    printf '%s\t%s\t%s s\texit %s\n' "$(date -u +%FT%TZ)" "$name" $((SECONDS - begun)) "$status" >>"$out/parts.tsv"
}

# Whether a part's command would be understood, as far as that can be told without a GPU.
parses() {
    local name=$1 arguments=() skip=false word said
    shift
    say "$name: $*"
    case $1 in
        "$vlora")
            # With --help behind it a command's options are read, and nothing is done.
            said=$("$@" --help 2>&1) || { echo "$said"; failed+=("$name"); return; }
            # `params` reads a spec and its overrides as `run` and `bench` do, and needs no data.
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
# What is installed is not asked here.
module.check = lambda *_: None
found = module.options()
assert found.spec.is_file(), found.spec
PYTHON
            ;;
        *) command -v "$1" >/dev/null || failed+=("$name") ;;
    esac
}

# CIFAR-10 in the layout of the Hub's cache, joined from its parts where they are.
cifar() {
    ls data/cifar10.tar.part-* >/dev/null 2>&1 || return 1
    if [ ! -e "$1/joined" ]; then
        mkdir -p "$1"
        local sum
        sum=$(cat data/cifar10.tar.part-* | sha256sum | cut -d' ' -f1)
        [ "$sum" = "$(cut -d' ' -f1 data/cifar10.sha256)" ] ||
            fail "data/cifar10.tar.part-* do not join to what they were: is one missing or broken?"
        cat data/cifar10.tar.part-* | tar -x -C "$1" || fail "CIFAR-10 cannot be unpacked into $1"
        touch "$1/joined"
    fi
}

# What PyTorch brings lies in folders that the loader does not know.
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

# The authors' package for PyTorch's side; and the timm it asks for, where the machine's is another.
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
    part 1-machine bash scripts/machine.sh "$python" "$vlora"
    part 1-device "$vlora" bench experiments/quickstart.yaml --synthetic --steps 3 --warmup 1 "${device[@]}"
    part 1-tests "$here/bin/tests" --ignored --test-threads 1 on_the_gpu::small_operations on_the_gpu::products
}

step_2() { part 2-tests "$here/bin/tests" --ignored --test-threads 1 on_the_gpu; }

beside_pytorch() {
    local name=$1 model=$2 batch=$3 variant arm
    # What must be compiled comes last: it is slow to start, and may not be possible here.
    for variant in bf16 compile+bf16; do
        for arm in baseline vlora; do
            part "$name-$variant-$arm" "$python" scripts/bench/step.py --model "$model" --vlora "$vlora" \
                "${device[@]}" --batch "$batch" --precision bf16 --arms "$arm" --variants "$variant" \
                --rounds 3 --steps 20 --warmup 5 --json "$out/$name-$variant-$arm.json"
        done
    done
}

step_3() { beside_pytorch 3-vit-192 vit-192 512; }
step_4() { beside_pytorch 4-vit-b16 vit-b16 128; }

run() {
    local name=$1 spec=$2
    shift 2
    part "$name" "$vlora" run "$spec" --out "$out/$name" "${device[@]}" "$@"
}

step_5() {
    run 5-quickstart experiments/quickstart.yaml
    run 5-quickstart-again experiments/quickstart.yaml
    part 5-same-bits bash scripts/same_bits.sh "$out/5-quickstart/quickstart" "$out/5-quickstart-again/quickstart"
    run 5-quickstart-jobs experiments/quickstart.yaml --jobs 3
    part 5-same-bits-jobs bash scripts/same_bits.sh "$out/5-quickstart/quickstart" "$out/5-quickstart-jobs/quickstart"
}

step_6() {
    # Without CIFAR-10 in this folder, the images that the program carries.
    if cifar "$HF_HUB_CACHE"; then
        run 6-precisions experiments/gpu/steps-2000.yaml
    else
        say "no CIFAR-10 here: the quickstart's images"
        run 6-precisions-embedded experiments/quickstart.yaml --set 'sweep={precision: [float32, bf16]}'
    fi
}

step_7() {
    if cifar "$HF_HUB_CACHE"; then
        run 7-sweep experiments/gpu/rank-sweep.yaml
    else
        say "no CIFAR-10 here: the quickstart's images"
        run 7-sweep-embedded experiments/ablations/rank.yaml --set 'seeds=[0]'
    fi
}

step() {
    local number=$1
    limit=${STEP_SECONDS:-455}
    [ "$number" != 1 ] || limit=${STEP_SECONDS:-100}
    started=$SECONDS
    echo "== step $number: ${titles[number - 1]}"
    "step_$number"
    $dry || echo "== step $number: $((SECONDS - started)) s"
}

dry_run() {
    dry=true
    command -v "$python" >/dev/null || fail "$python is not here; PYTHON names the Python with PyTorch"
    local script
    # Not local: it goes when the script ends.
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    out=$work
    export HF_HUB_CACHE=$work/hub HF_HUB_OFFLINE=1 VLORA_CACHE=
    say "files and their checksums"
    if [ ! -e data/cifar10.sha256 ] || ls data/cifar10.tar.part-* >/dev/null 2>&1; then
        sha256sum --check --quiet SHA256SUMS || fail "a file is missing or broken; see above"
    else
        say "the parts of CIFAR-10 are not in data/: steps 6 and 7 will take the images that the program carries"
        grep -v ' data/.*part-' SHA256SUMS | sha256sum --check --quiet || fail "a file is missing or broken; see above"
    fi
    local version
    version=$("$vlora" --version) || fail "bin/vlora does not start; it needs $(cat libc.txt) or newer"
    say "program: $version"
    local tests
    tests=$("$here/bin/tests" --list --ignored on_the_gpu | grep -c ': test$') || true
    say "tests on the GPU: $tests"
    [ "$tests" -gt 0 ] || failed+=("bin/tests has no test on the GPU")
    say "Python scripts"
    for script in scripts/bench/*.py scripts/reference/*.py; do
        "$python" -B -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$script" || failed+=("$script")
    done
    packages "$work/site"
    [ -e "$work/site/vlora/__init__.py" ] || failed+=("the authors' package is not in its wheel")
    say "specs"
    local spec
    for spec in experiments/quickstart.yaml experiments/gpu/*.yaml experiments/ablations/rank.yaml; do
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
    for number in "${!titles[@]}"; do step $((number + 1)); done
    [ ${#failed[@]} = 0 ] || { printf 'run.sh: this is not as it must be: %s\n' "${failed[@]}" >&2; exit 1; }
    "$python" -c 'import torch' 2>/dev/null || say "note: $python has no PyTorch; PYTHON names the one that has, for steps 1, 3 and 4"
    echo "everything that can be checked without a GPU holds"
}

[ $# = 1 ] || { usage; exit 2; }
case ${STEP_SECONDS:-60} in *[!0-9]*) fail "STEP_SECONDS is ${STEP_SECONDS}; expected a whole number of seconds" ;; esac
[ "${STEP_SECONDS:-60}" -ge 10 ] || fail "STEP_SECONDS is ${STEP_SECONDS}; expected at least 10"
case $1 in
    -h | --help) usage; exit ;;
    --dry-run) dry_run; exit ;;
    list)
        for number in "${!titles[@]}"; do echo "$((number + 1))  ${titles[number]}"; done
        exit ;;
    all) numbers=$(seq ${#titles[@]}) ;;
    [1-9])
        [ "$1" -le ${#titles[@]} ] || fail "there is no step $1; ./run.sh list"
        numbers=$1 ;;
    *) fail "unknown argument $1; expected a step's number, all, list or --dry-run" ;;
esac
command -v "$python" >/dev/null || fail "$python is not here; PYTHON names the Python with PyTorch"
prepare
# Without a GPU every part would fail, each in its own words.
said=$("$vlora" bench experiments/quickstart.yaml --synthetic --arm baseline --steps 1 --warmup 0 "${device[@]}" 2>&1) ||
    fail "the program cannot use a GPU here: ${said#error: }"
for number in $numbers; do step "$number"; done
echo "everything written is in $out"
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
[ ${#unfinished[@]} = 0 ] || { echo "not finished: ${unfinished[*]}; run the same again"; exit 3; }
