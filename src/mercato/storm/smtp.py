"""The proxy before the mail server: it knows the dialogue, and cuts it at a stage of choice."""

from collections import Counter
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
    """Follows one dialogue, whose client waits for each answer before it goes on (no pipelining).

    Bytes come in pieces of any size, so the command and the end of a letter are kept in mind.
    """

    def __init__(self, proxy: SmtpProxy) -> None:
        super().__init__(proxy)
        self._smtp = proxy
        self._stage = ""
        self._tail = b""

    def received(self, half: Half, data: bytes) -> None:
        if half is self.client:
            if self._stage == BEFORE_DOT:
                self._tail = (self._tail + data)[-len(_DOT) :]
                if self._tail == _DOT:
                    if self._smtp.fires(BEFORE_DOT):
                        self.cut()
                        return
                    self._stage = AFTER_DOT
            else:
                self._stage = data[:4].upper().decode("latin-1")
        elif self._stage in STAGES and self._smtp.fires(self._stage):
            self.cut()
            return
        elif self._stage == "DATA" and data.startswith(b"354"):
            self._stage, self._tail = BEFORE_DOT, b""
        super().received(half, data)
