"""How much is too much: GCRA over Redis for all processes together, or in one alone.

`shared` has the one over Redis: what only reads the limits does without its driver.
"""

from mercato.platform.limits.local import Local
from mercato.platform.limits.quota import Bucket, Quota, Verdict, Written

__all__ = ["Bucket", "Local", "Quota", "Verdict", "Written"]
