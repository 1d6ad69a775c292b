"""compose.yaml, .env.example and the services agree about every name and port."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dotenv import dotenv_values

from mercato.cli.health import PORTS
from mercato.cli.preflight import SHAPES
from mercato.embedded.settings import Given
from mercato.platform.settings import SECRET_SHOWN, Settings, SettingsError, load

ROOT = Path(__file__).parents[1]
SERVICES: dict[str, Any] = msgspec.yaml.decode((ROOT / "compose.yaml").read_bytes())["services"]
DEFAULTED = re.compile(r"\$\{\w+:-([^}]*)\}")
SHOWN = re.compile(r"^(?:# )?([A-Z][A-Z_]*)=", re.MULTILINE)


def settings_of(service: str) -> type[Settings]:
    return SHAPES[service]


def environment_of(service: str) -> dict[str, str]:
    """Returns what compose.yaml gives a service, with a good secret and every default."""
    given = SERVICES[service]["environment"] | {"JWT_SECRET": "s" * 32}
    return {name: DEFAULTED.sub(r"\1", str(value)) for name, value in given.items()}


@pytest.mark.parametrize("service", PORTS)
def test_compose_tells_a_service_only_what_it_understands(service: str) -> None:
    fields = {name.upper() for name in settings_of(service).__dataclass_fields__}
    assert set(environment_of(service)) <= fields
    load(settings_of(service), environment_of(service))


@pytest.mark.parametrize("service", PORTS)
def test_every_address_in_compose_leads_to_a_service_that_listens_there(service: str) -> None:
    environment = environment_of(service)
    peers = {name: value for name, value in environment.items() if name.endswith("_SERVICE")}
    for name, address in peers.items():
        peer = name.removesuffix("_SERVICE").lower()
        assert address == f"{peer}:{environment_of(peer)['PORT']}"
    wanted = {name for name in settings_of(service).__dataclass_fields__ if "_service" in name}
    assert {name.lower() for name in peers} == wanted


@pytest.mark.parametrize("service", PORTS)
def test_a_service_listens_where_its_health_is_asked(service: str) -> None:
    settings = asdict(load(settings_of(service), {"JWT_SECRET": "s" * 32}))
    assert settings["port"] == PORTS[service]
    assert environment_of(service)["PORT"] == str(PORTS[service])


@pytest.mark.parametrize("service", PORTS)
def test_a_service_listens_on_loopback_unless_it_is_told_otherwise(service: str) -> None:
    settings = load(settings_of(service), {"JWT_SECRET": "s" * 32})
    assert (settings.host, settings.metrics_port) == ("127.0.0.1", 0)


def test_the_example_shows_only_variables_that_exist() -> None:
    known = {name.upper() for each in PORTS for name in settings_of(each).__dataclass_fields__}
    known |= {name.upper() for name in Given.__dataclass_fields__}
    shown = set(SHOWN.findall((ROOT / ".env.example").read_text()))
    assert len(shown) > 10
    assert shown <= known


def test_the_secret_of_the_example_is_refused() -> None:
    secret = dotenv_values(ROOT / ".env.example")["JWT_SECRET"]
    assert secret == SECRET_SHOWN
    with pytest.raises(SettingsError, match="make your own"):
        load(Settings, {"JWT_SECRET": SECRET_SHOWN})


def test_a_provider_to_sign_in_through_needs_all_that_belongs_to_it() -> None:
    told = {"JWT_SECRET": "s" * 32, "OIDC_ISSUER": "https://id.example.com"}
    with pytest.raises(SettingsError) as refusal:
        load(settings_of("user"), told)
    problems = "\n".join(refusal.value.problems)
    assert all(name in problems for name in ("PUBLIC_URL", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"))
