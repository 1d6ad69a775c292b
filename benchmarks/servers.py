"""Servers that do nothing, to see how fast nothing is: HTTP as the gateway's, and a gRPC echo.

python -m benchmarks.servers http|grpc PORT
"""

import sys
from typing import Any

import grpc
import uvicorn
import uvloop

from mercato.embedded.ports import LOOPBACK

BODY = b'{"id":"6b02f3bdd475502b5bdae492","name":"Desk lamp","price":19.99,"currency":"EUR"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
METHOD = "/limits.Echo/Echo"


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.unary_unary_rpc_method_handler(_answer)


async def _answer(request: bytes, context: Any) -> bytes:
    return request


async def main(kind: str, port: int) -> None:
    """Serves until it is killed."""
    if kind == "http":
        config = uvicorn.Config(
            _nothing, host=LOOPBACK, port=port, http="httptools", ws="none", lifespan="off",
            log_config=None, access_log=False, server_header=False, proxy_headers=False,
        )  # fmt: skip
        await uvicorn.Server(config).serve()
    else:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Echo(),))
        server.add_insecure_port(f"{LOOPBACK}:{port}")
        await server.start()
        await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
