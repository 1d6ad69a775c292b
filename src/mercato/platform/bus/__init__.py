"""NATS JetStream: one stream, facts published in bulk, and consumers at their own pace.

The stream is a cache of the outboxes: it may be lost whole at any moment and is made anew.
"""

from mercato.platform.bus.connection import Bus, Letter
from mercato.platform.bus.consumer import Consumer, Delivery

__all__ = ["Bus", "Consumer", "Delivery", "Letter"]
