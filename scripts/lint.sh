#!/usr/bin/env bash
# Everything that a machine can say about the source: style, types, migrations, messages. All of it runs; any failure fails.
set -uo pipefail
bin=.venv/bin
# Nothing of this machine's own is read, and nothing is encrypted with these.
export ENV_FILE=/dev/null SECRET_KEY=lint CREDENTIAL_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
VAR_DIR=$(mktemp -d)
export VAR_DIR
trap 'rm -rf "$VAR_DIR"' EXIT
unset DATABASE_URL

failed=()
step() {
    echo "--- $*"
    "$@" || failed+=("$*")
}
step $bin/ruff check .
step $bin/ruff format --check .
step $bin/mypy
step $bin/bandit --quiet --recursive --configfile pyproject.toml .
step $bin/python scripts/audit.py
step $bin/python manage.py makemigrations --check --dry-run
step $bin/python manage.py check_messages

if [ ${#failed[@]} -gt 0 ]; then
    printf 'Failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "All clean."
