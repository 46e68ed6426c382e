"""``make test``: the whole suite, on SQLite and on a PostgreSQL of its own, then the story in a real browser.

Arguments go to every pytest, e.g. ``make test TESTS="tests/profiles -k merge"``. The exit code is 0 only if every part
passed; the last lines are pytest's own summaries. ``make coverage`` measures the branch coverage of all parts together,
which takes a third longer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kinesis_admin.processes import CannotRun
from tests.postgres import private_postgres

ROOT = Path(__file__).resolve().parent.parent
COVERAGE = "COVERAGE" in os.environ  # `make coverage`
DATA = ROOT / "var" / "coverage"
NO_TESTS = 5  # pytest's exit code when nothing was selected
PARTS = {"SQLite": "sqlite", "PostgreSQL": "postgresql", "browser": "browser"}


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def pytest(part: str, arguments: list[str], env: Mapping[str, str]) -> tuple[int, str]:
    """One run of pytest, shown as it goes. Its exit code and its summary line."""
    say(f"\n=== {part}")
    measured = ["--cov", "--cov-report="] if COVERAGE else []
    # One process more than two cores, as many tests wait. In the order of the files: see tests/conftest.py on tests
    # that commit.
    spread = ["-n", "3", "--dist", "loadgroup", "--no-loadscope-reorder"]
    command = [sys.executable, "-m", "pytest", "-q", "--color=no", *measured, *spread, *arguments]
    data = {"COVERAGE_FILE": str(DATA / f"data.{PARTS[part]}")}
    summary = "no summary"
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env, **data}, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if re.match(r"=*\s*\d+ (passed|failed|error|skipped|deselected|warning)", line):
                summary = line.strip(" =\n")
    return running.returncode, f"{part}: {summary}"


def main(arguments: list[str]) -> int:
    os.chdir(ROOT)
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    os.environ.pop("DATABASE_URL", None)
    try:
        results = [pytest("SQLite", ["-m", "not browser", *arguments], {})]
        with private_postgres() as url:
            # What asks no database says the same a second time.
            selected = ["-m", "not browser and database", *arguments]
            results.append(pytest("PostgreSQL", selected, {"DATABASE_URL": url}))
    except CannotRun as error:
        say(str(error))
        return 1
    results.append(pytest("browser", ["-m", "browser", *arguments], {}))
    # With arguments a part may have nothing to do; without them, nothing done is a failure.
    fine = {0, NO_TESTS} if arguments else {0}
    passed = all(code in fine for code, _summary in results)

    if COVERAGE:
        say("\n=== Branch coverage of the three together")
        coverage = [sys.executable, "-m", "coverage"]
        os.environ["COVERAGE_FILE"] = str(DATA / "all")
        subprocess.run([*coverage, "combine", "--quiet", *map(str, DATA.glob("data.*"))], check=False)
        subprocess.run([*coverage, "report"], check=False)

    say("")
    for _code, summary in results:
        say(summary)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
