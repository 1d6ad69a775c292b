"""`mercato clients`: who may ask users for access is registered by the operator."""

import json
from typing import Any

from tests.command import mercato
from tests.story.shop import Shop


async def test_a_client_is_registered_listed_and_removed(shop: Shop) -> None:
    where = ("--data-dir", str(shop.platform.data_dir))
    told = mercato(
        "clients", "add", "Ada's [bold]ledger", "--redirect-uri", "https://ledger.example/back",
        "--scope", "openid", "--scope", "orders:read", "--json", *where,
    )  # fmt: skip
    added = json.loads(told.stdout)
    listed = json.loads(mercato("clients", "list", "--json", *where).stdout)
    (mine,) = (each for each in listed if each["client_id"] == added["client_id"])
    assert mine == {name: value for name, value in added.items() if name != "secret"}
    assert (mine["scopes"], mine["public"]) == (["openid", "orders:read"], False)
    shown = mercato("clients", "list", *where).stdout
    assert "Ada's [bold]ledger" in shown
    assert added["secret"] not in shown
    gone = mercato("clients", "remove", added["client_id"], *where)
    assert gone.returncode == 0
    again = mercato("clients", "remove", added["client_id"], *where)
    assert (again.returncode, "no such client" in again.stderr) == (1, True)


async def test_what_is_wrong_with_a_client_is_told(shop: Shop) -> None:
    told = mercato(
        "clients", "add", "Nobody's", "--redirect-uri", "http://elsewhere.example/",
        "--scope", "root", "--data-dir", str(shop.platform.data_dir),
    )  # fmt: skip
    assert told.returncode == 1
    assert "redirect_uris[0]" in told.stderr
    assert "'root' is no scope" in told.stderr


async def test_what_the_operator_does_to_keys_and_clients_leaves_events(shop: Shop) -> None:
    where = ("--json", "--data-dir", str(shop.platform.data_dir))
    added = json.loads(
        mercato("clients", "add", "Short-lived", "--grant", "client_credentials", "--scope",
                "orders:read", *where).stdout
    )  # fmt: skip
    mercato("clients", "remove", added["client_id"], *where)
    (newest, *_) = events("client.removed", where)
    assert newest["detail"] == {"client_id": added["client_id"], "name": "Short-lived"}
    rotated = json.loads(mercato("keys", "rotate", *where).stdout)
    disowned = json.loads(mercato("keys", "disown", rotated["id"], *where).stdout)
    assert (rotated["recorded"], disowned["recorded"]) == (True, True)
    last, before, *_ = events("key.rotated", where)
    assert last["detail"] == {"disowned": rotated["id"], "key": disowned["successor"]}
    assert before["detail"] == {"key": rotated["id"], "algorithm": "ES256"}
    assert before["actor"] == "service:cli"


def events(kind: str, where: tuple[str, ...]) -> list[dict[str, Any]]:
    told = mercato("security", "events", "--kind", kind, *where)
    return list(json.loads(told.stdout))
