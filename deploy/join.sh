#!/usr/bin/env bash
# A further node of trainings that another node leads: joins each torchrun that begins or waits for it, until stopped.
#
#   leader:      mscl run PRESET ... --workspace WORKSPACE runtime.nodes=2 runtime.rendezvous=LEADER:29500
#   other nodes: deploy/join.sh WORKSPACE NODES LEADER:29500 [PROCESSES_PER_NODE]
#
# The workspace must be a folder that all nodes share. The leader holds the lock of the result and writes its
# job.json; the same `mscl` command on a second node would wait for that lock and never meet the leader.
set -euo pipefail

usage="usage: deploy/join.sh WORKSPACE NODES LEADER:PORT [PROCESSES_PER_NODE]"
workspace=${1:?$usage}
nodes=${2:?$usage}
rendezvous=${3:?$usage}
processes=${4:-gpu}

declare -A module=([pretrain]=mscl.pretrain.process [embed]=mscl.embedding.process [finetune]=mscl.finetune.process)
begun=$(mktemp)
trap 'rm -f "$begun"' EXIT

there=""
if [[ ! -d $workspace ]]; then there=", which is not there yet"; fi
echo "waiting for trainings that begin in $workspace$there"
# Whether a leader holds this result and has begun no job in it after this one.
in_work() {
    local job=$1 result=$2 lock=$workspace/.locks/$stage-${2##*/} other
    if [[ ! -e $lock || ! $job -nt $result/.begun.json ]] || ! command -v flock > /dev/null; then return 1; fi
    for other in "$result"/{job,.job,.runs/*/job}.json; do
        if [[ $other -nt $job ]]; then return 1; fi
    done
    ! flock --shared --nonblock "$lock" true
}

first=yes
while true; do
    for stage in pretrain embed finetune; do
        for job in "$workspace/$stage"/*/{job,.job,.runs/*/job}.json; do
            result=${job#"$workspace/$stage/"}
            result=$workspace/$stage/${result%%/*}
            if [[ ! -e $job || -e $result/record.json ]]; then continue; fi
            # Begun after us, or again since we last left it; or before us, and in work.
            if [[ ! $job -nt $begun ]]; then
                if [[ -z $first ]] || ! in_work "$job" "$result"; then continue; fi
            fi
            touch "$begun"
            echo "joining $job"
            torchrun --nnodes="$nodes" --nproc-per-node="$processes" --rdzv-backend=c10d \
                --rdzv-endpoint="$rendezvous" --rdzv-id="${module[$stage]}" \
                -m mscl.training.rank "${module[$stage]}" "$job" || echo "left $job with code $?" >&2
        done
    done
    first=""
    sleep 2
done
