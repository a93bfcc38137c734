#!/usr/bin/env bash
# The whole pipeline on a Slurm cluster: sbatch --nodes=2 deploy/slurm.sh kinetics400-r18 data.root=/data/k400
#
# The first node leads: it runs every stage, so extraction uses its cores; training spreads over all nodes.
# Environment: MSCL_WORKSPACE (a folder that all nodes share; default ./workspace), PREFECT_API_URL (a server to show
# the run; without one it runs without Prefect), MSCL_VENV (a virtual environment to activate).
#SBATCH --job-name=mscl
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=7-00:00:00
#SBATCH --output=mscl-%j.log
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

preset=${1:?usage: sbatch deploy/slurm.sh PRESET [SECTION.NAME=VALUE]...}
shift
workspace=${MSCL_WORKSPACE:-$PWD/workspace}
port=${MSCL_RENDEZVOUS_PORT:-29500}
here=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
if [[ -n ${MSCL_VENV:-} ]]; then
    # shellcheck source=/dev/null
    source "$MSCL_VENV/bin/activate"
fi

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
leader=${hosts[0]}
nodes=${#hosts[@]}
gpus=${SLURM_GPUS_PER_NODE:-1}  # as it was asked for: 8, or a100:8
prefect=--no-prefect
if [[ -n ${PREFECT_API_URL:-} ]]; then prefect=--prefect; fi

if ((nodes > 1)); then
    srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$leader" \
        "$(dirname "$here")/join.sh" "$workspace" "$nodes" "$leader:$port" "${gpus##*:}" &
    followers=$!
    trap 'kill "$followers" 2>/dev/null || true' EXIT
fi

# Requeued after a time limit or a lost node, the same command continues where this one ended.
srun --nodes=1 --ntasks=1 --nodelist="$leader" \
    mscl run "$preset" "$@" "runtime.nodes=$nodes" "runtime.rendezvous=$leader:$port" \
    --workspace "$workspace" "$prefect"
