"""How many there are of each part: one, or as many as it takes to lose any and go on."""

from dataclasses import dataclass
from pathlib import Path

from mercato.embedded.errors import PlatformError


@dataclass(frozen=True, slots=True)
class Size:
    """`members` of the replica set and of the NATS cluster, `copies` of each service."""

    members: int
    copies: int

    def servers(self, kind: str) -> list[str]:
        """Returns the names of all servers of a kind that has members."""
        return _names(kind, self.members)

    def services(self, kind: str) -> list[str]:
        """Returns the names of all copies of a service."""
        return _names(kind, self.copies)

    @property
    def front(self) -> str:
        """The part that customers reach."""
        return "gateway" if self.copies == 1 else "balancer"


SINGLE = Size(members=1, copies=1)
CLUSTER = Size(members=3, copies=2)


def insist(data_dir: Path, size: Size) -> None:
    """Raises PlatformError when the folder holds the data of a platform of the other size."""
    other, options = (CLUSTER, " --cluster") if size == SINGLE else (SINGLE, "")
    for kind in ("mongo", "nats"):
        if (data_dir / other.servers(kind)[0]).exists():
            what = "a single platform" if other == SINGLE else "a cluster"
            raise PlatformError(
                f"{data_dir} holds the data of {what}, which cannot become the other",
                f"start it as it is: mercato up{options}; or use another --data-dir",
            )


def kind_of(name: str) -> str:
    """Returns what a part is a member or a copy of: `order` for `order-2` and for `order`."""
    kind, _, number = name.rpartition("-")
    return kind if number.isdigit() else name


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}-{number + 1}" for number in range(count)]
