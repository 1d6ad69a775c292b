"""`mercato secure`: what secure mode needs, in a folder for each service and server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mercato.cli.terminal import Json, console, say_json
from mercato.embedded.secure import kit
from mercato.platform.settings import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Which database the users are for."""

    mongo_db_name: str = "ecommerce"


def secure(
    folder: Annotated[Path, Parameter(help="Where; made when it is not there.")],
    /,
    *,
    json: Json = False,
) -> None:
    """Make certificates, passwords and rights for a shop in containers."""
    made = kit.make(folder, load(Database).mongo_db_name)
    if json:
        say_json({"folder": str(folder), "made": made})
    else:
        console.print(f"{folder} holds {', '.join(made)}", markup=False)
