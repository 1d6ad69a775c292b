"""A bounded run of Schemathesis: what the OpenAPI document allows, and much that it does not."""

import asyncio
import sys
from pathlib import Path

# Which of the well-formed requests go through is for the shop to say: an unknown product or a
# wrong password is refused rightly.
EXCLUDED = "positive_data_acceptance"
SEED = 20260102
CONFIG = """
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 412, 413, 415, 422]
"""


async def fuzz(
    url: str, token: str, home: Path, *, examples_max: int, seconds_max: int, seed: int = SEED
) -> tuple[bool, str]:
    """Asks every route below `url` for a fault, as the bearer of `token`; `home` is for its files.

    Returns whether none was found, and the report.
    """
    (home / "schemathesis.toml").write_text(CONFIG)
    command = (
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json",
        "--header", f"Authorization: Bearer {token}", "--exclude-checks", EXCLUDED,
        "--max-examples", str(examples_max), "--max-time", str(seconds_max), "--seed", str(seed),
        "--request-timeout", "15", "--generation-database", "none", "--no-color",
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, cwd=home, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        report, _ = await asyncio.wait_for(process.communicate(), seconds_max + 60)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode == 0, report.decode(errors="replace")
