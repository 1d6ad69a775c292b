"""What an audit looks for, and how it says what it has found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

Document = Mapping[str, Any]

STOCK: Final = "stock"
LEDGER: Final = "ledger"
RESERVATIONS: Final = "reservations"
ORDERS: Final = "orders"
MAILS: Final = "mails"
STUCK_MAILS: Final = "stuck_mails"
OUTBOX: Final = "outbox"
DEAD_LETTERS: Final = "dead_letters"

CHECKS: Final[Mapping[str, str]] = {
    STOCK: "initial + restocked - held - sold = stock",
    LEDGER: "every reservation has taken exactly its units, once",
    RESERVATIONS: "every order has one reservation, in a state that fits",
    ORDERS: "every order that has left a trace is there",
    MAILS: "every mail that is owed is there, once",
    STUCK_MAILS: "no mail is parked, refused or unsent for an hour",
    OUTBOX: "no outbox row has waited too long for its answer",
    DEAD_LETTERS: "no event has been given up",
}

FINDINGS_MAX: Final = 1000


class Severity(StrEnum):
    """BROKEN: a promise does not hold. PERSON: nothing is lost, and somebody has to decide."""

    BROKEN = "broken"
    PERSON = "person"


class Verb(StrEnum):
    """What can be done about a finding without editing history, in the order to do it in."""

    BOOK = "book"  # the reservation that the ledger's rows tell of
    ENTER = "enter"  # the ledger rows that the reservation tells of
    LEVEL = "level"  # a ledger row against what was moved for an order without cause
    EXPLAIN = "explain"  # a ledger row for a product's stock that nothing else explains
    TELL = "tell"  # an order's fact once more, as its row's next emission
    MAIL = "mail"  # a mail's row once more


@dataclass(frozen=True, slots=True)
class Mend:
    """A compensating entry or a re-emission: of `subject` (an id), where there are several `what`.

    `what` is the fact's subject of a TELL, and the template of a MAIL.
    """

    verb: Verb
    subject: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be: where it was found, in plain words, and what mends it.

    `subject` is the id of the product, order, user, mail, outbox row or dead letter.
    """

    check: str
    subject: str
    detail: str
    severity: Severity = Severity.BROKEN
    mends: tuple[Mend, ...] = ()


@dataclass(slots=True)
class Check:
    """How many things a check has looked at, and how many findings it has."""

    name: str
    title: str
    looked_at: int = 0
    findings: int = 0


@dataclass(slots=True)
class Report:
    """One audit: what the databases held at one instant, `at` by the database's clock.

    `findings` has the first FINDINGS_MAX of each check (or as many as were asked for); the checks
    count them all. `under_way` are orders whose next step is still being told, `foreign` the
    reservations that other programs have made, `young` the orders that may lack theirs yet.
    """

    at: datetime
    checks: dict[str, Check] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    under_way: int = 0
    foreign: int = 0
    young: int = 0
    seconds: float = 0.0
    findings_max: int = FINDINGS_MAX

    def __post_init__(self) -> None:
        self.checks = {name: Check(name, title) for name, title in CHECKS.items()}

    @property
    def clean(self) -> bool:
        """Whether there is no finding at all."""
        return not any(check.findings for check in self.checks.values())

    @property
    def holds(self) -> bool:
        """Whether every promise holds; something may still wait for a person."""
        return not any(each.severity is Severity.BROKEN for each in self.findings)

    def add(self, finding: Finding) -> None:
        check = self.checks[finding.check]
        check.findings += 1
        if check.findings <= self.findings_max:
            self.findings.append(finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """How long things may take before they count: `young` for an order, `late` for a row."""

    young: timedelta = timedelta(minutes=1)
    late: timedelta = timedelta(minutes=2)


# A mail server that is away for longer is somebody's business, even where nothing is lost.
UNSENT_MAX: Final = timedelta(hours=1)

# Nothing may be under way; less than nothing, because clocks differ.
SETTLED: Final = Grace(young=timedelta(days=-1), late=timedelta(days=-1))


@dataclass(slots=True)
class Case:
    """All that the databases hold under one id (24 hex digits) at the audit's instant.

    `moves` are ledger rows of the order, `rows` the open outbox rows about the id.
    """

    id: str
    order: Document | None = None
    reservation: Document | None = None
    user: Document | None = None
    moves: list[Document] = field(default_factory=list)
    mails: list[Document] = field(default_factory=list)
    rows: list[Document] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """A product's units: `stock` as it stands (None: no such product), the rest summed up.

    `ledger` is the sum of all its ledger rows, `taken` what orders' rows took of it and did not
    give back, `held` and `sold` what reservations say.
    """

    product_id: str
    stock: int | None = None
    ledger: int = 0
    initial: int = 0
    restocked: int = 0
    taken: int = 0
    rows_of_orders: int = 0
    held: int = 0
    sold: int = 0
