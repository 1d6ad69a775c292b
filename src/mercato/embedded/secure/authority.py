"""Our own certificate authority: made once, and a certificate for each service, with its name."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mercato.embedded.errors import PlatformError
from mercato.embedded.state import write_private

AUTHORITY_LIFE: Final = timedelta(days=3650)
LIFE: Final = timedelta(days=397)
RENEWED_BEFORE: Final = timedelta(days=60)
CLOCKS_DIFFER: Final = timedelta(minutes=5)
CA_FILE: Final = "ca.pem"


class Authority:
    """The authority in `folder`: its `ca.pem` is for everybody, `ca.key` stays there."""

    def __init__(self, folder: Path) -> None:
        """Reads the authority, or makes it when there is none; raises PlatformError."""
        self.folder = folder
        self.file = folder / CA_FILE
        if self.file.exists():
            self._key, self._certificate = _read(folder, "ca")
            if not _fresh(self._certificate):
                raise PlatformError(
                    f"the certificate authority in {folder} is at its end",
                    f"stop everything and remove {folder}: a new one is made at the next start",
                )
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Mercato authority")
        self._certificate = (
            _draft(name, name, self._key, AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _write(folder, "ca", self._key, self._certificate)

    def certify(
        self, name: str, others: Sequence[str] = (), *, life: timedelta = LIFE
    ) -> tuple[Path, Path]:
        """Returns the files of a certificate for `name` and of its key.

        What is there is kept until its end is near or it names others. `others` are further names
        and addresses that it holds for.
        """
        names = x509.SubjectAlternativeName([_general(each) for each in (name, *others)])
        if not self._good(name, names):
            own = ec.generate_private_key(ec.SECP256R1())
            draft = (
                _draft(_name(name), self._certificate.subject, own, life)
                .add_extension(names, critical=False)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(_usage(signs_certificates=False), critical=True)
                .add_extension(
                    x509.ExtendedKeyUsage(
                        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                    ),
                    critical=False,
                )
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                    critical=False,
                )
            )
            _write(self.folder, name, own, draft.sign(self._key, hashes.SHA256()))
        return self.paths(name)

    def paths(self, name: str) -> tuple[Path, Path]:
        """Where the certificate of `name` and its key are."""
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _good(self, name: str, names: x509.SubjectAlternativeName) -> bool:
        """Whether there is a certificate of ours for these names that is good for a while."""
        try:
            key, certificate = _read(self.folder, name)
            certificate.verify_directly_issued_by(self._certificate)
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except Exception:  # noqa: BLE001 - whatever is wrong with it: it is made anew
            return False
        pair = certificate.public_key() == key.public_key()
        return pair and found.value == names and _fresh(certificate)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER + min(life, timedelta()))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _fresh(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - datetime.now(UTC) > RENEWED_BEFORE


def _read(folder: Path, name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
    except (OSError, ValueError) as failure:
        raise PlatformError(
            f"the certificate {name} in {folder} cannot be read: {failure}",
            f"stop everything and remove {folder}: it is made anew at the next start",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PlatformError(f"{folder / name}.key is no key of ours", f"remove {folder}")
    return key, certificate


def _write(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / f"{name}.key", pem)
    write_private(folder / f"{name}.pem", certificate.public_bytes(Encoding.PEM))
