#!/usr/bin/env bash
# Install what classification needs, then train, test and predict on scikit-learn's handwritten digits: a few minutes on
# two CPU cores. Uses the active virtual environment, or makes .venv.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
install_tested classification

config=configs/rescaps/digits.py
out=work_dirs/digits

# The logs in work_dirs have all lines; here the results are enough.
results() {
    printf '\n== %s\n' "$*"
    "$@" | grep --line-buffered -E 'Epoch\((train|val|test)\)|is done'
}
results python tools/train.py "$config"
checkpoint=$(cat "$out/last_checkpoint")
checkpoint=${checkpoint#"$PWD/"}
results python tools/test.py "$config" "$checkpoint" --out "$out/metrics.json" --out-item metrics

predict=(python tools/predict.py "$config" "$checkpoint" --max-images 25)
printf '\n== %s\n' "${predict[*]}"
"${predict[@]}"

accuracy=$(python -c 'import json, sys; print("%.2f" % json.load(open(sys.argv[1]))["accuracy/top1"])' "$out/metrics.json")
cat <<END

Test accuracy: $accuracy %
Checkpoint:    $checkpoint
Picture:       $out/predictions/predictions.png
Environment:   . $(python -c 'import sys; print(sys.prefix)')/bin/activate
END
