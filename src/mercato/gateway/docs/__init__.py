from typing import Any


def routes(resources: list[Any]) -> list[Any]:
    return []
