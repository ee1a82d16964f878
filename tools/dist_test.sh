#!/usr/bin/env bash
# Test on several GPUs, or CPU processes where there is no GPU:
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
# More machines: set NNODES, NODE_RANK and MASTER_ADDR. More than one job on a machine: a PORT for each.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 processes=$3
shift 3
tools=$(cd "$(dirname "$0")" && pwd)

export PYTHONPATH=$tools/..${PYTHONPATH:+:$PYTHONPATH}
exec python "$tools/launch.py" \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$processes" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
