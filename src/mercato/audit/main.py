"""The audit as a process, put together; it only reads."""

from mercato.audit import probes
from mercato.audit.settings import AuditSettings
from mercato.audit.watching import Watch
from mercato.platform import telemetry
from mercato.platform.mongo import Store
from mercato.platform.run import run, until_ready
from mercato.platform.settings import load

NAME = "audit"


async def main() -> None:
    """Audits until SIGTERM or SIGINT."""
    s = load(AuditSettings)
    telemetry.start(NAME, level=s.log_level, host=s.host, metrics_port=s.metrics_port)
    async with Store.open(s.mongo_uri, s.mongo_db_name) as store:
        await until_ready("mongo", store.ping)
        watch = Watch(store, s.audit_every_s)
        async with probes.listen(s.host, s.port, lambda: watch.trouble):
            await run(watch.run(), name=NAME)
