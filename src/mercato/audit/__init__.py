"""The audit: whether every promise holds, read from the databases at one instant.

`verify(store)` returns a `Report`: `checks` by name, each with how many things it looked at and how
many findings it has, and the `findings` themselves. `verify(store, settled=True)` is for a platform
that is known to be quiet, where nothing may be under way any more.
"""

from mercato.audit.auditing import verify
from mercato.audit.model import CHECKS, Check, Finding, Grace, Mend, Report, Severity, Verb

__all__ = ["CHECKS", "Check", "Finding", "Grace", "Mend", "Report", "Severity", "Verb", "verify"]
