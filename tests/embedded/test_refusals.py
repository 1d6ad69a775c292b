"""What `mercato` is given and cannot use: one line that says so, and nothing left behind."""

import socket
from pathlib import Path

import pytest

from mercato.embedded import state
from mercato.embedded.home import prepare
from mercato.platform.settings import SECRET_SHOWN
from tests import command
from tests.embedded.test_up import mercato, up

NOWHERE = {"MONGO_URI": "mongodb://me:hush@127.0.0.1:9/?replicaSet=rs0"}


@pytest.mark.parametrize(
    ("words", "data_dir", "code", "said"),
    [
        ("up --port -1", "new", 2, "--port"),
        ("up --secure --plain", "new", 2, "--secure and --plain exclude each other"),
        ("up --secure --cluster", "new", 2, "secure mode is for a single platform"),
        ("up --detach --secure --cluster", "new", 2, "secure mode is for a single platform"),
        ("up --port 99999999", "new", 2, "--port"),
        ("doctor --port 99999999", "new", 2, "--port"),
        ("up", "", 2, "--data-dir: it is empty"),
        ("status", "", 2, "--data-dir: it is empty"),
        ("up", "/dev/null", 1, "/dev/null is no folder"),
        ("up --detach", "/dev/null/deeper", 1, "/dev/null is no folder"),
        ("up", "file", 1, "file is no folder"),
        ("up --detach", "file", 1, "file is no folder"),
        ("up", "folder", 1, "logs is no folder"),
        ("status", "/dev/null", 3, "no Mercato is running in /dev/null"),
        ("logs", "/dev/null", 3, "no log"),
        ("logs order", "new", 3, "no log of any part in new"),
        ("down", "new", 0, "no Mercato was running in new"),
        ("demo --url http://127.0.0.1:9", "new", 1, ":9 does not answer: Connection refused\n"),
        ("mail resolve x", "new", 2, "--sent or --send-again"),
        ("logs -n -1", "new", 2, "-n"),
        ("restore missing", "new", 1, "missing is no backup: it is no folder"),
        ("restore folder", "new", 1, "folder/manifest.json: No such file"),
        ("storm --report new", "full", 2, "full is not empty"),
        ("storm --faults all,mail", "new", 2, "'all' is none of"),
        ("demo --url http://127.0.0.1:x", "new", 2, "is no URL"),
    ],
)
def test_what_cannot_be_used_is_refused_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, data_dir: str, code: int, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "logs").touch()
    (tmp_path / "full" / "of").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    refused = command.mercato(*words.split(), "--data-dir", data_dir)
    assert refused.returncode == code
    assert said in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("serve order", {"MONGO_URI": "http://hush"}),
        ("serve order", {"REDIS_ADDR": "nonsense"}),
        ("serve gateway", {"NATS_URL": "ftp://hush"}),
        ("serve gateway", {"INVENTORY_SERVICE": "::"}),
        ("up", {"LOG_LEVEL": "loud"}),
        ("up", {"ORDER_HOLD_S": "-3", "AUDIT_EVERY_S": "x", "CURRENCY": "EURO"}),
        ("up --detach", {"SMTP_FROM": "nobody", "SMTP_CONNECTIONS": "many", "CACHE_TTL_S": "0"}),
        ("storm", {"DRAIN_S": "soon", "METRICS_PORT": "-1"}),
        ("up --detach", {"MONGO_URI": "http://hush"}),
        ("up", {"PORT": "80801", "CURRENCY": "EURO"}),
        ("up", {"JWT_SECRET": "hush", "SMTP_CONNECTIONS": "0", "DRAIN_S": "nan", "REDIS_DB": "-1"}),
        ("serve gateway", {"DRAIN_S": "-1", "REDIS_DB": "-1"}),
        ("up", {"HOST": "999.1.1.1", "REDIS_DB": "-1"}),
        ("up --detach", {"HOST": "127.0.0.2"}),
        ("up", {"TLS_CERT_FILE": "a.pem", "TLS_KEY_FILE": "a.key"}),
        ("up --secure --detach", {"GRPC_CA_FILE": "a.pem", "REDIS_DB": "-1"}),
        ("up", {"JWT_KEYS_FILE": "private.json", "JWT_JWKS_FILE": "public.json"}),
        ("doctor", {"PORT": "80801"}),
    ],
)
def test_a_wrong_environment_is_exit_code_2_and_no_traceback(
    tmp_path: Path, words: str, given: dict[str, str]
) -> None:
    where = ("--data-dir", str(tmp_path))
    refused = command.mercato(*words.split(), *where, environment=given)
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in given)
    assert "hush" not in refused.stderr
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("host", ["999.1.1.1", "127.0.0.1"])
def test_a_gateway_that_cannot_listen_says_so_in_one_line(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {"HOST": host, "PORT": port, "JWT_SECRET": "s" * 32}
        refused = command.mercato("serve", "gateway", environment=given)
    assert refused.returncode == 2
    assert f"cannot listen on {host} port {port}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("words", ["up", "up --detach --quiet"])
def test_a_server_of_yours_that_is_away_stops_up_and_leaves_nothing(
    tmp_path: Path, words: str
) -> None:
    refused = mercato(*words.split(), data_dir=tmp_path, given=NOWHERE)
    assert refused.returncode == 1
    assert "MONGO_URI (127.0.0.1:9): connection refused" in refused.stderr
    assert "hush" not in refused.stderr
    known = state.read(tmp_path)
    assert known is None or not known.alive


def test_a_folder_that_was_there_keeps_its_gitignore(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / ".gitignore").write_text("build/\n")
    (tmp_path / "bare").mkdir()
    for name in ("theirs", "bare", "ours"):
        prepare(tmp_path / name)
    assert (tmp_path / "theirs" / ".gitignore").read_text() == "build/\n"
    assert not (tmp_path / "bare" / ".gitignore").exists()
    assert (tmp_path / "ours" / ".gitignore").read_text() == "*\n"


def test_a_folder_may_have_any_name_and_the_shown_secret_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET_SHOWN)
    home = tmp_path / "jürgen müller" / 'a "quoted" \\ name'
    with up(home, "--port", "0"):
        known = state.running(home)
        assert known.ready
        assert known.environment["JWT_SECRET"] == SECRET_SHOWN


@pytest.mark.parametrize("given", ["environment", ".env"])
def test_a_port_is_that_of_the_option_or_else_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        asked, named = (str(each.getsockname()[1]) for each in (one, two))
        environment = {"PORT": named} if given == "environment" else {}
        if not environment:
            (tmp_path / ".env").write_text(f"PORT={named}\n")
        for words, port in (((), named), (("--port", asked), asked)):
            refused = command.mercato("up", *words, "--data-dir", "new", environment=environment)
            assert f"port {port} is taken" in refused.stderr
            examined = command.mercato("doctor", *words, environment=environment)
            assert f"port {port}" in examined.stdout
            assert "taken by" in examined.stdout


def test_a_taken_port_leaves_no_folder_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (("up",), ("up", "--detach")):
            refused = command.mercato(*words, "--port", port, "--data-dir", str(tmp_path / "new"))
            assert (refused.returncode, f"port {port} is taken" in refused.stderr) == (1, True)
    assert not list(tmp_path.iterdir())
