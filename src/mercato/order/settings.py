"""The environment of the order service."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from mercato.platform.settings import StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSettings(StoreSettings):
    """The order service's environment.

    ORDER_HOLD_S is how long a pending order may hold its stock before it is called off; 0: for
    ever.
    """

    port: int = 50052
    inventory_service: str = "127.0.0.1:50051"
    user_service: str = "127.0.0.1:50053"
    mailer_service: str = "127.0.0.1:50054"
    order_hold_s: Annotated[int, Meta(ge=0)] = 0
