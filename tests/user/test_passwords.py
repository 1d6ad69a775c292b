"""Passwords: what is accepted, what it costs, and that nobody else waits for it."""

import asyncio
import time

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from mercato.kernel.errors import Exhausted
from mercato.user import passwords as costs
from mercato.user.passwords import CROWD, WAIT_S_MAX, WAITING_MAX, WORKERS, Passwords

# protobuf strings hold no lone surrogates
ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=1024)


def cheap() -> Passwords:
    """Passwords whose hashes cost next to nothing, to make many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "MEMORY_KIB", 64)
        patch.setattr(costs, "PASSES", 1)
        return Passwords()


FUZZED = cheap()


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords()


def bcrypted(password: bytes) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()


async def test_a_new_hash_is_argon2id_at_the_recommended_cost(passwords: Passwords) -> None:
    assert (await passwords.hash("secret")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_current_hash_is_not_made_anew(passwords: Passwords) -> None:
    stored = await passwords.hash("secret")
    assert await passwords.check("secret", stored) == (True, None)
    assert await passwords.check("Secret", stored) == (False, None)


async def test_a_cheaper_argon2_hash_is_made_anew(passwords: Passwords) -> None:
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1),))
    right, better = await passwords.check("secret", cheap.hash("secret"))
    assert right
    assert better is not None
    assert await passwords.check("secret", better) == (True, None)


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
async def test_a_bcrypt_hash_fits_once_and_is_replaced(passwords: Passwords, prefix: bytes) -> None:
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4, prefix)).decode()
    assert await passwords.check("wrong", stored) == (False, None)
    right, better = await passwords.check("secret", stored)
    assert right
    assert better is not None
    assert better.startswith("$argon2id$")


async def test_nothing_beyond_bcrypts_72_bytes_is_cut_off(passwords: Passwords) -> None:
    stored = bcrypted(b"x" * 72)
    assert (await passwords.check("x" * 72, stored))[0]
    assert await passwords.check("x" * 73, stored) == (False, None)
    assert await passwords.check("é" * 37, stored) == (False, None)


@pytest.mark.parametrize("stored", [None, "", "plain", "$2b$04$short", "$argon2id$v=19$broken"])
async def test_what_is_no_hash_fits_nothing(passwords: Passwords, stored: str | None) -> None:
    assert await passwords.check("plain", stored) == (False, None)


@settings(max_examples=100, deadline=None)
@given(ODD)
async def test_any_text_is_a_password_and_no_other_one(odd: str) -> None:
    passwords = FUZZED
    stored = await passwords.hash(odd)
    assert await passwords.check(odd, stored) == (True, None)
    assert (await passwords.check(odd + "\0", stored))[0] is False
    assert await passwords.check(odd, bcrypted(b"something else")) == (False, None)


async def test_nobodys_password_takes_as_long_as_somebodys(passwords: Passwords) -> None:
    stored = await passwords.hash("secret")

    cases = [
        ("wrong", stored),
        ("wrong", None),
        ("x" * 1000, None),
        ("\0", None),
        ("x" * 100, bcrypted(b"short")),
    ]
    fastest_s = [1.0] * len(cases)
    for _ in range(10):  # in turns, and by our own clock: the machine may be busy
        for i, (password, against) in enumerate(cases):
            began = time.process_time()
            await passwords.check(password, against)
            fastest_s[i] = min(fastest_s[i], time.process_time() - began)
    assert max(fastest_s) < 1.5 * min(fastest_s)


async def test_the_loop_runs_on_while_passwords_are_hashed(passwords: Passwords) -> None:
    hashing = asyncio.gather(*(passwords.hash("secret") for _ in range(10)))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert len(set(await hashing)) == 10
    assert turns > 20


async def test_too_long_a_queue_is_refused_at_once(passwords: Passwords) -> None:
    waiting = [asyncio.ensure_future(passwords.hash("secret")) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    began = time.perf_counter()
    with pytest.raises(Exhausted):
        await passwords.hash("one more")
    assert time.perf_counter() - began < 0.5
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    late = [each for each in outcomes if not isinstance(each, str)]
    assert all(isinstance(each, Exhausted) for each in late), "whom nobody waits for any more"
    assert len(outcomes) - len(late) > CROWD - WORKERS or time.perf_counter() - began > WAIT_S_MAX
    assert await passwords.hash("now there is room")


async def test_who_is_familiar_does_not_stand_in_line_with_strangers() -> None:
    passwords = FUZZED  # who comes first is no matter of what it costs
    stored, done = await passwords.hash("secret"), list[str]()

    async def one(name: str, *, familiar: bool) -> None:
        await passwords.check("secret", stored, familiar=familiar)
        done.append(name)

    strangers = [asyncio.ensure_future(one("stranger", familiar=False)) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    await one("owner", familiar=True)
    assert len(done) <= 2 * WORKERS + 1, "the owner had to wait"
    strangers[-1].cancel()
    await asyncio.gather(*strangers, return_exceptions=True)
    assert await passwords.hash("every thread is free again")


async def test_a_crowd_leaves_the_cores_to_others_who_need_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passwords = FUZZED
    stored = await passwords.hash("secret")
    monkeypatch.setattr(costs, "_timed", lambda job: (job(), 0.1))  # kept from a core so long
    strangers = [
        asyncio.ensure_future(passwords.check("secret", stored)) for _ in range(CROWD + 10)
    ]
    await asyncio.sleep(0.5)
    assert sum(each.done() for each in strangers) <= 2 * WORKERS
    async with asyncio.timeout(0.5):
        assert await passwords.check("secret", stored, familiar=True) == (True, None)
    monkeypatch.undo()
    outcomes = await asyncio.gather(*strangers, return_exceptions=True)
    assert (True, None) in outcomes
    assert await passwords.hash("every thread is free again")
