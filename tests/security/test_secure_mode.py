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
from mercato.pb.user_pb2 import AuthRequest
from mercato.pb.user_pb2_grpc import UserServiceStub
from mercato.platform.rpc import Channels
from mercato.platform.rpc.refusals import Refused
from mercato.platform.tokens import Tokens
from tests.security.conftest import identity_of


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
    public = "admin@mercato.example", LOGINS["admin@mercato.example"]
    mine: Mapping[str, str] = {}
    for secure, opens in ((False, True), (True, False)):
        async with Platform.open(
            tmp_path, services=("user",), secure=secure, given=Given()
        ) as platform:
            mine = platform.logins
            assert await refusal(platform, *public) == ("" if opens else "wrong-credentials")
            assert (mine == LOGINS) is opens
            assert [await refusal(platform, *login) for login in mine.items()] == ["", ""]
    async with Platform.open(tmp_path, services=(), secure=False, given=Given()) as platform:
        assert platform.logins == mine
    known = tmp_path / "passwords.json"
    assert known.stat().st_mode & 0o777 == 0o600
    assert set(mine.values()) <= set(msgspec.json.decode(known.read_bytes()).values())


async def refusal(platform: Platform, email: str, password: str) -> str:
    """Why the login does not open the account, as the gateway hears it; empty when it does."""
    shows = identity_of(platform, "gateway") if platform.secure else None
    channels = Channels(Tokens(platform.environment["JWT_SECRET"]), "gateway", shows)
    async with channels.open(platform.environment["USER_SERVICE"], "user") as way:
        login = AuthRequest(email=email, password=password)
        try:
            await channels.call(UserServiceStub(way).AuthenticateUser, login)
        except Refused as refused:
            return refused.slug
    return ""
