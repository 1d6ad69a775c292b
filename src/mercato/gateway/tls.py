"""HTTPS: the gateway's certificate and key, taken up anew when their files change."""

import asyncio
import ssl
from pathlib import Path
from typing import Any, Final

import structlog

from mercato.platform.settings import SettingsError

LOOK_S: Final = 10.0
# TLS 1.2 with forward secrecy and authenticated encryption alone; TLS 1.3 has no other
# (https://www.rfc-editor.org/rfc/rfc9325, 4.2).
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

log = structlog.get_logger()


class Certificate:
    """What the gateway shows to its callers: `context` is for the server's socket."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises SettingsError naming the file that is missing or wrong."""
        self._files = (certificate, key)
        self.context = _context()
        self._seen = self._times()
        try:
            self._load(_context())  # what is wrong is told before anything listens
            self._load(self.context)
        except OSError as failure:
            raise SettingsError(f"the environment is wrong:\n  {self._problem(failure)}") from None

    @classmethod
    def of(cls, cert_file: str, key_file: str) -> "Certificate | None":
        """The files that TLS_CERT_FILE and TLS_KEY_FILE name; None when neither is given."""
        if not cert_file and not key_file:
            return None
        if not cert_file or not key_file:
            missing = "TLS_KEY_FILE" if cert_file else "TLS_CERT_FILE"
            raise SettingsError(f"the environment is wrong:\n  {missing} is missing")
        return cls(Path(cert_file), Path(key_file))

    async def renew(self) -> None:
        """Looks for new files, for ever; those that are wrong are logged and left alone."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Takes up files that have changed; connections that are open keep what they have."""
        times = self._times()
        if times == self._seen:
            return
        try:
            self._load(_context())  # a pair of which only one half is new must not be taken up
            self._load(self.context)
        except OSError as failure:
            log.error("the new certificate is not taken up", why=self._problem(failure))
        else:
            log.info("a new certificate is taken up")
        self._seen = times

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(*self._files)

    def _times(self) -> list[float]:
        return [path.stat().st_mtime if path.exists() else 0.0 for path in self._files]

    def _problem(self, failure: OSError) -> str:
        for name, path in zip(("TLS_CERT_FILE", "TLS_KEY_FILE"), self._files, strict=True):
            try:
                path.read_bytes()
            except OSError as unread:
                return f"{name}: {path}: {(unread.strerror or str(unread)).lower()}"
        reason = getattr(failure, "reason", None) or "no PEM"
        return (
            f"TLS_CERT_FILE and TLS_KEY_FILE are no certificate (PEM) and its key without a "
            f"password: {str(reason).replace('_', ' ').lower()}"
        )


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def context_of(certificate: Certificate | None) -> dict[str, Any]:
    """Returns uvicorn's options for this certificate; none for plain HTTP."""
    if certificate is None:
        return {}
    return {"ssl_context_factory": lambda _config, _default: certificate.context}
