"""How much is too much: GCRA over Redis for all processes together, or in one alone."""

from mercato.platform.limits.local import Local
from mercato.platform.limits.quota import Bucket, Quota, Verdict, Written
from mercato.platform.limits.shared import Limiter

__all__ = ["Bucket", "Limiter", "Local", "Quota", "Verdict", "Written"]
