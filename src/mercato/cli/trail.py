"""What a command that works on files tells the trail of security events, where a platform runs."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mercato.cli.shop import CALLER, Shop
from mercato.embedded.errors import PlatformError
from mercato.kernel.clock import now, rfc3339
from mercato.kernel.errors import AppError
from mercato.kernel.identity import new_id
from mercato.pb.security_pb2 import RecordEventsRequest, SecurityEvent
from mercato.pb.security_pb2_grpc import SecurityServiceStub
from mercato.platform.rpc import validated
from mercato.platform.settings import SettingsError

TELL_S_MAX: Final = 5.0


def not_recorded(data_dir: Path, kind: str, detail: Mapping[str, str]) -> str:
    """Records an event; returns why that could not be done, or nothing when it was."""
    event = SecurityEvent(
        id=new_id(), at=rfc3339(now()), kind=kind, actor=f"service:{CALLER}", detail=detail, count=1
    )
    request = validated(RecordEventsRequest(events=[event]))
    try:
        told = Shop.of(data_dir).call(lambda way: SecurityServiceStub(way).RecordEvents, request)
        asyncio.run(asyncio.wait_for(told, TELL_S_MAX))
    except TimeoutError:
        return f"the platform has not answered within {TELL_S_MAX:g} s"
    except (PlatformError, SettingsError, AppError) as failure:
        return str(failure)
    return ""
