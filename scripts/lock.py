"""Write requirements.lock: the packages of requirements.txt for every Python and platform, with versions and hashes."""

from __future__ import annotations

import subprocess
import sys

sys.exit(
    subprocess.call(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"),
            *("--python-version", "3.11", "--custom-compile-command", "python scripts/lock.py"),
            *("--no-annotate", "--no-emit-find-links", "--no-emit-index-url"),
            *("requirements.txt", "--output-file", "requirements.lock"),
        ]
    )
)
