#!/usr/bin/env bash
# Train on several GPUs, or CPU processes where there is no GPU:
#   tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
# More machines: set NNODES, NODE_RANK and MASTER_ADDR. More than one job on a machine: a PORT for each.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1 processes=$2
shift 2
tools=$(cd "$(dirname "$0")" && pwd)

export PYTHONPATH=$tools/..${PYTHONPATH:+:$PYTHONPATH}
exec python "$tools/launch.py" \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$processes" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$tools/train.py" "$config" --launcher pytorch "$@"
