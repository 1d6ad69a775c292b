"""The page shows what happened, and needs nothing from elsewhere."""

import re

from mercato.storm import page
from mercato.storm.faults import Happened
from mercato.storm.report import Options, Report, Second
from mercato.storm.verdict import Claim, Times

HAPPENED = [
    Happened(at_s=1.5, over_s=1.5, group="services", kind="kill", target="order"),
    Happened(at_s=2.0, over_s=3.0, group="network", kind="stall", target="mongo"),
    Happened(at_s=4.0, over_s=4.0, group="mail", kind="cut after the dot", target="smtp"),
]
BAD = Claim("G1", "orders <lost>", 2, 0, kept=False, examples=["<script>"])
GOOD = Claim("G2", "stock", 0, 0, kept=True, examples=[])


def report(*claims: Claim, quiet_s: float | None = 7.0) -> Report:
    return Report(
        passed=all(claim.kept for claim in claims),
        began_at="2026-01-02T03:04:05+00:00",
        options=Options(100, 5.0, 8, 42, ["services"], 30.0),
        claims=list(claims),
        times=Times(5.0, 6.0, 6.5 if quiet_s else None, quiet_s, 0),
        acknowledged=100, acknowledged_during_faults=80, orders_a_second=16.7,
        accept_ms={"p50": 10.0, "p99": 90.0}, request_ms={"p50": 9.0, "p99": 50.0},
        states={"PENDING RESERVED": 100}, mails=101, mails_parked=1, told_again=3,
        statuses={"201": 100},
        unanswered_tries={}, faults={"kill order": 1}, restarts=1, happened=HAPPENED,
        seconds=[Second(10, 5.0, 9.0, 1, 2), Second(0, None, None, None, None)] * 4,
    )  # fmt: skip


def test_the_page_asks_nothing_of_other_hosts_and_runs_no_script() -> None:
    html = page.render(report(GOOD))
    assert not re.search(r"https?://|<script|@import|url\(", html)


def test_every_fault_is_a_mark_with_its_time_and_name() -> None:
    html = page.render(report(GOOD))
    for title in ("1.5 s: kill order", "2.0 s: stall mongo", "4.0 s: cut after the dot smtp"):
        assert f"<title>{title}</title>" in html


def test_the_verdict_is_that_of_the_claims_and_texts_are_escaped() -> None:
    assert ">PASS<" in page.render(report(GOOD))
    html = page.render(report(GOOD, BAD))
    assert ">FAIL<" in html
    assert "orders &lt;lost&gt;" in html
    assert "&lt;script&gt;" in html


def test_a_storm_that_never_became_quiet_has_a_page_too() -> None:
    assert "never" in page.render(report(BAD, quiet_s=None))
