"""The audit as a process, put together; it only reads."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from mercato.audit import probes
from mercato.audit.watching import Watch
from mercato.platform import telemetry
from mercato.platform.mongo import Store
from mercato.platform.run import run, until_ready
from mercato.platform.settings import Secret, Settings, load

NAME = "audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings(Settings):
    """The audit's environment; it rests at least AUDIT_EVERY_S seconds between two audits."""

    port: int = 50055
    mongo_uri: Secret = Secret("mongodb://127.0.0.1:27017/?replicaSet=rs0")
    mongo_db_name: str = "ecommerce"
    audit_every_s: Annotated[float, Meta(gt=0)] = 60.0


async def main() -> None:
    """Audits until SIGTERM or SIGINT."""
    s = load(AuditSettings)
    telemetry.start(NAME, level=s.log_level, host=s.host, metrics_port=s.metrics_port)
    async with Store.open(s.mongo_uri, s.mongo_db_name) as store:
        await until_ready("mongo", store.ping)
        watch = Watch(store, s.audit_every_s)
        async with probes.listen(s.host, s.port, lambda: watch.trouble):
            await run(watch.run(), name=NAME)
