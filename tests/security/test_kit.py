"""What `mercato secure` makes for containers fits the services and compose.secure.yaml."""

import ssl
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mercato.embedded.secure import kit
from mercato.embedded.secure.rights import RIGHTS
from mercato.platform.rpc import Identity
from mercato.platform.settings import load
from tests.test_deployment import ROOT, environment_of, settings_of

COMPOSE: dict[str, Any] = msgspec.yaml.decode(
    (ROOT / "deploy" / "compose.secure.yaml").read_bytes()
)["services"]
INSIDE = "/run/mercato"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("kit") / "secure"
    kit.make(made, "ecommerce")
    return made


def given(service: str, folder: Path) -> dict[str, str]:
    """What a service is given by both files, with its folder where it is here."""
    (mount,) = COMPOSE[service]["volumes"]
    assert mount == f"./secure/{service}:{INSIDE}:ro"
    added = {**environment_of(service), **COMPOSE[service]["environment"]}
    return {k: str(v).replace(INSIDE, str(folder / service)) for k, v in added.items()}


@pytest.mark.parametrize("service", RIGHTS)
def test_a_service_gets_its_own_certificate_and_passwords(service: str, folder: Path) -> None:
    environment = given(service, folder)
    fields = {name.upper() for name in settings_of(service).__dataclass_fields__}
    for name in COMPOSE[service]["environment"]:
        assert {name, name.removesuffix("_FILE")} & fields, name
    settings: Any = load(settings_of(service), environment)
    identity = Identity.of(settings)
    assert identity is not None
    assert identity.certificate == (folder / "tls" / f"{service}.pem").read_bytes()
    for name in ("mongo_uri", "nats_url"):
        if f"{name.upper()}_FILE" in environment:
            assert f"://{service}:" in getattr(settings, name)


def test_servers_know_every_service_and_no_other_may_read_it(folder: Path) -> None:
    users = (folder / "mongo" / "users.js").read_text()
    nats = msgspec.json.decode((folder / "nats" / "nats.conf").read_bytes())
    known = {user["user"]: user["password"] for user in nats["authorization"]["users"]}
    for service in RIGHTS:
        uri = folder / service / "mongo_uri"
        if uri.exists():
            password = uri.read_text().split("@")[0].rpartition(":")[2]
            assert f'"user": "{service}"' in users
            assert f'"pwd": "{password}"' in users
        if (folder / service / "nats_url").exists():
            assert known[service] in (folder / service / "nats_url").read_text()
    password = (folder / "order" / "redis_password").read_text()
    assert f"requirepass {password}" in (folder / "redis" / "redis.conf").read_text()
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_what_is_there_is_kept(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    kit.make(folder, "ecommerce")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(folder.glob("*/ca.key")) or [folder / "tls" / "ca.key"] == list(
        folder.glob("*/ca.key")
    )
    ssl.create_default_context(cafile=str(folder / "gateway" / "ca.pem"))
