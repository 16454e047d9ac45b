#!/usr/bin/env bash
# Checks whether two results of an experiment have the same models: same_bits.sh FOLDER FOLDER.
# Compares the SHA-256 of each run's weights, stored in its result.json.
set -euo pipefail

hashes() {
    local file
    for file in "$1"/runs/*/result.json; do
        printf '%s ' "$(basename "$(dirname "$file")")"
        sed -n 's/.*"model_sha256": *"\([0-9a-f]*\)".*/\1/p' "$file"
    done
}

first=$(hashes "$1")
second=$(hashes "$2")
grep -qE '^[0-9a-f]+ [0-9a-f]{64}$' <<<"$first" || { echo "there are no finished runs in $1" >&2; exit 1; }
if [ "$first" != "$second" ]; then
    diff <(echo "$first") <(echo "$second") || true
    echo "the runs differ" >&2
    exit 1
fi
echo "$(wc -l <<<"$first") runs, the same bits twice:"
echo "$first"
