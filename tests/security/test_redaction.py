"""Secrets are known by their name, by their form, or because the process has them."""

from random import Random

import pytest

from mercato.kernel import redaction
from mercato.kernel.redaction import HIDDEN, is_secret_name, redacted, without_secrets

CANARY = "c4n4ry-9f3e7b1a55"


@pytest.mark.parametrize(
    "name",
    [
        "password", "current_password", "newPassword", "password_hash", "Authorization", "cookie",
        "Set-Cookie", "token", "refresh_token", "accessToken", "id_token_hint", "client_secret",
        "JWT_SECRET", "otp", "totp_secret", "code", "code_verifier", "recovery_codes",
        "authorization_code", "client_assertion", "SMTP_PASSWORD", "api-key", "privateKey", "dsn",
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret_name(name)
    assert redacted({name: CANARY}) == {name: HIDDEN}


@pytest.mark.parametrize(
    "name",
    [
        "kind", "route", "user_id", "status", "status_code", "exit_code", "token_type",
        "expires_in", "password_length", "token_endpoint", "key", "idempotency_key", "request_id",
        "keyboard", "tokens_max", "encoded", "",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays_readable(name: str) -> None:
    assert redacted({name: "a value"}) == {name: "a value"}


@pytest.mark.parametrize(
    "text",
    [
        f"mongodb://mercato:{CANARY}@db.example:27017/?replicaSet=rs0",
        f"cannot reach nats://gateway:{CANARY}@10.0.0.7:4222",
        f"redis://:{CANARY}@127.0.0.1:6379/0 refuses",
        f"https://shop.example/reset?token={CANARY}&lang=en",
        f"GET /authorize?client_id=a&code={CANARY} HTTP/1.1",
        f"Authorization: Bearer {CANARY}",
        f"authorization=Basic {CANARY}",
        f'{{"password": "{CANARY}", "email": "ada@example.com"}}',
        f'{{\\"refresh_token\\":\\"{CANARY}\\"}}',
        f"AuthRequest(email='ada@example.com', password='{CANARY}')",
        f"current_password: {CANARY}",
        f"Cookie: theme=dark; session={CANARY}",
        f"password='my {CANARY} is long' and more",
        f"Set-Cookie: __Host-session={CANARY}; Path=/",
        f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.{CANARY} will not do",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----",
    ],
)
def test_a_secret_inside_a_text_is_known_by_its_form(text: str) -> None:
    assert CANARY not in without_secrets(text)


def test_a_secret_that_the_process_has_is_hidden_wherever_it_turns_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redaction, "_known", set())
    redaction.hide([CANARY, "short", ""])
    assert without_secrets(f"it was {CANARY}, was it?") == f"it was {HIDDEN}, was it?"
    assert without_secrets("a short word") == "a short word"


def test_nested_values_are_looked_into() -> None:
    seen = redacted({"detail": [{"password": CANARY}, f"token={CANARY}"], "count": 3, "ok": True})
    assert seen == {"detail": [{"password": HIDDEN}, f"token={HIDDEN}"], "count": 3, "ok": True}


def test_what_is_redacted_already_stays_as_it_is() -> None:
    dice = Random(27)
    pieces = [
        "password",
        "token",
        "=",
        ": ",
        "'",
        '"',
        "\\",
        "://",
        "@",
        "eyJ",
        ".",
        " ",
        "Bearer ",
        "x",
    ]
    for _ in range(2_000):
        once = without_secrets("".join(dice.choices(pieces, k=12)))
        assert without_secrets(once) == once


def test_a_long_text_is_redacted_in_little_time() -> None:
    for hostile in ("a=" * 50_000, "://" * 50_000, "eyJ" * 50_000, "Bearer " * 20_000):
        without_secrets(hostile)  # the test's own time limit is the claim
