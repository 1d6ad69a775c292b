"""The proxy before the mail server: it knows the dialogue, and cuts it at a stage of choice."""

from collections import Counter, deque
from typing import Final

from mercato.storm.proxy import Half, Link, Proxy

BEFORE_DOT, AFTER_DOT = "before the dot", "after the dot"
# At the commands the server's answer is swallowed; the last dot is swallowed itself, or its answer.
STAGES: Final = ("EHLO", "MAIL", "RCPT", "DATA", BEFORE_DOT, AFTER_DOT)
_DOT: Final = b"\r\n.\r\n"


class SmtpProxy(Proxy):
    """Cuts the next dialogue that comes to an armed stage."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.armed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()

    def link(self) -> Link:
        return SmtpLink(self)

    def cut_at(self, stage: str) -> None:
        self.armed[stage] += 1

    def calm(self) -> None:
        super().calm()
        self.armed.clear()

    def fires(self, stage: str) -> bool:
        """Whether a dialogue that has come to `stage` is to be cut; it is counted if so."""
        if not self.armed[stage]:
            return False
        self.armed[stage] -= 1
        self.fired[stage] += 1
        return True


class SmtpLink(Link):
    """Follows one dialogue; commands may come together, and so may their answers (RFC 2920).

    Bytes come in pieces of any size, so what is not complete yet is kept in mind.
    """

    def __init__(self, proxy: SmtpProxy) -> None:
        super().__init__(proxy)
        self._smtp = proxy
        self._unanswered: deque[str] = deque(["GREETING"])
        self._in_letter = False
        self._said = self._answered = b""  # what is not a whole line yet; of a letter, its tail

    def received(self, half: Half, data: bytes) -> None:
        if not (self._heard(data) if half is self.client else self._told(data)):
            self.cut()
        else:
            super().received(half, data)

    def _heard(self, data: bytes) -> bool:
        """Notes the client's commands; returns whether the dialogue may go on."""
        if self._in_letter:
            self._said = (self._said + data)[-len(_DOT) :]
            if self._said == _DOT:
                self._in_letter, self._said = False, b""
                self._unanswered.append(AFTER_DOT)
                return not self._smtp.fires(BEFORE_DOT)
        else:
            *lines, self._said = (self._said + data).split(b"\n")
            self._unanswered += (line[:4].upper().decode("latin-1") for line in lines)
        return True

    def _told(self, data: bytes) -> bool:
        """The same for the server's answers."""
        *lines, self._answered = (self._answered + data).split(b"\n")
        for line in lines:
            if line[3:4] == b"-" or not self._unanswered:
                continue
            stage = self._unanswered.popleft()
            if stage in STAGES and self._smtp.fires(stage):
                return False
            if stage == "DATA" and line.startswith(b"354"):
                self._in_letter, self._said = True, b""
        return True
