"""G27, small: secrets of every kind go in, and come out nowhere."""

from tests.security.canaries import Canaries, found_in
from tests.story.shop import Shop


async def test_no_secret_turns_up_in_an_answer_a_log_a_measure_or_the_trail(
    secure_shop: Shop,
) -> None:
    canaries = Canaries(secure_shop)
    await canaries.customer()
    assert len(canaries.secrets) >= 12
    assert len(canaries.answers) >= 15
    assert await canaries.leaks() == []


def test_a_secret_that_turns_up_is_found() -> None:
    places = {"gateway.log": "all is well", "user.log": "token=canary-0001 was refused"}
    assert found_in(places, ["canary-0001", "canary-0002"]) == ["user.log: canary-000..."]
