# Everyday commands. `just` lists them.

# The target folder is shared between checkouts unless CARGO_TARGET_DIR says otherwise.
export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", cache_directory() / "vlora/target")

_default:
    @just --list

# Train the quickstart and show its table
quickstart *ARGS:
    cargo run --release -- run experiments/quickstart.yaml {{ARGS}}

# Any command of the program: just vlora plan experiments/quickstart.yaml
vlora *ARGS:
    cargo run --release -- {{ARGS}}

# All tests
test *ARGS:
    cargo test --release {{ARGS}}

# The tests that need MiniLM in HF_HUB_CACHE
test-minilm:
    cargo test --release --test suite minilm_ -- --ignored --skip two_hundred_steps

# The tests that need a Slurm, beside one that is started for them
test-slurm:
    scripts/slurm.sh cargo test --release --test suite slurm:: -- --ignored --test-threads 1

# Format check and lints, as CI has them
lint:
    cargo fmt --check
    cargo clippy --release --all-targets -- -D warnings

# Format everything
fmt:
    cargo fmt

# Look at changed snapshots of messages, then accept them
accept-snapshots:
    INSTA_UPDATE=always cargo test --release --test suite -- bad_specs:: bad_checkpoints:: \
        bad_shards:: base_models:: bad_data:: hub::
    git diff tests/suite/snapshots

# Time the single operations
bench *ARGS:
    cargo bench --profile release --bench operations -- {{ARGS}}

# Time decoding beside Pillow in two processes, on CIFAR-10's training file
bench-decode parquet python="python3":
    cargo build --release --bench decode
    {{python}} scripts/bench/decode.py {{parquet}} "$(ls -t "$CARGO_TARGET_DIR"/release/deps/decode-* | grep -v '\.d$' | head -1)"

# Time a training step beside PyTorch's: just bench-step env/bin/python --model vit-192
bench-step python="python3" *ARGS:
    cargo build --release
    {{python}} scripts/bench/step.py --vlora "$CARGO_TARGET_DIR/release/vlora" {{ARGS}}

# Step time against rank, beside PyTorch's: just bench-ranks env/bin/python --model vit-192 --chart ranks.svg
bench-ranks python="python3" *ARGS:
    cargo build --release
    {{python}} scripts/bench/ranks.py --vlora "$CARGO_TARGET_DIR/release/vlora" {{ARGS}}

# Time the two ways to the gradients of low-rank factors
bench-factors *ARGS:
    cargo bench --profile release --bench factor_gradients -- {{ARGS}}

# How the report's intervals and tests behave on simulated seeds: the table of docs/statistics.md
simulate-statistics *ARGS:
    cargo bench --profile release --bench statistics -- {{ARGS}}

# Build and lint the `cuda` feature, without a GPU
cuda-check:
    scripts/cuda_check.sh

# One folder for a GPU machine without a network: just gpu-bundle --mirror mirror
gpu-bundle *ARGS:
    scripts/gpu_bundle.sh {{ARGS}}

# Run the commands of README.md and docs/, and look up what they name
check-docs *ARGS:
    cargo build --release
    scripts/check_docs.py --vlora "$CARGO_TARGET_DIR/release/vlora" {{ARGS}}

# What CI runs
ci:
    .ci/run

# Make the fixtures again with PyTorch, timm, transformers, the authors' package, datasets, Pillow, SciPy and sacrebleu,
# but for those that need MiniLM, and show whether they are the committed ones
fixtures python="python3":
    #!/usr/bin/env bash
    set -euo pipefail
    for script in scripts/reference/make_*_fixtures.py scripts/reference/make_{fixtures,layouts}.py; do
        [[ $script == *_tokenizer_* ]] || { echo "$script"; {{python}} "$script"; }
    done
    git status --short tests/fixtures
    test -z "$(git status --porcelain tests/fixtures)"

# Make those again that need MiniLM; `minilm` is the folder of sentence-transformers/all-MiniLM-L6-v2
text-fixtures minilm python="python3":
    {{python}} scripts/reference/make_encoder_fixtures.py --minilm {{minilm}}
    {{python}} scripts/reference/make_tokenizer_fixtures.py --minilm {{minilm}}

# Load what `vlora export` writes in PyTorch, timm, transformers and the authors' package
check-exports python="python3":
    cargo build --release
    {{python}} scripts/reference/check_exports.py --vlora "$CARGO_TARGET_DIR/release/vlora"

# The embedded data again, from Fashion-MNIST's IDX files
embedded-data folder python="python3":
    {{python}} scripts/make_fashion_mnist_mini.py {{folder}}
