"""Over STARTTLS, TLS and with a login, as real mail servers want it."""

import datetime
import ssl
from collections.abc import Awaitable, Callable
from email.headerregistry import Address
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult
from aiosmtplib import SMTPException
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mercato.mailer.composing import Composer
from mercato.mailer.main import mail_server
from mercato.mailer.model import State
from mercato.mailer.settings import MailerSettings, Tls
from mercato.mailer.smtp import MailServer, Post
from mercato.platform.settings import Secret, SettingsError, load
from tests.mailer.conftest import a_mail
from tests.mailer.sink import LOOPBACK, Sink

SECRET = "x" * 32


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the loopback address, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LOOPBACK)])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


async def yes() -> bool:
    return True


def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"ada", b"pass word"))


Listen = Callable[[Tls], Awaitable[MailServer]]


@pytest.fixture
async def listen(sink: Sink, certificate: Path) -> Listen:
    """Restarts the sink so that it wants a login, over the given kind of TLS."""

    async def listen(tls: Tls) -> MailServer:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        await sink.stop()
        sink.options = {"authenticator": login}
        if tls == "starttls":
            sink.options |= {"tls_context": context, "require_starttls": True}
            sink.options |= {"auth_required": True}
        else:
            sink.options |= {"ssl": context, "auth_require_tls": False}
        await sink.start()
        return MailServer(
            host=LOOPBACK, port=sink.port, username="ada", password="pass word", tls=tls
        )

    return listen


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_mail_goes_out_encrypted_and_with_a_login(
    listen: Listen,
    tls: Tls,
    sink: Sink,
    compose: Composer,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await listen(tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    post = Post(server)
    await post.connect()
    assert (await post.deliver(compose(a_mail()), yes)).state is State.SENT
    assert (await post.deliver(compose(a_mail()), yes)).state is State.SENT
    await post.quit()
    assert len(sink.contents) == 2


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_an_unknown_certificate_is_refused(listen: Listen, tls: Tls, sink: Sink) -> None:
    post = Post(await listen(tls))
    with pytest.raises((SMTPException, OSError)):
        await post.connect()
    post.close()
    assert sink.contents == []


async def test_no_login_is_told_to_a_server_without_starttls(sink: Sink) -> None:
    post = Post(
        MailServer(host=LOOPBACK, port=sink.port, username="ada", password="p", tls="starttls")
    )
    with pytest.raises(SMTPException):
        await post.connect()


def settings(**given: str) -> MailerSettings:
    return load(MailerSettings, {"JWT_SECRET": SECRET, **given})


@pytest.mark.parametrize(
    ("given", "tls", "port"),
    [
        ({}, "none", 25),
        ({"SMTP_USERNAME": "ada", "SMTP_PASSWORD": "p"}, "starttls", 587),
        ({"SMTP_TLS": "tls"}, "tls", 465),
        ({"SMTP_TLS": "starttls"}, "starttls", 587),
        ({"SMTP_TLS": "none", "SMTP_USERNAME": "ada", "SMTP_PORT": "2525"}, "none", 2525),
    ],
)
def test_the_environment_decides_about_tls_and_port(
    given: dict[str, str], tls: str, port: int
) -> None:
    server = mail_server(settings(**given))
    assert (server.tls, server.port) == (tls, port)


def test_the_sender_is_read_from_the_environment() -> None:
    assert settings(SMTP_FROM="The Shop <hello@shop.example>").sender == Address(
        "The Shop", addr_spec="hello@shop.example"
    )
    assert settings(SMTP_FROM="hello@shop.example").sender.addr_spec == "hello@shop.example"


@pytest.mark.parametrize(
    "given",
    [
        *({"SMTP_TLS": "ssl"}, {"SMTP_PORT": "none"}, {"SMTP_FROM": "nobody"}),
        *({"SMTP_FROM": "a@b.example, c@d.example"}, {"MAILBOX_API": "file:///etc/passwd"}),
    ],
)
def test_a_wrong_environment_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        settings(**given)


def test_no_password_is_ever_shown() -> None:
    read = settings(SMTP_PASSWORD="hunter2", SMTP_USERNAME="ada")
    assert isinstance(read.smtp_password, Secret)
    assert "hunter2" not in repr(read) + repr(mail_server(read))
