"""Asks whether a locked dependency has a known vulnerability, with pip-audit (exit 1: one has).

The answer comes from the Python package index or, with `--osv`, from the OSV database. A machine
that reaches neither, because it installs from a mirror or without a network, cannot ask: that is
said, and is no failure, so that checks run anywhere. With `--strict` it is one (exit 2).
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
# The smallest first: when nothing can be asked of it, nothing can be asked.
LOCKS = ("build.lock", "prod.lock", "dev.lock")
ANSWER_S = 10


def main() -> int:
    service = "osv" if "--osv" in sys.argv else "pypi"
    asked: set[str] = set()
    skipped: set[str] = set()
    found: dict[str, str] = {}
    for lock in LOCKS:
        answer = _asked(REQUIREMENTS / lock, service)
        for one in answer:
            name = f"{one['name']} {one.get('version', '')}".strip()
            (skipped if "skip_reason" in one else asked).add(name)
            found |= {each["id"]: f"{name}: {_told(each)}" for each in one.get("vulns", ())}
        if not asked:
            sys.stdout.write("known vulnerabilities: could not ask (no answer from the service)\n")
            return 2 if "--strict" in sys.argv else 0
    for vulnerability, about in sorted(found.items()):
        sys.stderr.write(f"{vulnerability} in {about}\n")
    missing = sorted(skipped - asked)
    unasked = f"; no answer about {len(missing)}: {', '.join(missing[:5])}" if missing else ""
    sys.stdout.write(f"known vulnerabilities: {len(found)} in {len(asked)} packages{unasked}\n")
    return 1 if found else 0


def _asked(lock: Path, service: str) -> Sequence[dict[str, Any]]:
    """Returns what pip-audit tells of each package; nothing when it could not ask."""
    command = (
        sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip",
        "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off",
        "--timeout", str(ANSWER_S),
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        told = json.loads(done.stdout)
    except ValueError:  # it ends in a traceback where the service has no address
        return ()
    dependencies: list[dict[str, Any]] = told["dependencies"]
    return dependencies


def _told(vulnerability: dict[str, Any]) -> str:
    mended = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
    return f"mended in {mended} ({vulnerability.get('description', '')[:100].strip()})"


if __name__ == "__main__":
    sys.exit(main())
