"""The environment of the inventory service."""

from dataclasses import dataclass

from mercato.platform.settings import StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class InventorySettings(StoreSettings):
    """The inventory service's environment."""

    port: int = 50051
