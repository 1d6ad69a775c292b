"""The gateway's environment."""

from dataclasses import dataclass
from typing import Literal

from mercato.platform.settings import Secret, Settings

Header = Literal["x-forwarded-for", "forwarded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings(Settings):
    """The gateway's environment; DRAIN_S is how long it still listens once it says it is going.

    With TLS_CERT_FILE and TLS_KEY_FILE it speaks HTTPS, and nothing else.
    """

    port: int = 8080
    drain_s: float = 0.2
    inventory_service: str = "127.0.0.1:50051"
    order_service: str = "127.0.0.1:50052"
    user_service: str = "127.0.0.1:50053"
    mailer_service: str = "127.0.0.1:50054"
    nats_url: Secret = Secret("nats://127.0.0.1:4222")
    tls_cert_file: str = ""
    tls_key_file: str = ""
    trusted_proxies: str = ""  # CIDRs with commas: who may say for whom a request is made
    forwarded_header: Header = "x-forwarded-for"
    oidc_return_url: str = ""  # where a sign-in through a provider ends; empty: it answers JSON
