"""`mercato down`: stops the platform, and returns when it has stopped."""

import psutil

from mercato.cli.terminal import DataDir, Json, console, say_json
from mercato.embedded import state
from mercato.embedded.errors import PlatformError

STOP_TIMEOUT_S = 30.0  # a busy machine takes longer than the 10 s of an idle one


def down(*, data_dir: DataDir = state.DEFAULT_DATA_DIR, json: Json = False) -> None:
    """Stop the platform that runs on this data directory, and wait until it has stopped."""
    known = state.read(data_dir)
    supervisor = known.supervisor.find() if known and known.supervisor else None
    if supervisor is not None:
        supervisor.terminate()
        try:
            supervisor.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            raise PlatformError(
                f"the supervisor (pid {supervisor.pid}) did not stop in {STOP_TIMEOUT_S:g} s",
                f"end it with all its parts: kill -9 {supervisor.pid}",
            ) from None
    if json:
        say_json({"stopped": supervisor is not None})
    else:
        console.print("stopped" if supervisor else f"no Mercato was running in {data_dir}")
