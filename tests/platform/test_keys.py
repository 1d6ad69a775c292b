"""Keys: who can sign, who can only read, and how one key follows another."""

import base64
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mercato.kernel.errors import Unauthenticated
from mercato.kernel.identity import new_id
from mercato.platform.settings import Secret, Settings, SettingsError
from mercato.platform.tokens import (
    ACCESS_TTL_S,
    ALGORITHMS,
    Algorithm,
    KeyFile,
    NoKeys,
    Tokens,
    UnknownKey,
    disown,
    keys,
    known,
    rotate,
)
from tests.forgeries import Forger

SECRET = "a secret of more than thirty-two bytes"
URL = "https://shop.example"


@dataclass
class Ring:
    """Two key files, with the clock at the tests' disposal."""

    private: Path
    public: Path
    monkeypatch: pytest.MonkeyPatch

    def settings(self) -> Settings:
        return Settings(jwt_secret=Secret(SECRET), jwt_jwks_file=str(self.public), public_url=URL)

    def minting(self) -> Tokens:
        return Tokens.of(self.settings(), keys_file=str(self.private))

    def reading(self) -> Tokens:
        return Tokens.of(self.settings())

    def pass_s(self, seconds: float) -> None:
        real = time.time
        self.monkeypatch.setattr(keys.time, "time", lambda: real() + seconds)  # type: ignore[attr-defined]


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ring:
    ring = Ring(tmp_path / "private.json", tmp_path / "public.json", monkeypatch)
    rotate(ring.private, ring.public)
    monkeypatch.setattr(keys, "LOOK_S", 0)
    return ring


def minted(tokens: Tokens) -> str:
    return tokens.access(new_id(), "customer", session=new_id())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_forged_tokens_are_nobodys(ring: Ring, algorithm: Algorithm) -> None:
    rotate(ring.private, ring.public, algorithm, delay_s=0)
    tokens = ring.reading()
    key = KeyFile(ring.private).known()[-1]
    forger = Forger(ring.minting(), key, SECRET)
    assert key.algorithm == algorithm
    assert tokens.caller(forger.check()).id == forger.user_id
    forgeries = forger.all()
    assert len(forgeries) > 120
    believed = [name for name, token in forgeries.items() if not refused(tokens, token)]
    assert believed == []
    slow = {
        name: took for name, token in forgeries.items() if (took := took_s(tokens, token)) > 0.005
    }
    assert slow == {}


def took_s(tokens: Tokens, token: str) -> float:
    """Returns the least of three tries: others use the machine too."""
    tries = []
    for _ in range(3):
        began = time.perf_counter()
        refused(tokens, token)
        tries.append(time.perf_counter() - began)
    return min(tries)


def refused(tokens: Tokens, token: str) -> bool:
    try:
        tokens.caller(token)
    except Unauthenticated:
        return True
    return False


def test_only_who_has_the_private_keys_can_mint(ring: Ring) -> None:
    reading = ring.reading()
    assert reading.caller(minted(ring.minting())).role == "customer"
    for work in (minted, lambda tokens: tokens.identity({})):
        with pytest.raises(NoKeys):
            work(reading)
    assert reading.caller(reading.service("order")).id == "order"
    with pytest.raises(NoKeys):
        Tokens(SECRET).identity({})


def test_a_key_is_published_before_it_signs_and_known_until_its_tokens_are_over(ring: Ring) -> None:
    minting, reading = ring.minting(), ring.reading()
    first, fresh = minted(minting), rotate(ring.private, ring.public, delay_s=10)
    assert {key["kid"] for key in reading.published()} > {fresh.id}
    second = minted(minting)
    assert kid(second) == kid(first) != fresh.id
    ring.pass_s(11)
    third = minted(minting)
    assert kid(third) == fresh.id
    for token in (first, second, third):
        assert not refused(reading, token)
    ring.pass_s(10 + ACCESS_TTL_S - 5)
    assert not refused(reading, minted(minting))
    assert len(reading.published()) == 2
    ring.pass_s(10 + ACCESS_TTL_S + 120)
    assert [key["kid"] for key in reading.published()] == [fresh.id]
    assert [key.id for key in known(ring.private)] == [fresh.id]


def kid(token: str) -> str:
    return str(json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"])


def test_a_key_taken_away_takes_its_tokens_along_also_from_memory(ring: Ring) -> None:
    reading, token = ring.reading(), minted(ring.minting())
    reading.caller(token)
    fresh = rotate(ring.private, ring.public, delay_s=0)
    keys.write(
        ring.public, [key for key in known(ring.public) if key.id == fresh.id], private=False
    )
    assert refused(reading, token)
    assert not refused(reading, minted(ring.minting()))


def test_a_key_of_this_moment_is_found_although_nobody_has_looked(ring: Ring) -> None:
    reading = ring.reading()
    ring.monkeypatch.setattr(keys, "LOOK_S", 3600)
    reading.published()
    rotate(ring.private, ring.public, delay_s=0)
    assert not refused(reading, minted(ring.minting()))


def test_a_bad_file_leaves_the_keys_that_were_known(ring: Ring) -> None:
    reading, token = ring.reading(), minted(ring.minting())
    good = ring.public.read_bytes()
    for bad in (b"", b"{", b"[]", b'{"keys": [{}]}', b'{"keys": [{"kty": "oct", "k": "AA"}]}'):
        ring.public.write_bytes(bad)
        assert not refused(reading, token)
        with pytest.raises(SettingsError):
            ring.reading()
    ring.public.unlink()
    assert not refused(reading, token)
    ring.public.write_bytes(good)
    assert not refused(reading, token)


def test_the_private_file_is_its_owners_and_the_public_one_tells_no_secret(ring: Ring) -> None:
    assert os.stat(ring.private).st_mode & 0o777 == 0o600
    private, public = (json.loads(path.read_text())["keys"] for path in (ring.private, ring.public))
    assert "d" in private[0]
    assert "d" not in public[0]
    assert ring.minting().published() == public
    assert private[0]["d"] not in repr(KeyFile(ring.private).known()[-1])


def test_one_file_without_the_other_is_no_setting(ring: Ring, tmp_path: Path) -> None:
    alone = Settings(jwt_secret=Secret(SECRET))
    with pytest.raises(SettingsError, match="both or none"):
        Tokens.of(alone, keys_file=str(ring.private))
    with pytest.raises(SettingsError, match="both or none"):
        Tokens.of(ring.settings(), keys_file="")
    others = tmp_path / "others"
    rotate(others / "private.json", others / "public.json")
    with pytest.raises(SettingsError, match="the key that signs"):
        Tokens.of(ring.settings(), keys_file=str(others / "private.json"))


def test_rotations_in_a_row_lose_no_key(ring: Ring) -> None:
    made = {rotate(ring.private, ring.public).id for _ in range(5)}
    assert made < {key.id for key in known(ring.private)}
    assert [key.id for key in known(ring.private)] == [key.id for key in known(ring.public)]


def test_a_disowned_key_has_a_successor_at_once_and_never_comes_back(ring: Ring) -> None:
    minting, reading = ring.minting(), ring.reading()
    token = minted(minting)
    fresh = disown(ring.private, ring.public, kid(token))
    assert fresh is not None
    assert refused(reading, token)
    assert kid(minted(minting)) == fresh.id
    assert not refused(reading, minted(minting))
    rotate(ring.private, ring.public)
    assert refused(reading, token)
    for file in (ring.private, ring.public):
        assert kid(token) not in {key.id for key in known(file)}


def test_a_key_that_does_not_sign_is_disowned_without_a_successor(ring: Ring) -> None:
    minting = ring.minting()
    first, fresh = minted(minting), rotate(ring.private, ring.public, "Ed25519", delay_s=0)
    assert disown(ring.private, ring.public, kid(first)) is None
    assert [key.id for key in known(ring.private)] == [fresh.id]
    assert kid(minted(minting)) == fresh.id
    with pytest.raises(UnknownKey):
        disown(ring.private, ring.public, kid(first))


def test_of_keys_that_wait_none_signs_beyond_its_end(ring: Ring) -> None:
    first = known(ring.private)[0]
    waiting = rotate(ring.private, ring.public, delay_s=600)
    fresh = disown(ring.private, ring.public, first.id)
    assert fresh is not None
    for seconds in (0, 601, 601 + ACCESS_TTL_S):
        ring.pass_s(seconds)
        token = minted(ring.minting())
        assert kid(token) == fresh.id != waiting.id
        assert not refused(ring.reading(), token)


def test_a_key_removed_by_hand_neither_signs_nor_comes_back(ring: Ring) -> None:
    minting, reading = ring.minting(), ring.reading()
    old = minted(minting)
    fresh = rotate(ring.private, ring.public, delay_s=600)
    unpublish(ring, kid(old))
    assert kid(minted(minting)) == fresh.id  # sooner than meant, and better than none
    assert not refused(reading, minted(ring.minting()))
    rotate(ring.private, ring.public)
    assert refused(reading, old)
    assert kid(old) not in {key.id for key in known(ring.private)}


def test_without_a_published_key_nothing_is_signed_until_there_is_one(ring: Ring) -> None:
    minting, reading = ring.minting(), ring.reading()
    old = minted(minting)
    unpublish(ring, kid(old))
    for work in (minted, lambda tokens: tokens.algorithm):
        with pytest.raises(NoKeys, match="published"):
            work(minting)
    with pytest.raises(SettingsError, match="the key that signs"):
        ring.minting()
    fresh = rotate(ring.private, ring.public)
    assert kid(minted(minting)) == fresh.id  # at once: nobody signs meanwhile
    assert refused(reading, old)


def unpublish(ring: Ring, key_id: str) -> None:
    kept = [key for key in known(ring.public) if key.id != key_id]
    keys.write(ring.public, kept, private=False)


def test_readers_name_the_algorithms_of_all_keys_that_are_published(ring: Ring) -> None:
    reading = ring.reading()
    assert reading.algorithms == ["ES256"]
    rotate(ring.private, ring.public, "Ed25519", delay_s=0)
    assert reading.algorithms == ["ES256", "Ed25519"]
    ring.pass_s(ACCESS_TTL_S + 120)
    assert reading.algorithms == ["Ed25519"]


def test_the_next_key_disowned_leaves_one_that_stays(ring: Ring) -> None:
    waiting = rotate(ring.private, ring.public)
    fresh = disown(ring.private, ring.public, waiting.id)
    assert fresh is not None
    ring.pass_s(10 * ACCESS_TTL_S)
    assert kid(minted(ring.minting())) == fresh.id
