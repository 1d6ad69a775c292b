"""The environment of the user service."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from mercato.platform.limits import Written
from mercato.platform.settings import Secret, StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings(StoreSettings):
    """The user service's environment.

    PRIVATE_REGISTRATION tells nobody who has an account. SEALING_SECRET seals the secrets of
    authenticators; without it JWT_SECRET does. The demo accounts are made in the embedded platform
    only.
    """

    port: int = 50053
    jwt_keys_file: str = ""  # the private keys that sign users' tokens
    private_registration: bool = False
    rate_limits: bool = True
    rate_limit_attempts: Written = "10/600s"  # failures of a login
    sealing_secret: Secret = Secret("")
    mailer_service: str = "127.0.0.1:50054"
    oidc_name: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,31}$")] = "openid"
    oidc_issuer: str = ""  # an outside OpenID provider to sign in through; empty: none
    oidc_client_id: str = ""  # what it knows us by
    oidc_client_secret: Secret = Secret("")
    demo_admin_email: str = ""
    demo_admin_password: Secret = Secret("")
    demo_admin_former: Secret = Secret("")  # passwords, between spaces, that give way to it
    demo_customer_email: str = ""
    demo_customer_password: Secret = Secret("")
    demo_customer_former: Secret = Secret("")

    def problems(self) -> Iterable[str]:
        if not self.oidc_issuer:
            return
        if not self.public_url:
            yield "OIDC_ISSUER needs PUBLIC_URL: the provider sends people back there"
        for name in ("oidc_client_id", "oidc_client_secret"):
            if not getattr(self, name):
                yield f"{name.upper()} is missing beside OIDC_ISSUER"
