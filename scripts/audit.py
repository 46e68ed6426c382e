"""Known vulnerabilities of the packages in requirements.lock, as PyPI tells them.

Exit code 1 for a vulnerability. Where PyPI does not tell, that is said, and is no failure: a machine without
the internet can lint, too.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "pypi", "--format", "json"),
            *("--requirement", "requirements.lock", "--disable-pip", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip() or "no answer").splitlines()[-1]
        sys.stdout.write(f"Not audited: PyPI did not tell about vulnerabilities ({reason}).\n")
        return 0
    found = [(package, flaw) for package in packages for flaw in package.get("vulns", [])]
    for package, flaw in found:
        fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
        sys.stdout.write(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}\n")
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    sys.stdout.write(f"{len(packages) - len(unknown)} packages audited, {len(found)} vulnerabilities.\n")
    if unknown:
        sys.stdout.write(f"Not audited, PyPI did not answer: {len(unknown)} packages.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
