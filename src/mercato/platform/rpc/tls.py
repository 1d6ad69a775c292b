"""Mutual TLS between the services: who we are, shown by a certificate, and whom we believe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from mercato.platform.settings import SettingsError


class Files(Protocol):
    """The settings that name our files."""

    @property
    def grpc_ca_file(self) -> str: ...
    @property
    def grpc_cert_file(self) -> str: ...
    @property
    def grpc_key_file(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM: the authority that signs every service's certificate, our certificate and its key."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, settings: Files) -> "Identity | None":
        """Reads the files that `settings` name; None when they name none.

        Raises SettingsError naming every file that is missing or is not what it should be.
        """
        named = {
            "GRPC_CA_FILE": settings.grpc_ca_file,
            "GRPC_CERT_FILE": settings.grpc_cert_file,
            "GRPC_KEY_FILE": settings.grpc_key_file,
        }
        if not any(named.values()):
            return None
        problems = [
            f"{name} is missing: mutual TLS needs all three" for name in named if not named[name]
        ]
        contents = {name: _read(name, path, problems) for name, path in named.items() if path}
        problems += _misfits(contents) if not problems else []
        if problems:
            raise SettingsError("the environment is wrong:\n  " + "\n  ".join(problems))
        return cls(*contents.values())

    def for_server(self) -> grpc.ServerCredentials:
        """Asks every caller for a certificate of our authority."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.authority, True)

    def for_client(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def _read(name: str, path: str, problems: list[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as failure:
        problems.append(f"{name}: {path}: {(failure.strerror or str(failure)).lower()}")
        return b""


def _misfits(contents: dict[str, bytes]) -> list[str]:
    """Says which of the three is no PEM of its kind, or that key and certificate are no pair."""
    problems: list[str] = []
    for name in ("GRPC_CA_FILE", "GRPC_CERT_FILE"):
        try:
            load_pem_x509_certificates(contents[name])
        except ValueError:
            problems.append(f"{name} holds no certificate (PEM)")
    try:
        key = load_pem_private_key(contents["GRPC_KEY_FILE"], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return [*problems, "GRPC_KEY_FILE holds no private key (PEM, without a password)"]
    if not problems:
        certificate = load_pem_x509_certificates(contents["GRPC_CERT_FILE"])[0]
        if certificate.public_key() != key.public_key():
            problems.append("GRPC_KEY_FILE is not the key of the certificate in GRPC_CERT_FILE")
    return problems
