"""Money as an exact count of the currency's minor unit; never a float, on no way in or out."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

MINOR_MAX = 2**53  # beyond it a JSON reader that thinks in doubles would see another amount
DIGITS_MAX = 28  # what decimal arithmetic keeps; of more it would silently round some away

# ISO 4217: the currencies whose minor unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_DIGITS = dict.fromkeys(_WHOLE.split(), 0) | dict.fromkeys(_THOUSANDTHS.split(), 3)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units: `Money(1999, "EUR")` is 19.99 EUR."""

    minor: int
    currency: str

    @classmethod
    def of(cls, amount: Decimal, currency: str) -> "Money":
        """Returns `amount` in `currency`, exactly.

        Raises ValueError when it has more digits than the currency, is not finite or too large.
        """
        if not amount.is_finite():
            raise ValueError("must be a finite amount")
        if abs(amount.adjusted()) > 30 or len(amount.as_tuple().digits) > DIGITS_MAX:
            raise ValueError("must be an amount of a sensible size")
        scaled = amount.scaleb(digits(currency))
        if scaled != scaled.to_integral_value():
            raise ValueError(f"must have at most {digits(currency)} decimal places in {currency}")
        if abs(scaled) > MINOR_MAX:
            raise ValueError("must be an amount of a sensible size")
        return cls(int(scaled), currency)

    @property
    def amount(self) -> Decimal:
        """The amount with all of its currency's digits: 19.90, 1999, 1.999."""
        return Decimal(self.minor).scaleb(-digits(self.currency))

    def times(self, quantity: int) -> "Money":
        return Money(self.minor * quantity, self.currency)

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"


def digits(currency: str) -> int:
    """Returns how many decimal places `currency` has (ISO 4217)."""
    return _DIGITS.get(currency, 2)


def total(amounts: Iterable[Money], currency: str) -> Money:
    """Returns the sum in `currency`; raises ValueError when an amount is in another."""
    minor = 0
    for money in amounts:
        if money.currency != currency:
            raise ValueError(f"{money} is not in {currency}")
        minor += money.minor
    return Money(minor, currency)
