"""G27: after many accounts' traffic, restarts and a storm, no secret stands anywhere."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mercato.embedded.supervisor import Platform
from tests.proof.figures import Figures, sized
from tests.security.canaries import Canaries, found_in, logs
from tests.story.shop import Shop

AT_ONCE = 8
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
async def secure_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder = tmp_path_factory.mktemp("canaries")
    async with Platform.open(folder, secure=True) as platform, Shop.of(platform) as shop:
        yield shop


async def test_no_secret_of_many_accounts_turns_up(secure_shop: Shop, figures: Figures) -> None:
    canaries, count = Canaries(secure_shop), sized(120, least=8)
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(canaries.customer() for _ in range(min(AT_ONCE, count - start))))
    for part in ("redis", "mongo"):  # what is said of a server that is away
        await secure_shop.platform.stop(part)
        wrong = {"email": "nobody@example.com", "password": canaries.new()}
        await canaries.asks("POST", "/api/users/authenticate", json=wrong)
        await secure_shop.platform.start(part)
    leaks = await canaries.leaks()
    figures.tell(
        "G27", accounts=count, secrets=len(canaries.secrets), answers=len(canaries.answers),
        leaks=len(leaks),
    )  # fmt: skip
    assert leaks == []


async def test_no_secret_of_a_storm_turns_up(tmp_path: Path, figures: Figures) -> None:
    home, report = tmp_path / "home", tmp_path / "report"
    orders = str(sized(3_000, least=300))
    storm = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mercato", "storm", "--secure", "--orders", orders, "--minutes",
        "0.5", "--data-dir", str(home), "--report", str(report), "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await storm.communicate()
    secrets = list(
        msgspec.json.decode((home / "passwords.json").read_bytes(), type=dict[str, str]).values()
    )
    secrets.append((home / "jwt_secret").read_text().strip())
    places = logs(home) | {
        "report": "\n".join(each.read_text(errors="replace") for each in report.glob("storm.*")),
        "said": said.decode(errors="replace"),
    }
    leaks = found_in(places, secrets)
    size = sum(len(text) for text in places.values())
    figures.tell(
        "G27", storm_orders=int(orders), storm_characters=size, storm_secrets=len(secrets),
        storm_leaks=len(leaks),
    )  # fmt: skip
    assert storm.returncode == 0, said.decode(errors="replace")[-2000:]
    assert size > 100_000
    assert leaks == []
