"""A MongoDB that cannot show one instant is refused, in words that help."""

import asyncio
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from mercato.audit.auditing import verify
from mercato.audit.watching import Watch
from mercato.embedded.binaries import need
from mercato.embedded.ports import LOOPBACK, any_free
from mercato.platform.mongo import Store
from mercato.platform.settings import SettingsError


async def test_a_standalone_mongod_is_refused(tmp_path: Path) -> None:
    port = any_free()
    words = ("--dbpath", tmp_path, "--port", port, "--bind_ip", LOOPBACK, "--nounixsocket")
    mongod = await asyncio.create_subprocess_exec(
        need("mongod"), *map(str, words), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with Store.open(f"mongodb://{LOOPBACK}:{port}/", "ecommerce") as store:
            await reached(store)
            with pytest.raises(SettingsError, match="standalone mongod"):
                await verify(store)
            watch = Watch(store, every_s=60)
            await watch.look()
            assert watch.trouble == "the last audit did not go through: SettingsError"
    finally:
        mongod.kill()
        await mongod.wait()


async def reached(store: Store) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.ping()
            except PyMongoError:
                await asyncio.sleep(0.1)
