"""`mercato doctor`: what keeps the platform from running here, and the command that mends it."""

from typing import Annotated

from cyclopts import Parameter

from mercato.cli.terminal import DataDir, Json, Port, console, gateway_port, say_json
from mercato.embedded import state
from mercato.embedded.doctor import examine
from mercato.embedded.size import CLUSTER, SINGLE


def doctor(
    *,
    port: Port = None,
    cluster: Annotated[bool, Parameter(help="For mercato up --cluster.")] = False,
    data_dir: DataDir = state.DEFAULT_DATA_DIR,
    json: Json = False,
) -> int:
    """Examine this machine: what is missing, and the command that mends it."""
    checks = examine(data_dir, gateway_port(port), CLUSTER if cluster else SINGLE)
    if json:
        say_json(checks)
    else:
        for check in checks:
            mark = "[green]ok     [/]" if check.ok else "[red]problem[/]"
            console.print(f"{mark} {check.name:<14} {check.detail}")
            if not check.ok:
                console.print(f"        [bold]{check.remedy}[/]")
    return 0 if all(check.ok for check in checks) else 1
