#!/usr/bin/env bash
# Make the virtual environment $1 and install the requirements file $2 into it. PYTHON names the interpreter.
set -euo pipefail
venv=$1 requirements=$2
python=${PYTHON:-python3}

command -v "$python" >/dev/null || { echo "Python 3.11 or newer is needed, and there is no $python here." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; $python is $("$python" --version 2>&1). Name another: make PYTHON=python3.12 …" >&2
    exit 1
}

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian ships them in a package of its own.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "Installing python3-venv …"
            { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy python3-venv; } >/dev/null
        else
            echo "Python's venv module is missing: install it first (on Debian and Ubuntu: apt install python3-venv)." >&2
            exit 1
        fi
    fi
    echo "Making a virtual environment in $venv …"
    "$python" -m venv --clear "$venv"
fi

echo "Installing the packages of $requirements (about a minute the first time) …"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --requirement "$requirements"
