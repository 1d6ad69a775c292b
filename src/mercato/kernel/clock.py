"""Times: UTC, to the millisecond (what MongoDB keeps), written as RFC 3339."""

from datetime import UTC, datetime


def now() -> datetime:
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def rfc3339(at: datetime) -> str:
    """Returns `at` (aware) as `2026-11-22T12:00:00.123Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
