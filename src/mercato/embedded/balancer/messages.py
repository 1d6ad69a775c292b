"""Where HTTP/1.1 messages begin and end; their bytes are passed on as they came."""

import asyncio

import httptools

HEAD_AND_BODY_BYTES_MAX = 512 * 1024
WHOLE_S = 1.0  # for a request to arrive before it is passed on piece by piece
CHUNK = 65_536

# RFC 9110, 9.2.2: what may be sent a second time when nobody knows of the first.
IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE")


class Request:
    """A request in `raw`; not `whole` when it is broken, large, slow, or more than one."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.whole = False
        self._keyed = False
        self._count = 0
        self._complete = False
        self._parser = httptools.HttpRequestParser(self)

    @property
    def method(self) -> bytes:
        return bytes(self._parser.get_method())

    @property
    def repeatable(self) -> bool:
        """Whether a second time is the same time."""
        return self.whole and (self._keyed or self.method in IDEMPOTENT)

    async def read(self, reader: asyncio.StreamReader) -> bool:
        """Reads one request; returns false when the client has none."""
        try:
            self.raw += await reader.read(CHUNK)
            if not self.raw:
                return False
            self._parser.feed_data(bytes(self.raw))
            async with asyncio.timeout(WHOLE_S):
                while not self._complete and len(self.raw) < HEAD_AND_BODY_BYTES_MAX:
                    if not (chunk := await reader.read(CHUNK)):
                        return True
                    self.raw += chunk
                    self._parser.feed_data(chunk)
        except (TimeoutError, httptools.HttpParserError, httptools.HttpParserUpgrade):
            return True
        self.whole = self._complete and self._count == 1
        return True

    def on_message_begin(self) -> None:
        self._count += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self._keyed |= name.lower() == b"idempotency-key"

    def on_message_complete(self) -> None:
        self._complete = True


class Response:
    """Follows the answer to a request of this `method`."""

    def __init__(self, method: bytes) -> None:
        self.complete = False
        self.keeps_alive = False
        self._bodiless = method == b"HEAD"
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, chunk: bytes) -> None:
        """Raises HttpParserError for what is no HTTP."""
        self._parser.feed_data(chunk)

    def on_headers_complete(self) -> None:
        if self._bodiless:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self.complete = True
            self.keeps_alive = self._parser.should_keep_alive()
