"""G26: from plain to secure and back on one data directory; a lost password costs a plain start."""

from pathlib import Path

from pymongo import AsyncMongoClient

from mercato.embedded.settings import Given
from mercato.embedded.supervisor import Platform


async def opened(home: Path, *, secure: bool | None, expects: bool) -> int:
    """Starts the servers in this mode, leaves a document; returns how many there are now."""
    async with Platform.open(home, services=(), secure=secure, given=Given()) as platform:
        assert platform.secure is expects
        assert ("@" in platform.environment["MONGO_URI"]) is expects
        async with AsyncMongoClient[dict[str, int]](platform.environment["MONGO_URI"]) as client:
            await client.ecommerce.things.insert_one({})
            return await client.ecommerce.things.count_documents({})


async def test_a_folder_goes_from_plain_to_secure_and_back_with_its_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert await opened(home, secure=None, expects=False) == 1
    assert await opened(home, secure=True, expects=True) == 2
    assert await opened(home, secure=None, expects=True) == 3  # it is remembered
    assert await opened(home, secure=False, expects=False) == 4
    (home / "passwords.json").unlink()  # which a plain start makes good
    assert await opened(home, secure=True, expects=True) == 5
