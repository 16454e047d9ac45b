#!/usr/bin/env bash
# Runs a command beside a Slurm of its own: one node with four slots, which ends with the command.
#
#   scripts/slurm.sh cargo test --release --test suite slurm:: -- --ignored --test-threads 1
#
# Needs Debian's packages slurm-wlm and munge; exit code 69 where they are missing. It is no cluster for
# work: arrays have at most five tasks, and a job that is queued again waits a few seconds, not minutes.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64; }

export PATH="$PATH:/usr/sbin:/sbin"
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || { echo "$0: there is no $program (packages slurm-wlm and munge)" >&2; exit 69; }
done

dir=$(mktemp -d)
mkdir "$dir"/{munge,state,spool}
stop() {
    local pids=()
    # Jobs that a failed command has left.
    scancel --user="$user" 2>/dev/null || true
    for _ in $(seq 50); do
        [ -z "$(squeue --noheader 2>/dev/null)" ] && break
        sleep 0.2
    done
    for program in slurmd slurmctld munged; do
        [ -f "$dir/$program.pid" ] && pids+=("$(cat "$dir/$program.pid")")
    done
    kill "${pids[@]}" 2>/dev/null || true
    # They write into the folder until they end.
    for _ in $(seq 50); do
        kill -0 "${pids[@]}" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "${pids[@]}" 2>/dev/null || true
    rm -rf "$dir"
}
user=$(id -un)
trap stop EXIT
chmod 755 "$dir"
chmod 700 "$dir/munge"
head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 400 "$dir/munge/key"

host=$(hostname)
host=${host%%.*}
port=$((20000 + RANDOM % 20000))
cat >"$dir/slurm.conf" <<CONFIG
ClusterName=vlora
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=6
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1,bf_max_time=10
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MaxArraySize=5
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES State=UP
CONFIG
export SLURM_CONF="$dir/slurm.conf" VLORA_TEST_SLURM=1

# Its checks of owners and permissions are for clusters.
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --seed-file="$dir/munge/seed" \
    --log-file="$dir/munged.log" --pid-file="$dir/munged.pid" 2>/dev/null
slurmctld
slurmd
for _ in $(seq 100); do
    state=$(sinfo --noheader --format=%T 2>/dev/null || true)
    [ "$state" = idle ] && break
    sleep 0.2
done
if [ "$state" != idle ]; then
    echo "$0: Slurm did not start" >&2
    cat "$dir"/*.log >&2
    exit 70
fi
"$@"
