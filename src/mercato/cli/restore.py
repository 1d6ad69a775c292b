"""`mercato restore`: a backup into the database of a platform that does not run, and audited."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from pymongo.errors import PyMongoError

from mercato import backup as backups
from mercato.audit.auditing import verify
from mercato.audit.model import Finding, Grace
from mercato.backup import BackupError, Change, Manifest, Restore
from mercato.backup.outside import clear_cache, empty_stream
from mercato.cli.backup import progress, totals
from mercato.cli.offline import patient, resting
from mercato.cli.stores import stream
from mercato.cli.terminal import DataDir, Json, console, errors, one_line, say_json
from mercato.embedded import state
from mercato.embedded.errors import PlatformError
from mercato.kernel.clock import now, rfc3339
from mercato.mailer.model import State
from mercato.platform.mongo import Store
from mercato.platform.settings import StoreSettings

WAITING = (State.NEW, State.DOT)
FINDINGS_SHOWN_MAX = 20
DOUBT = "restored from a backup: it may have gone out since"


class Outcome(msgspec.Struct):
    """What a restore did."""

    manifest: Manifest
    replaced: dict[str, int]
    parked_mails: int
    cleared_cache_keys: int
    deleted_messages: int
    holds: bool = False
    findings: list[Finding] = []


def restore(
    folder: Annotated[Path, Parameter(help="The folder of a backup.")],
    /,
    *,
    replace: Annotated[bool, Parameter(help="Replace what the database has now.")] = False,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask.")] = False,
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
    json: Json = False,
) -> int:
    """Bring a backup back into the database of a platform that is stopped, and verify it."""
    try:
        manifest = backups.read(folder)
        with progress("checked", shown=not json) as tell:
            backups.check(folder, manifest, tell)
    except BackupError as failure:
        raise PlatformError(str(failure), failure.remedy) from failure
    return asyncio.run(Restoring(folder, manifest, replace, yes, json).run(data_dir))


class Restoring:
    """One restore, from the checked files to the verdict."""

    def __init__(
        self, folder: Path, manifest: Manifest, replace: bool, yes: bool, json: bool
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._replace = replace
        self._yes = yes
        self._json = json

    async def run(self, data_dir: Path) -> int:
        """Returns 0 when the restored database is in order, else 1."""
        async with resting(data_dir) as s, patient(s, "restore") as store:
            if s.mongo_db_name != self._manifest.database:
                raise PlatformError(
                    f"the backup is of the database {self._manifest.database}, "
                    f"and this is {s.mongo_db_name}", "set MONGO_DB_NAME"
                )  # fmt: skip
            step = Restore(store, self._folder, self._manifest)
            await _alone(step)
            replaced = await self.agreed(step)
            try:
                outcome = await self._prepare(s, step, replaced)
            except BaseException:
                await step.drop()
                raise
            await _switched(step)
            return await self._verified(store, outcome)

    async def agreed(self, step: Restore) -> dict[str, int]:
        """Returns what will be replaced; raises PlatformError unless that is wanted."""
        present = await step.present()
        if not present and not await step.halfway():
            return {}
        names = ", ".join(f"{name} ({count})" for name, count in present.items())
        names = names or "what an earlier restore has left"
        if not self._replace:
            raise PlatformError(f"the database is not empty: {names}", "replace it: --replace")
        errors.print(f"to be replaced, for good: {names}", markup=False)
        if not self._yes:
            if not sys.stdin.isatty():
                raise PlatformError("nobody can be asked", "say it beforehand: --yes")
            if errors.input("type yes to replace it: ").strip() != "yes":
                raise PlatformError("nothing was replaced")
        return present

    async def _prepare(self, s: StoreSettings, step: Restore, replaced: dict[str, int]) -> Outcome:
        """Brings all of it beside what is there, and makes cache and stream forget."""
        with progress("brought back", shown=not self._json) as tell:
            changed = await step.load({"mails": _doubtful(), "sessions": _over()}, tell)
        await _alone(step)
        cleared = await clear_cache(s.redis_addr, password=s.redis_password, database=s.redis_db)
        async with stream(s) as bus:
            deleted = await empty_stream(bus)
        return Outcome(self._manifest, replaced, changed.get("mails", 0), cleared, deleted)

    async def _verified(self, store: Store, outcome: Outcome) -> int:
        """Audits what is there now, as of the backup's time: what was young then is young."""
        age = now() - self._manifest.taken_at
        grace = Grace(young=Grace().young + age, late=Grace().late + age)
        report = await verify(store, grace=grace)
        outcome.holds, outcome.findings = report.holds, report.findings
        if self._json:
            say_json(outcome)
        else:
            _tell(outcome)
        return 0 if report.holds else 1


def _tell(outcome: Outcome) -> None:
    documents, _ = totals(outcome.manifest)
    at = rfc3339(outcome.manifest.taken_at)
    console.print(f"{documents} documents are back, as they were at {at}")
    keys, messages = outcome.cleared_cache_keys, outcome.deleted_messages
    console.print(f"forgotten: {keys} keys in Redis, {messages} messages")
    if outcome.parked_mails:
        doubt = "may have gone out since: mercato mail parked"
        console.print(f"{outcome.parked_mails} mails {doubt}")
    for each in outcome.findings[:FINDINGS_SHOWN_MAX]:
        console.print(one_line(f"{each.severity}: {each.check} {each.subject}: {each.detail}"))
    holds = "every promise holds" if outcome.holds else "the backup was not in order"
    console.print(f"verified: {holds}")


async def _switched(step: Restore) -> None:
    try:
        await step.switch()
    except PyMongoError as failure:
        raise PlatformError(
            f"the database is part old and part restored: {failure}",
            "start nothing on it; restore once more, with --replace",
        ) from failure


async def _alone(step: Restore) -> None:
    writers = await step.writers()
    if writers:
        raise PlatformError(
            f"services have {writers} connections to this database", "stop them, then restore"
        )


def _doubtful() -> Change:
    """Mails that waited may have gone out after the backup: parked, to be looked for."""
    parked: dict[str, Any] = {"state": State.PARKED, "not_before": now(), "reason": DOUBT}
    return Change({"state": {"$in": WAITING}}, {"$set": parked, "$unset": {"lease": ""}})


def _over() -> Change:
    """Sessions that lived may have been ended after the backup: all of them end."""
    return Change({"ended_at": None}, {"$set": {"ended_at": now(), "expires_at": now()}})
