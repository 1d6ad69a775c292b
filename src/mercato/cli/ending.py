"""How a command ends that does not end well."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told(*, json: bool = False) -> Iterator[None]:
    """Tells an expected failure without a traceback, and ends with its exit code.

    With `json` it is told to programs too, on standard output.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as failure:
        from mercato.cli.terminal import exit_code, explain  # only now: it takes its time

        if not explain(failure, json=json):
            raise
        sys.exit(exit_code(failure))
