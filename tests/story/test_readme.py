"""The README's tour does what it shows, line by line."""

import asyncio
import re
import subprocess
from pathlib import Path

from mercato.kernel.identity import new_id
from tests.story.shop import Shop

README = Path(__file__).parents[2] / "README.md"
CHANGING = re.compile(r"[0-9a-f]{24}|\d{4}-\d\d-\d\dT[\d:.]+Z")


async def test_the_tour_of_the_readme_answers_as_shown(shop: Shop) -> None:
    tour = README.read_text().partition("## A tour")[2].partition("```console\n")[2]
    shown = tour.partition("```")[0].splitlines()
    commands = [line[2:] for line in shown if line.startswith("$ ")]
    assert len(commands) == 10, "it promises ten lines"
    script = "\n".join(f"{line}\necho" for line in commands)
    script = script.replace("http://127.0.0.1:8080", shop.url).replace("ada@", f"{new_id()}@")
    run = ["bash", "-euo", "pipefail", "-c", script]
    done = await asyncio.to_thread(
        subprocess.run, run, capture_output=True, text=True, timeout=60, check=True
    )
    answered = [line for line in done.stdout.splitlines() if line]
    expected = [line for line in shown if not line.startswith("$ ")]
    assert [CHANGING.sub("...", line) for line in answered] == [
        CHANGING.sub("...", line) for line in expected
    ]
