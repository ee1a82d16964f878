# Sourced by quickstart.sh and run_tests.sh: goes to the repository, activates a virtual environment (the active one, or
# .venv here, made where it is missing), and defines install_tested, which replaces other versions.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The versions of requirements/tested.txt exist for these.
python_fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
    local python
    for python in python3.11 python3.12 python3.13 python3 python; do
        if python_fits "$python"; then
            echo "$python"
            return
        fi
    done
    echo "error: no Python 3.11, 3.12 or 3.13 found ($(python3 --version 2>&1)). Install one, or activate an environment that has it." >&2
    return 1
}

make_venv() {
    local python
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "error: $python has no venv module; on Debian or Ubuntu: apt install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2
        return 1
    fi
    echo "Making the virtual environment .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

# pip's output is long: leave the large downloads and the errors, which go to stderr.
pip_install() {
    python -m pip install --disable-pip-version-check --progress-bar off "$@" |
        { grep --line-buffered -E '^ *Downloading .*[0-9.]+ [MG]B' || true; }
}

if [ -n "${VIRTUAL_ENV:-}" ] || [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then
    if ! python_fits python; then
        echo "error: the active environment has $(python --version 2>&1); Python 3.11, 3.12 or 3.13 is needed. Deactivate it, or activate another." >&2
        exit 1
    fi
else
    [ -f .venv/bin/activate ] && python_fits .venv/bin/python || make_venv
    . .venv/bin/activate
fi
# An interrupted venv, or one that uv made, has no pip.
python -m pip --version >/dev/null 2>&1 || python -m ensurepip >/dev/null

# Install this package with an extra, or with everything in requirements/tested.txt, in the versions of that file:
#   install_tested classification
#   install_tested
install_tested() {
    local tested=requirements/tested.txt
    echo "Installing the versions of $tested ${1:+that the extra '$1' needs }into $(python -c 'import sys; print(sys.prefix)')"
    echo '(the first time this takes minutes: torch brings about 3 GB of CUDA libraries on Linux)'
    # The package itself is built by the installed setuptools, so that a second run needs no network.
    if [ -n "${1:-}" ]; then
        pip_install --constraint "$tested" setuptools
        pip_install --constraint "$tested" --no-build-isolation -e ".[$1]"
    else
        pip_install -r "$tested"
        pip_install --no-deps --no-build-isolation -e .
    fi
    # opencv-python needs a desktop's libraries (libGL). The headless build is the same without its windows.
    if ! python -c 'import cv2' 2>/dev/null; then
        echo 'opencv-python does not load here: taking its headless build'
        pip_install --force-reinstall --no-deps "$(grep '^opencv-python-headless==' "$tested")"
    fi
}
