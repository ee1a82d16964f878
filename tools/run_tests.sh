#!/usr/bin/env bash
# Install everything, then check the style and the types and run the tests; arguments go to pytest:
#   ./tools/run_tests.sh
#   ./tools/run_tests.sh tests/layers -k routing
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
install_tested

ruff check .
ruff format --check .
mypy
# A process for each core, each on one thread: the networks here are too small to share among threads.
export OMP_NUM_THREADS=1
exec python -m pytest --numprocesses "$(python -c 'import os; print(os.cpu_count())')" --dist worksteal "$@"
