"""The gateway over HTTPS: what it speaks, whose certificate it shows, and how that is renewed."""

import asyncio
import os
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest

from mercato.embedded.secure.authority import Authority
from mercato.gateway.server import bound, serve
from mercato.gateway.tls import Certificate
from mercato.platform.settings import SettingsError
from mercato.platform.tasks import Tasks, end
from mercato.storm.wire import NoAnswer, Wire


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the scheme of the request."""
    headers = [(b"content-length", str(len(scope["scheme"])).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


def certified(folder: Path) -> tuple[Authority, Certificate]:
    authority = Authority(folder)
    cert, key = authority.certify("gateway", ["localhost", "127.0.0.1"])
    return authority, Certificate(cert, key)


async def shown(port: int, context: ssl.SSLContext) -> tuple[str, int]:
    """Returns the protocol's version and the serial number of the certificate that is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    version = writer.get_extra_info("ssl_object").version()
    serial = int(writer.get_extra_info("peercert")["serialNumber"], 16)
    writer.transport.abort()
    return version, serial


async def test_https_is_modern_and_takes_up_a_new_certificate(tmp_path: Path) -> None:
    authority, certificate = certified(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.file)
    listening, tasks = bound("127.0.0.1", 0), Tasks()
    port = listening.getsockname()[1]
    serving = tasks.start(serve(app, listening, lambda: None, 0, certificate))
    try:
        wire = Wire(port, trusting)
        assert (await wire.call("GET", "/")).body == b"https"
        version, before = await shown(port, trusting)
        assert version == "TLSv1.3"
        with pytest.raises(NoAnswer):
            await Wire(port).call("GET", "/")
        for weak in (old(authority), block_ciphers(authority)):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await shown(port, weak)
        authority.certify("gateway", ["localhost", "127.0.0.1", "shop.example"])
        certificate.look()
        assert (await shown(port, trusting))[1] != before
        assert (await wire.call("GET", "/")).body == b"https"  # on its open connection
        wire.close()
    finally:
        await end([serving])
        listening.close()


def old(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def block_ciphers(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AES:!AESGCM:!AESCCM:@SECLEVEL=0")
    return context


def test_a_wrong_renewal_is_left_alone(tmp_path: Path) -> None:
    authority, certificate = certified(tmp_path)
    path = tmp_path / "gateway.pem"
    path.write_bytes(authority.certify("order")[0].read_bytes())  # its key is another one
    os.utime(path, (1, 1))
    certificate.look()
    path.unlink()
    certificate.look()


def test_a_missing_or_wrong_file_stops_the_start_and_is_named(tmp_path: Path) -> None:
    authority, _ = certified(tmp_path)
    cert, key = map(str, authority.certify("gateway", ["localhost", "127.0.0.1"]))
    other = str(authority.certify("order")[1])
    nowhere = str(tmp_path / "none.pem")
    for given, problem in {
        (cert, ""): "TLS_KEY_FILE is missing",
        ("", key): "TLS_CERT_FILE is missing",
        (nowhere, key): f"TLS_CERT_FILE: {nowhere}: no such file",
        (cert, nowhere): f"TLS_KEY_FILE: {nowhere}: no such file",
        (key, cert): "TLS_CERT_FILE and TLS_KEY_FILE are no certificate",
        (cert, other): "key values mismatch",
    }.items():
        with pytest.raises(SettingsError, match=problem):
            Certificate.of(*given)
    assert Certificate.of("", "") is None
