"""Money is exact: what goes in comes out, and what cannot be meant is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel.money import MINOR_MAX, Money, digits, total

CURRENCIES = ("EUR", "USD", "JPY", "KWD", "XOF", "TND")
minors = st.integers(-MINOR_MAX, MINOR_MAX)
currencies = st.sampled_from(CURRENCIES)


@given(minors, currencies)
def test_an_amount_comes_back_exactly_as_it_went_in(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert Money.of(money.amount, currency) == money
    assert Money.of(Decimal(str(money).split()[0]), currency) == money


@given(minors, currencies)
def test_an_amount_shows_all_digits_of_its_currency(minor: int, currency: str) -> None:
    text = str(Money(minor, currency)).removesuffix(f" {currency}")
    assert len(text.partition(".")[2]) == digits(currency)
    assert "E" not in text


@given(st.decimals(allow_nan=True, allow_infinity=True), currencies)
def test_any_decimal_is_taken_exactly_or_refused(amount: Decimal, currency: str) -> None:
    try:
        money = Money.of(amount, currency)
    except ValueError:
        return
    assert money.amount == amount


@given(st.lists(st.integers(0, 10**10), max_size=100), st.integers(0, 10_000))
def test_sums_and_multiples_are_those_of_whole_numbers(minors: list[int], quantity: int) -> None:
    amounts = [Money(minor, "EUR") for minor in minors]
    assert total(amounts, "EUR") == Money(sum(minors), "EUR")
    assert all(m.times(quantity).minor == m.minor * quantity for m in amounts)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("19.99", "EUR", 1999), ("19.9", "EUR", 1990), ("19.900", "EUR", 1990), ("0", "EUR", 0),
        ("1999", "JPY", 1999), ("1.999", "KWD", 1999), ("1E+2", "EUR", 10000), ("-0.00", "EUR", 0),
    ],
)  # fmt: skip
def test_the_minor_unit_is_the_currencys_own(text: str, currency: str, minor: int) -> None:
    assert Money.of(Decimal(text), currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("19.999", "EUR"), ("0.5", "JPY"), ("1.9999", "KWD"), ("1E-400", "EUR"), ("1E+400", "EUR"),
        ("NaN", "EUR"), ("sNaN", "EUR"), ("Infinity", "EUR"), ("90071992547409.93", "EUR"),
        ("1.00000000000000000000000000001", "EUR"),
    ],
)  # fmt: skip
def test_more_digits_than_the_currency_has_are_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Money.of(Decimal(text), currency)


def test_amounts_of_two_currencies_are_never_added_up() -> None:
    with pytest.raises(ValueError, match="USD"):
        total([Money(1, "EUR"), Money(1, "USD")], "EUR")
