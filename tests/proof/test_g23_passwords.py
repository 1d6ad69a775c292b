"""G23: any text is a password or refused by name; nothing of it is cut off, none is a 500."""

import asyncio
import unicodedata
from collections import Counter
from random import Random

import bcrypt
import httpx2
import pytest

from mercato.kernel.identity import new_id
from mercato.user.passwords import Passwords
from tests.proof.figures import Figures, sized
from tests.story.shop import Shop

AT_ONCE = 4
AGAIN_S = 0.2
SEED = 23
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz0123456789 !#%&",
    "\N{PILE OF POO}\N{SNOWMAN}\N{ZERO WIDTH JOINER}\N{VARIATION SELECTOR-16}\U0001f468\U0001f469",
    "\0\x01\x07\n\r\t\x1b\x7f\x85\u2028\u202e\ufeff",
    "e\u0301u\u0308n\u0303a\u030a\u1e9b\u0323\ufb01\u2460",
    "пароль密码كلمةסיסמה",
)
LENGTHS = (0, 1, 7, 8, 9, 31, 63, 64, 65, 71, 72, 73, 128, 255, 256, 257, 1024, 1025)
EXPECTED = {200, 201, 401, 413, 422}
pytestmark = pytest.mark.timeout(3600)


def a_password(dice: Random) -> str:
    if dice.random() < 0.002:
        return "x" * 1_000_000
    letters = "".join(dice.sample(ALPHABETS, dice.randint(1, 3)))
    return "".join(dice.choices(letters, k=dice.choice(LENGTHS)))


async def used(shop: Shop, password: str, seen: Counter[int]) -> list[str]:
    """Registers and signs in with `password`; returns what should not have been."""
    email, wrong = f"fuzzed-{new_id()}@example.com", []

    async def ask(path: str, word: str) -> httpx2.Response:
        body = {"email": email, "password": word}
        answer = await shop.http.post(path, json=body)
        while answer.status_code == 429:  # too many are being hashed: that is no verdict
            await asyncio.sleep(AGAIN_S)
            answer = await shop.http.post(path, json=body)
        seen[answer.status_code] += 1
        if answer.status_code not in EXPECTED:
            wrong.append(
                f"{path}: {answer.status_code} for {word[:20]!r} ({len(word)}) "
                f"after {answer.elapsed.total_seconds():.1f} s: {answer.text[:300]}"
            )
        return answer

    if (await ask("/api/users/register", password)).status_code != 201:
        await ask("/api/users/authenticate", password)
        return wrong
    form = Random(password).choice(("NFC", "NFD"))
    same = unicodedata.normalize(form, password)  # type: ignore[arg-type]
    if len(same) <= 1024 and (await ask("/api/users/authenticate", same)).status_code != 200:
        wrong.append(f"its own password is refused: {password[:20]!r}")
    if (await ask("/api/users/authenticate", password + "x")).status_code != 401:
        wrong.append(f"a longer password is accepted: {password[:20]!r}")
    return wrong


async def test_ten_thousand_fuzzed_passwords_are_taken_whole_or_refused(
    shop: Shop, figures: Figures
) -> None:
    dice, seen, gate = Random(SEED), Counter[int](), asyncio.Semaphore(AT_ONCE)
    words = [a_password(dice) for _ in range(sized(10_000, least=200))]

    async def one(word: str) -> list[str]:
        async with gate:
            return await used(shop, word, seen)

    wrong = [each for found in await asyncio.gather(*map(one, words)) for each in found]
    figures.tell(
        "G23", fuzzed=len(words), taken=seen[201], refused=seen[422] + seen[413],
        server_errors=sum(count for status, count in seen.items() if status >= 500),
    )  # fmt: skip
    assert wrong == []
    assert seen[201] > len(words) // 10
    assert seen[422] > len(words) // 10


async def test_nothing_beyond_bcrypts_72_bytes_is_ignored(figures: Figures) -> None:
    passwords, dice, both = Passwords(), Random(SEED), 0
    rounds = sized(1_000, least=50)
    for _ in range(rounds):
        letters = dice.choice(ALPHABETS).replace("\0", "")
        word = "".join(dice.choices(letters, k=dice.randint(60, 80)))
        stored = bcrypt.hashpw(word.encode()[:72], bcrypt.gensalt(4)).decode()
        fits, _ = await passwords.check(word, stored)
        longer, _ = await passwords.check(word + "x", stored)
        both += fits and longer
        assert fits is (len(word.encode()) <= 72)
        assert not longer
    figures.tell("G23", past_byte_72=rounds, both_accepted=both)
    assert both == 0
