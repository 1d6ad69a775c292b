"""The audit's environment."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from mercato.platform.settings import Secret, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings(Settings):
    """The audit's environment; it rests at least AUDIT_EVERY_S seconds between two audits."""

    port: int = 50055
    mongo_uri: Secret = Secret("mongodb://127.0.0.1:27017/?replicaSet=rs0")
    mongo_db_name: str = "ecommerce"
    audit_every_s: Annotated[float, Meta(gt=0)] = 55.0
