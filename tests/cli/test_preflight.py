"""What a platform tells its services is not asked of the environment, everything else is."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from mercato.cli import preflight
from mercato.cli.progress import summarise
from mercato.embedded.plan import PLANNED, RPC_SERVICES, SERVICES, draw
from mercato.embedded.settings import Given
from mercato.embedded.state import PlatformState
from mercato.platform.settings import SettingsError


def test_every_service_is_asked() -> None:
    assert set(preflight.SHAPES) == set(SERVICES)


def test_what_the_plan_says_itself_may_be_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = draw(tmp_path, SERVICES, 0, Given(), None)
    ours = {part.name: part.environment.keys() for part in plan.parts if part.name in SERVICES}
    assert all(names >= PLANNED for names in ours.values())
    assert {name for name, names in ours.items() if "METRICS_PORT" in names} == set(RPC_SERVICES)
    for name in PLANNED - {"PORT"}:  # which says where `up` itself begins
        monkeypatch.setenv(name, "nonsense")
    preflight.insist(SERVICES)
    assert preflight.given(SERVICES) == Given()


def test_each_wrong_setting_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"CURRENCY": "EURO", "CACHE_TTL_S": "x", "ORDER_HOLD_S": "-3", "SMTP_FROM": "nobody"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        preflight.given(SERVICES)
    assert sorted(refused.value.problems) == [
        "CACHE_TTL_S: 'x' is no whole number",
        "CURRENCY: 'EURO' is no text matching regex '^[A-Z]{3}$'",
        "ORDER_HOLD_S: '-3' is no whole number >= 0",
        "SMTP_FROM must be one address, like Shop <hello@shop.example>",
    ]


def test_a_service_that_is_not_started_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_HOLD_S", "-3")
    preflight.insist(["user", "gateway"])


def test_a_narrow_terminal_cuts_no_address_off() -> None:
    shown = io.StringIO()
    url = "mongodb://127.0.0.1:27017,127.0.0.1:27018,127.0.0.1:27019/?replicaSet=rs0"
    environment = {"MONGO_URI": url, "REDIS_ADDR": "127.0.0.1:6379", "NATS_URL": "nats://a:4222"}
    known = PlatformState(None, True, {"gateway": "http://a"}, environment, {}, [], {}, {})
    summarise(Console(file=shown, width=40), known)
    assert url in shown.getvalue()
