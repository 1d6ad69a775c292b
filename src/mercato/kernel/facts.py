"""What a fact is: something that happened, told under a subject, about one thing."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened; written in the past tense and never changed afterwards."""

    subject: ClassVar[str]
    # Whether some service answers this fact with one of its own, and it is told until then.
    answered: ClassVar[bool] = False
    # Whether somebody waits for it; what nobody waits for never stands in the way of what is.
    urgent: ClassVar[bool] = True

    @property
    def about(self) -> str:
        """The id of the thing that it happened to."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        """The fact's own id, the same whenever it is told again."""
        return event_id(self.about, self.subject)


def event_id(about: str, subject: str) -> str:
    return f"{about}:{subject}"
