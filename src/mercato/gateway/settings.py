"""The gateway's environment."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from mercato.platform.limits import Written
from mercato.platform.settings import RedisDb, Secret, Settings

Header = Literal["x-forwarded-for", "forwarded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings(Settings):
    """The gateway's environment; DRAIN_S is how long it still listens once it says it is going.

    With TLS_CERT_FILE and TLS_KEY_FILE it speaks HTTPS, and nothing else.
    """

    port: int = 8080
    drain_s: Annotated[float, Meta(ge=0, le=300)] = 0.2
    inventory_service: str = "127.0.0.1:50051"
    order_service: str = "127.0.0.1:50052"
    user_service: str = "127.0.0.1:50053"
    mailer_service: str = "127.0.0.1:50054"
    nats_url: Secret = Secret("nats://127.0.0.1:4222")
    tls_cert_file: str = ""
    tls_key_file: str = ""
    trusted_proxies: str = ""  # CIDRs with commas: who may say for whom a request is made
    forwarded_header: Header = "x-forwarded-for"
    proxy_protocol: bool = False  # a balancer begins each connection with the client's address
    cors_origins: str = ""  # whose pages may read our answers: https://shop.example, with commas
    redis_addr: str = "127.0.0.1:6379"
    redis_password: Secret = Secret("")
    redis_db: RedisDb = 0
    rate_limits: bool = True
    # Of an address; where people are signed in, of each user, and their address has more.
    rate_limit_login: Written = "30/60s burst 20"
    rate_limit_register: Written = "60/3600s burst 30"
    rate_limit_reset: Written = "20/3600s burst 10"
    rate_limit_token: Written = "120/60s burst 60"  # noqa: S105
    rate_limit_order: Written = "60/60s burst 30"
    rate_limit_write: Written = "300/60s burst 100"
    rate_limit_read: Written = "6000/60s burst 1000"
    rate_limit_address_factor: Annotated[int, Meta(ge=1, le=1000)] = 10
    oidc_return_url: str = ""  # where a sign-in through a provider ends; empty: it answers JSON
