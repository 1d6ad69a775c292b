"""Generates src/mercato/pb from its .proto files; `--check` only compares (exit 1 on a difference).

The rules' own contract (buf/validate/validate.proto) is read from inside the protovalidate wheel,
so that nobody else's source is kept in this repository.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from google.rpc import status_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

SOURCE = Path(__file__).parents[1] / "src"
PB = SOURCE / "mercato" / "pb"
RULES = "buf/validate/validate.proto"
SERVICES = (
    *("user", "account", "session", "security", "oauth"),
    *("inventory", "order", "mailer"),
)
KNOWN = (any_pb2, descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2, status_pb2)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        generated = _generate(Path(folder))
    if "--check" not in sys.argv:
        for name, text in generated.items():
            (PB / name).write_text(text)
        return 0
    stale = [name for name, text in generated.items() if not _same(PB / name, text)]
    stale += [path.name for path in PB.glob("*_pb2*.py*") if path.name not in generated]
    if stale:
        sys.stderr.write(f"generated code is stale ({', '.join(stale)}): run `make proto`\n")
    return 1 if stale else 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def _generate(out: Path) -> dict[str, str]:
    """Returns the text of every generated file by its name."""
    known = out / "known.binpb"
    known.write_bytes(_known_contracts().SerializeToString())
    sources = (f"-I{SOURCE}", f"--descriptor_set_in={known}")
    messages = [f"mercato/pb/{name}.proto" for name in (*SERVICES, "money")]
    services = [f"mercato/pb/{name}.proto" for name in SERVICES]
    _protoc(sources[1], f"--python_out={out}", f"--pyi_out={out}", RULES)
    _protoc(*sources, f"--python_out={out}", f"--mypy_out=quiet:{out}", *messages)
    grpc = (f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet,only_async:{out}")
    _protoc(*sources, *grpc, *services)
    files = [*(out / "mercato/pb").iterdir(), *(out / "buf/validate").iterdir()]
    return {path.name: _at_home(path.read_text()) for path in sorted(files)}


def _known_contracts() -> descriptor_pb2.FileDescriptorSet:
    found = descriptor_pb2.FileDescriptorSet()
    for module in KNOWN:
        found.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    found.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    return found


def _protoc(*arguments: str) -> None:
    # protoc finds its mypy plugins beside the interpreter, also when the venv is not activated
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if protoc.main(("protoc", *arguments)) != 0:
        raise SystemExit("protoc refused the contracts (see above)")


def _at_home(text: str) -> str:
    """Returns generated code that imports the rules from this package, where their code stands."""
    text = re.sub(r"from buf\.validate import validate_pb2", "from . import validate_pb2", text)
    return text.rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(main())
