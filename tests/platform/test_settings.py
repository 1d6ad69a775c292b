"""The environment: typed, from three places, and every problem said at once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from mercato.embedded.settings import Given
from mercato.platform.settings import (
    SECRET_SHOWN,
    Secret,
    Settings,
    SettingsError,
    StoreSettings,
    load,
)

SECRET = "s" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop(StoreSettings):
    """What this test's service is told."""

    port: int = 1
    next_service: str = "127.0.0.1:1"
    needed: str


def test_every_problem_is_said_at_once() -> None:
    given = {"PORT": "eighty", "REDIS_DB": "1.5", "MERCATO_EMBEDDED": "maybe", "LOG_LEVEL": "loud",
             "CURRENCY": "euro", "CACHE_TTL_S": "0", "NEEDED_FILE": "/nowhere"}  # fmt: skip
    with pytest.raises(SettingsError) as wrong:
        load(Shop, given)
    for name in (*given, "JWT_SECRET"):
        assert name.removesuffix("_FILE") in str(wrong.value), name


def test_a_secret_whose_file_cannot_be_read_is_told(tmp_path: Path) -> None:
    for unreadable in ("/nowhere", str(tmp_path)):
        with pytest.raises(SettingsError, match=f"JWT_SECRET: .*{unreadable}"):
            load(Settings, {"JWT_SECRET_FILE": unreadable})


def test_an_unknown_word_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="'loud' is none of debug, info, warning, error"):
        load(Settings, {"JWT_SECRET": SECRET, "LOG_LEVEL": "loud"})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("MONGO_URI", ("mongodb://h", "mongodb+srv://u:p%40@h/db?a=b", "mongodb://a:1,b:2/?r=s"),
         ("http://hush", "mongodb://", "mongodb://u:hush@x@h", "mongodb://u:hush/x@h")),
        ("NATS_URL", ("nats://h", "tls://u:p@h:4222", "nats://a:1, nats://[::1]:2"),
         ("ftp://hush", "hush", "nats://a,hush", "nats://u:hush@", "nats://h:hush")),
        ("REDIS_ADDR", ("h:1", ":6379", "[::1]:6379"), ("nonsense", "h:0", "h:65536", "h:", "::")),
        ("NEXT_SERVICE", ("order:50052",), ("::", "order", "http://order:1", "order:x", "o:70000")),
        ("NEXT_SERVICE", ("10.0.0.1:1,10.0.0.2:2",), ("a:1,b:2", "10.0.0.1:1,", "10.0.0.1:1,::1")),
        ("PORT", ("0", "65535"), ("-1", "65536", "99999999")),
        ("METRICS_PORT", ("0", "9100"), ("-1", "70000")),
    ],
)  # fmt: skip
def test_an_address_that_no_driver_could_use_is_refused(
    name: str, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    given = {"JWT_SECRET": SECRET, "NEEDED": "x"}
    for value in good:
        load(Shop, given | {name: value})
    for value in bad:
        with pytest.raises(SettingsError, match=name) as wrong:
            load(Shop, given | {name: value})
        assert "hush" not in str(wrong.value)


def test_values_are_typed() -> None:
    given = {"JWT_SECRET": SECRET, "NEEDED": "yes", "PORT": "8080", "MERCATO_EMBEDDED": "true"}
    shop = load(Shop, given)
    assert (shop.port, shop.mercato_embedded, shop.needed) == (8080, True, "yes")
    assert load(Shop, given | {"LOG_LEVEL": "WARNING"}).log_level == "warning"


def test_an_empty_variable_counts_as_absent() -> None:
    shop = load(Shop, {"JWT_SECRET": SECRET, "NEEDED": "x", "PORT": "", "REDIS_ADDR": ""})
    assert (shop.port, shop.redis_addr) == (1, "127.0.0.1:6379")
    with pytest.raises(SettingsError, match="NEEDED is missing"):
        load(Shop, {"JWT_SECRET": SECRET, "NEEDED": ""})


def test_a_secret_can_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}!\n")
    assert load(Settings, {"JWT_SECRET_FILE": str(path)}).jwt_secret == f"{SECRET}!"
    assert load(Settings, {"JWT_SECRET_FILE": str(path), "JWT_SECRET": SECRET}).jwt_secret == SECRET


def test_a_dotenv_file_that_is_no_text_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes("SMTP_FROM=Café <a@b.example>\n".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=rf"{tmp_path}/\.env cannot be read: .*utf-8"):
        load(Settings)


def test_a_dotenv_file_is_read_and_the_environment_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"JWT_SECRET={SECRET}\nHOST=0.0.0.0\nCURRENCY=USD\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CURRENCY", "JPY")
    for name in ("JWT_SECRET", "HOST"):
        monkeypatch.delenv(name, raising=False)
    found = load(Settings)
    assert (found.jwt_secret, found.host, found.currency) == (SECRET, "0.0.0.0", "JPY")  # noqa: S104


@pytest.mark.parametrize("secret", ["short", "s" * 31, SECRET_SHOWN])
def test_a_weak_secret_is_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match="JWT_SECRET"):
        load(Settings, {"JWT_SECRET": secret})


def test_in_the_embedded_mode_a_secret_may_be_the_shown_one_and_not_short() -> None:
    embedded = {"MERCATO_EMBEDDED": "1"}
    assert load(Given, {"JWT_SECRET": SECRET_SHOWN}).jwt_secret == SECRET_SHOWN
    assert load(Settings, {"JWT_SECRET": SECRET_SHOWN} | embedded).jwt_secret == SECRET_SHOWN
    with pytest.raises(SettingsError, match="JWT_SECRET must have at least 32 bytes"):
        load(Settings, {"JWT_SECRET": "short"} | embedded)


def test_a_secret_is_shown_to_nobody() -> None:
    settings = load(StoreSettings, {"JWT_SECRET": SECRET, "MONGO_URI": "mongodb://u:hush@h"})
    assert SECRET not in repr(settings)
    assert "hush" not in repr(settings)
    assert isinstance(settings.mongo_uri, Secret)
    with pytest.raises(SettingsError) as wrong:
        load(Settings, {"JWT_SECRET": "hush-hush"})
    assert "hush-hush" not in str(wrong.value)
