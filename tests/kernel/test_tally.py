"""Counting what is alike: no number is lost, and memory is bounded."""

from functools import partial

from mercato.kernel.tally import Tally


def test_only_the_first_of_its_kind_is_made_and_no_number_is_lost() -> None:
    made: list[str] = []
    tally = Tally[str](2)

    def first(key: str) -> str:
        made.append(key)
        return key

    for key in "aabacddcd":
        tally.add(key, partial(first, key), coarse_key="", coarse=lambda one: f"like {one}")
    assert made == ["a", "b", "c"]
    assert tally.take() == [("a", 3), ("b", 1), ("like c", 5)]
    assert tally.take() == []
