"""The shop's commands from the outside, against a running platform."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from mercato.cli.rest import Rest
from mercato.embedded.supervisor import Platform
from tests import command

FILE = """sku,title,price,stock
A-1,Mug,12.90,7
A-2,Cup,x,1
A-3,Pot,30,2
A-1,Another mug,1,1
"""


def mercato(
    platform: Platform | None, *words: str, stdin: str = "", environment: Mapping[str, str] = {}
) -> CompletedProcess[str]:
    where = ("--data-dir", str(platform.data_dir)) if platform else ()
    return command.mercato(*words, *where, stdin=stdin, environment=environment)


def catalogue(platform: Platform, query: str) -> list[dict[str, Any]]:
    answer = Rest(platform.urls["gateway"]).call("GET", f"/api/inventory?{query}&limit=100")
    found: list[dict[str, Any]] = answer.body["products"]
    return found


async def test_an_admin_is_made_and_signs_in(platform: Platform) -> None:
    words = ("admin", "create", "--email", "Boss@example.com")
    made = mercato(platform, *words, "--json", stdin="a-good-password\n")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["role"] == "admin"
    login = {"email": "boss@example.com", "password": "a-good-password"}
    shop = Rest(platform.urls["gateway"])
    token = shop.call("POST", "/api/users/authenticate", login).body["token"]
    assert shop.signed_in(token).call("GET", "/api/users/me").body["role"] == "admin"
    again = mercato(platform, *words, "--password", "a-good-password")
    assert again.returncode == 1
    assert "another account has this e-mail address" in again.stderr


@pytest.mark.parametrize("password", ["short", "iloveyou"])
async def test_a_bad_password_is_refused_before_it_is_sent(password: str) -> None:
    environment = {"JWT_SECRET": "x" * 32, "USER_SERVICE": "127.0.0.1:1"}
    words = ("admin", "create", "--email", "nobody", "--password", password)
    refused = mercato(None, *words, "--data-dir", "/nonexistent", environment=environment)
    assert refused.returncode == 2
    assert "password: " in refused.stderr
    assert "email: " in refused.stderr


async def test_the_seed_fills_the_shelves_and_again_puts_them_back(platform: Platform) -> None:
    first = json.loads(mercato(platform, "seed", "--json").stdout)
    assert first["products"] == first["lines"] >= 60
    second = json.loads(mercato(platform, "seed", "--json").stdout)
    assert (second["created"], second["updated"]) == (0, first["products"])
    found = catalogue(platform, "category=stationery")
    seeded = [each for each in found if each.get("sku", "").startswith("STA-")]
    assert len(seeded) == 8
    assert all(each["description"] and each["price"] > 0 for each in seeded)


async def test_an_import_keeps_the_good_lines_and_reports_the_bad(
    platform: Platform, tmp_path: Path
) -> None:
    path, bad = tmp_path / "shop.csv", tmp_path / "bad.csv"
    path.write_text(FILE)
    words = ("import", "products", str(path), "--column", "name=title", "--category", "import-test")
    checked = mercato(platform, *words, "--dry-run", "--json")
    assert checked.returncode == 1
    # another list than the one below: the gateway may show the same one for a second
    assert catalogue(platform, "category=import-test&sort=name") == []
    imported = mercato(platform, *words, "--errors", str(bad))
    assert imported.returncode == 1
    assert imported.stderr.startswith("line 3: price: must be an amount")
    with bad.open(newline="") as file:
        assert [(row["line"], row["sku"]) for row in csv.DictReader(file)] == [("3", "A-2")]
    found = {each["sku"]: each for each in catalogue(platform, "category=import-test")}
    assert {sku: (p["name"], p["stock"]) for sku, p in found.items()} == {
        "A-1": ("Mug", 7), "A-3": ("Pot", 2),
    }  # fmt: skip


async def test_an_import_finds_in_a_dry_run_what_it_would_find(platform: Platform) -> None:
    words = ("import", "products", "-", "--column", "name=title", "--json")
    checked = json.loads(mercato(platform, *words, "--dry-run", stdin=FILE).stdout)
    imported = json.loads(mercato(platform, *words, stdin=FILE).stdout)
    assert checked["errors"] == imported["errors"] != []
    same = ("lines", "products", "repeated", "differing", "bad")
    assert [checked[name] for name in same] == [imported[name] for name in same] == [4, 2, 1, 1, 1]
    assert checked["created"] + checked["updated"] == 0


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("no-such-file.csv",), ""),
        (("-",), "a,b\n1,2\n"),
        (("-", "-c", "colour=x"), FILE),
        (("-", "--delimiter", ";;"), FILE),
        (("-", "--encoding", "utf-16"), FILE),
        (("-", "--encoding", "idna"), FILE),
        (("-", "--stock", "-1"), FILE),
        ((), ""),
    ],
)
def test_an_import_of_what_is_no_product_file_is_a_usage_error(
    words: tuple[str, ...], stdin: str
) -> None:
    refused = mercato(None, "import", "products", *words, "--dry-run", stdin=stdin)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_an_import_never_overwrites_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(FILE)
    words = ("import", "products", str(path), "-c", "name=title", "--dry-run")
    assert mercato(None, *words, "--errors", str(path)).returncode == 2
    assert path.read_text() == FILE


async def test_the_demo_shows_all_it_promises_and_leaves_nothing(platform: Platform) -> None:
    before = len(catalogue(platform, "category=demo"))
    walked = mercato(platform, "demo", "--json")
    result = json.loads(walked.stdout)
    assert walked.returncode == 0, result["steps"][-1]
    assert len(result["steps"]) >= 15
    assert not any("not looked for" in step["seen"] for step in result["steps"])
    assert len(catalogue(platform, "category=demo")) == before


async def test_a_demo_that_breaks_its_word_says_where(platform: Platform) -> None:
    login = ("--email", "customer@mercato.example", "--password", "mercato-customer-demo")
    walked = mercato(platform, "demo", *login)
    assert walked.returncode == 1
    assert "403 instead of 201" in walked.stderr.splitlines()[0]


async def test_without_a_platform_there_is_one_clear_line(tmp_path: Path) -> None:
    commands = ("seed", "demo", "admin create --email a@example.com", "restart", "verify")
    for words in (*commands, "events dead", "mail parked"):
        refused = mercato(None, *words.split(), "--data-dir", str(tmp_path / "none"))
        assert refused.returncode == 3
        assert refused.stderr.startswith("error: no Mercato is running in ")
        assert "mercato up" in refused.stderr
        assert "Traceback" not in refused.stderr


async def test_a_failure_is_told_to_programs_in_one_way_by_every_command(tmp_path: Path) -> None:
    commands = ("seed", "demo", "admin create --email a@example.com --password p", "restart")
    running = (*commands, "verify", "events dead", "mail parked", "security events", "clients list")
    for words in running:
        refused = mercato(None, *words.split(), "--json", "--data-dir", str(tmp_path / "none"))
        told = json.loads(refused.stdout)
        assert (refused.returncode, set(told)) == (3, {"error", "remedy", "fields"})
        assert told["error"].startswith("no Mercato is running in ")
        assert "mercato up" in told["remedy"]
    missing = mercato(None, "import", "products", "none.csv", "--json", "--dry-run")
    assert "none.csv" in json.loads(missing.stdout)["error"]
    environment = {"JWT_SECRET": "x" * 32, "USER_SERVICE": "127.0.0.1:1"}
    bad = ("admin", "create", "--email", "nobody", "--password", "short", "--json")
    refused = mercato(None, *bad, "--data-dir", "/nonexistent", environment=environment)
    assert {each["field"] for each in json.loads(refused.stdout)["fields"]} == {"email", "password"}


@pytest.mark.parametrize("words", ["seed", "demo", "admin create", "import products"])
def test_help_has_examples(words: str) -> None:
    shown = mercato(None, *words.split(), "--help")
    assert shown.returncode == 0
    assert f"  mercato {words}" in shown.stdout
