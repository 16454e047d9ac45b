#!/usr/bin/env bash
# Says of each experiment which of its runs are done, which are left, and about how long these take; and trains them.
#
#   scripts/reproduce.sh                       what is done and what is left of experiments/paper
#   scripts/reproduce.sh --run                 trains what is left, one experiment after the other
#   scripts/reproduce.sh --run --minutes 90    the same for at most so long: a run that is cut short goes on from its
#                                              checkpoint the next time, also on another machine of the same kind
#   scripts/reproduce.sh --run SPEC...         of these specs only
#
# Words behind `--` go to `vlora run`: scripts/reproduce.sh --run -- --jobs 2. Specs are run as they are, without --set. VLORA
# names the program (default: target/release/vlora, or vlora of PATH), VLORA_RESULTS the folder of results (default: results);
# relative names count from the repository. Exits with 1 if something is left to train, and with 2 if a spec cannot be planned or a run failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
script=scripts/$(basename "${BASH_SOURCE[0]}")
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$script"; }

train=false minutes='' specs=() words=()
while [ $# -gt 0 ]; do
    case $1 in
        --run) train=true ;;
        --minutes)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || { echo "error: --minutes takes a whole number, not '${2:-}'" >&2; exit 2; }
            minutes=$2
            shift
            ;;
        -h | --help) usage; exit 0 ;;
        --) shift; words=("$@"); break ;;
        -*) echo "error: there is no option $1" >&2; usage >&2; exit 2 ;;
        *) specs+=("$1") ;;
    esac
    shift
done
if [ -n "$minutes" ] && ! $train; then
    echo "error: --minutes is about --run" >&2
    exit 2
fi
if [[ " ${words[*]} " == *" --set"* ]]; then
    echo "error: specs are run as they are: no --set" >&2
    exit 2
fi
target=${CARGO_TARGET_DIR:-target}/release/vlora
vlora=${VLORA:-$([ -x "$target" ] && echo "$target" || command -v vlora)}
[ -n "$vlora" ] || { echo "error: no program: cargo build --release, or VLORA=FILE" >&2; exit 2; }
out=${VLORA_RESULTS:-results}
if [ ${#specs[@]} = 0 ]; then
    for spec in experiments/paper/*.yaml; do
        # A list of claims is no experiment.
        grep -q '^claims:' "$spec" || specs+=("$spec")
    done
fi

# Sets `state` and `time` of a spec's plan, and `left`, the number of its runs that are not finished.
plan() {
    local text
    text=$("$vlora" plan "$1" --out "$out" 2>&1) || { printf '%s\n' "$text" >&2; return 1; }
    state=$(sed -n 's/^  state  *//p' <<< "$text" | head -1)
    time=$(sed -n 's/^  time  *//p' <<< "$text" | head -1)
    # `3 finished, 1 failed, 2 planned; 1 of them …`: all but the first kind is left, unless nothing has to be trained.
    left=$(tr ',' '\n' <<< "${state%%;*}" | awk '$2 != "finished" {n += $1} END {print n + 0}')
    [[ $time == nothing* ]] && ! $train && left=0
    return 0
}

end=$((SECONDS + ${minutes:-0} * 60))
code=0
for spec in "${specs[@]}"; do
    if ! plan "$spec"; then
        echo "$spec: not planned, see above"
        code=2
        continue
    fi
    printf '%s: %s%s\n' "$spec" "$state" "${time:+; $time}"
    [ "$left" = 0 ] && continue
    if $train; then
        rest=$((end - SECONDS))
        if [ -n "$minutes" ] && [ "$rest" -le 0 ]; then
            [ "$code" = 0 ] && code=1
            continue
        fi
        # TERM lets every run write its checkpoint; an interrupt of this script is passed on as that.
        ${minutes:+timeout --foreground --signal=TERM --kill-after=300 "$rest"} "$vlora" run "$spec" --out "$out" "${words[@]}" &
        child=$!
        trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 143' TERM
        trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 130' INT
        wait "$child"
        status=$?
        trap - TERM INT
        case $status in
            0) continue ;;
            130) exit 130 ;;
            124 | 137)
                # At the end of the time. Else the run was killed, as when memory runs out.
                if [ -z "$minutes" ] || [ "$SECONDS" -lt "$end" ]; then
                    echo "$spec: ended with exit code $status" >&2
                    code=2
                fi
                ;;
            *) code=2 ;;
        esac
    fi
    [ "$code" = 0 ] && code=1
done
exit "$code"
