"""What the mailer tells Prometheus."""

from prometheus_client import Counter, Gauge

MAILS = Counter("mercato_mails_total", "Attempts at sending a mail by their outcome.", ("outcome",))
WAITING = Gauge("mercato_mails_waiting", "Mails in the queue that are still to be sent.")
PARKED = Gauge(
    "mercato_mails_parked", "Mails of which nobody knows yet whether they have been sent."
)
