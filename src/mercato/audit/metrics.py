"""What the audit tells Prometheus."""

from prometheus_client import Counter, Gauge

FINDINGS = Gauge("mercato_audit_findings", "Findings of the last audit.", ("check",))
LOOKED_AT = Gauge(
    "mercato_audit_looked_at", "Things that the last audit has looked at.", ("check",)
)
AGE = Gauge(
    "mercato_audit_age_seconds", "Time since the last audit that went through, or since the start."
)
LAST = Gauge(
    "mercato_audit_last_timestamp_seconds", "When the last audit went through (Unix time)."
)
DURATION = Gauge("mercato_audit_duration_seconds", "How long the last audit took.")
FAILURES = Counter(
    "mercato_audit_failures_total", "Audits that did not go through; they say nothing."
)
UNDER_WAY = Gauge(
    "mercato_audit_orders_under_way", "Orders whose next step was being told at the last audit."
)
FOREIGN = Gauge("mercato_audit_foreign_reservations", "Reservations that other programs have made.")
