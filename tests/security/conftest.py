"""The shop that is tried, a second one in secure mode, and whoever knocks at their doors."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mercato.embedded.secure.authority import Authority
from mercato.embedded.supervisor import Platform
from mercato.platform.rpc import Identity
from tests.security.parties import Minting, minting
from tests.story.shop import Shop


@pytest.fixture(scope="session")
async def shop(platform: Platform) -> AsyncIterator[Shop]:
    async with Shop.of(platform) as opened:
        yield opened


@pytest.fixture(scope="session")
def tokens(platform: Platform) -> Minting:
    return minting(platform)


@pytest.fixture(scope="session")
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Everything, as `mercato up --secure` starts it."""
    async with Platform.open(tmp_path_factory.mktemp("secure"), secure=True) as running:
        yield running


@pytest.fixture(scope="session")
async def secure_shop(secure: Platform) -> AsyncIterator[Shop]:
    async with Shop.of(secure) as opened:
        yield opened


@pytest.fixture(scope="session")
def passwords(secure: Platform) -> dict[str, str]:
    """By use, as `mongo/order`; what a thief of one service has is one of them."""
    content = (secure.data_dir / "passwords.json").read_bytes()
    return msgspec.json.decode(content, type=dict[str, str])


def identity_of(secure: Platform, name: str) -> Identity:
    """What a service of the platform shows to others."""
    return identity(Authority(secure.data_dir / "tls"), name)


def identity(authority: Authority, name: str) -> Identity:
    certificate, key = authority.certify(name, _others(authority.folder, name))
    return Identity(authority.file.read_bytes(), certificate.read_bytes(), key.read_bytes())


def _others(folder: Path, name: str) -> tuple[str, ...]:
    own = folder.name == "tls" and name == "gateway"  # as it is: not to be made anew
    return ("localhost", "127.0.0.1") if own else ()
