"""A client process: reads a job a line, puts the load, answers with a line; ends with its input.

python -m benchmarks.client
"""

import asyncio
import gc
import sys

import msgspec
import uvloop

from benchmarks.jobs import Job
from benchmarks.load import Load


async def main() -> None:
    loop = asyncio.get_running_loop()
    gc.freeze()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        outcome = await Load(msgspec.json.decode(line, type=Job)).run()
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main())
