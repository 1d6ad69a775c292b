"""What secure mode cannot do is said before anything starts."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from mercato.embedded.errors import PlatformError
from mercato.embedded.plan import LOGINS
from mercato.embedded.secure.authority import Authority
from mercato.embedded.settings import Given
from mercato.embedded.size import CLUSTER
from mercato.embedded.supervisor import Platform
from tests.story.shop import Shop


async def test_a_cluster_has_no_secure_mode_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="secure mode is for a single platform"):
        async with Platform.open(tmp_path, size=CLUSTER, secure=True, given=Given()):
            pass


async def test_a_damaged_authority_is_named_with_what_to_do(tmp_path: Path) -> None:
    Authority(tmp_path / "tls")
    (tmp_path / "tls" / "ca.key").write_text("nonsense")
    with pytest.raises(PlatformError, match=r"certificate ca in .* cannot be read") as refusal:
        async with Platform.open(tmp_path, services=(), secure=True, given=Given()):
            pass
    assert "remove" in refusal.value.remedy


async def test_lost_passwords_are_named_before_anything_starts(tmp_path: Path) -> None:
    async with Platform.open(tmp_path, services=(), secure=True, given=Given()):
        pass
    (tmp_path / "passwords.json").unlink()
    with pytest.raises(PlatformError, match=r"passwords\.json is missing in") as refusal:
        async with Platform.open(tmp_path, services=(), given=Given()):
            pass
    assert "start once with --plain" in refusal.value.remedy
    assert not (tmp_path / "passwords.json").exists()
    async with Platform.open(tmp_path, services=(), secure=False, given=Given()):
        pass
    async with Platform.open(tmp_path, services=(), secure=True, given=Given()) as platform:
        assert platform.secure


async def test_the_demo_logins_are_public_in_a_plain_folder_alone(tmp_path: Path) -> None:
    servers = ("user", "mailer", "gateway", "inventory", "order")
    public = {"email": "admin@mercato.example", "password": LOGINS["admin@mercato.example"]}
    mine: Mapping[str, str] = {}
    for secure, opens in ((False, True), (True, False)):
        async with (
            Platform.open(tmp_path, services=servers, secure=secure, given=Given()) as platform,
            Shop.of(platform) as shop,  # the admin signs in with what the record says
        ):
            answer = await shop.http.post("/api/users/authenticate", json=public)
            assert (answer.status_code == 200) is opens
            assert (platform.logins == LOGINS) is opens
            mine = platform.logins
    async with Platform.open(tmp_path, services=(), secure=False, given=Given()) as platform:
        assert platform.logins == mine
    known = tmp_path / "passwords.json"
    assert known.stat().st_mode & 0o777 == 0o600
    assert set(mine.values()) <= set(msgspec.json.decode(known.read_bytes()).values())
