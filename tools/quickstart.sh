#!/usr/bin/env bash
# Install, then train, test and predict on scikit-learn's handwritten digits: a few minutes on two CPU cores. Uses the
# active virtual environment, or makes .venv.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

config=configs/rescaps/digits.py
out=work_dirs/digits

echo; echo "== Training: python tools/train.py $config"
python tools/train.py "$config" --work-dir "$out"
checkpoint=$(cat "$out/last_checkpoint")
checkpoint=${checkpoint#"$PWD/"}

echo; echo "== Testing: python tools/test.py $config $checkpoint"
python tools/test.py "$config" "$checkpoint" --work-dir "$out" --out "$out/metrics.json" --out-item metrics

echo; echo "== Predicting: python tools/predict.py $config $checkpoint --max-images 25"
python tools/predict.py "$config" "$checkpoint" --max-images 25 --out-dir "$out/predictions"

accuracy=$(python -c 'import json, sys; print("%.2f %%" % json.load(open(sys.argv[1]))["accuracy/top1"])' "$out/metrics.json")
cat <<END

Test accuracy: $accuracy
Checkpoint:    $checkpoint
Picture:       $out/predictions/predictions.png
Activate the environment to go on: . $(python -c 'import sys; print(sys.prefix)')/bin/activate
END
