#!/usr/bin/env bash
# A further node of a training that another node leads: joins its torchrun whenever one begins, until stopped.
#
#   leader:      mscl run PRESET ... --workspace WORKSPACE runtime.nodes=2 runtime.rendezvous=LEADER:29500
#   other nodes: deploy/join.sh WORKSPACE NODES LEADER:29500 [PROCESSES_PER_NODE]
#
# The workspace must be a folder that all nodes share. The leader holds the lock of the result and writes its
# job.json; the same `mscl` command on a second node would wait for that lock and never meet the leader.
set -euo pipefail

workspace=${1:?workspace}
nodes=${2:?number of nodes}
rendezvous=${3:?host:port of the leader}
processes=${4:-gpu}

declare -A module=([pretrain]=mscl.pretrain.process [embed]=mscl.embedding.process [finetune]=mscl.finetune.process)
begun=$(mktemp)
trap 'rm -f "$begun"' EXIT

while true; do
    for stage in pretrain embed finetune; do
        for job in "$workspace/$stage"/*/job.json "$workspace/$stage"/*/.job.json; do
            # A job that was begun after us, or again since we last left it, and is not done.
            if [[ ! -e $job || ! $job -nt $begun || -e ${job%/*}/record.json ]]; then continue; fi
            touch "$begun"
            echo "joining $job"
            torchrun --nnodes="$nodes" --nproc-per-node="$processes" --rdzv-backend=c10d \
                --rdzv-endpoint="$rendezvous" --rdzv-id="${module[$stage]}" \
                -m mscl.training.rank "${module[$stage]}" "$job" || echo "left $job with code $?" >&2
        done
    done
    sleep 2
done
