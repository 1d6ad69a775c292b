"""Examines this machine: what the embedded servers need, what is missing, what mends it."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil

from mercato.embedded import home, ports, size, state
from mercato.embedded.binaries import INSTALL, WHEELS, find
from mercato.embedded.errors import PlatformError
from mercato.embedded.settings import Given
from mercato.embedded.size import SINGLE, Size

PYTHON_LEAST = (3, 11)
GLIBC_LEAST = (2, 34)
DISK_FREE_LEAST_GIB = 1.0  # for each member
MEMORY_LEAST_MIB = (900, 1_800)  # of a single platform, of a cluster
LOADER_TIMEOUT_S = 10
INSTALLERS = {"apt-get": "apt-get install -y", "dnf": "dnf install -y"}
PACKAGES = {  # by the start of a library's name: the package in Debian's world and in Fedora's
    "libcurl": {"apt-get": "libcurl4", "dnf": "libcurl"},
    "libssl": {"apt-get": "libssl3", "dnf": "openssl-libs"},
    "libcrypto": {"apt-get": "libssl3", "dnf": "openssl-libs"},
    "liblzma": {"apt-get": "liblzma5", "dnf": "xz-libs"},
}


class Check(msgspec.Struct, frozen=True):
    """One finding; `remedy` is the command or step that mends it, empty when `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def examine(data_dir: Path, port: int, wanted: Size = SINGLE) -> list[Check]:
    """Every check, in the order to mend them; changes nothing."""
    machine = [_python(), _glibc(), _avx(), *_programs(), _libraries(), _memory(data_dir, wanted)]
    folder = [_folder(data_dir, wanted), _disk(data_dir, wanted), _port(port, data_dir)]
    checks = [*machine, *folder]
    return [msgspec.structs.replace(check, remedy="") if check.ok else check for check in checks]


def insist(data_dir: Path, given: Given, wanted: Size = SINGLE) -> None:
    """Raises PlatformError for the first finding that keeps an embedded server from running."""
    mongod = [_glibc(), _avx(), _libraries()] if not given.mongo_uri else []
    for check in (*mongod, _folder(data_dir, wanted), _disk(data_dir, wanted)):
        if not check.ok:
            raise PlatformError(f"{check.name}: {check.detail}", check.remedy)


def missing_libraries(loader_output: str) -> list[str]:
    """The names that the dynamic loader did not find, from its trace ("libcurl.so.4 => ...")."""
    lines = loader_output.splitlines()
    return [line.split("=>")[0].strip() for line in lines if line.endswith("=> not found")]


def install_command(libraries: list[str]) -> str:
    """What installs these libraries here, as far as this system's package tool is known."""
    tool = next((name for name in INSTALLERS if shutil.which(name)), None)
    packages = {
        names[tool]
        for library in libraries
        for start, names in PACKAGES.items()
        if tool and library.startswith(start)
    }
    if tool is None or not packages:
        return f"install the packages that hold {', '.join(libraries)}"
    return f"{'' if os.geteuid() == 0 else 'sudo '}{INSTALLERS[tool]} {' '.join(sorted(packages))}"


def _python() -> Check:
    version = platform.python_version()
    return Check(
        "python", sys.version_info >= PYTHON_LEAST, version, "install Python 3.11 or newer"
    )


def _glibc() -> Check:
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    return Check(
        "glibc",
        name == "glibc" and numbers >= GLIBC_LEAST,
        f"{name or 'another C library'} {version}".strip(),
        "mongod needs glibc 2.34 (Debian 12, Ubuntu 22.04, RHEL 9 or newer); or set MONGO_URI",
    )


def _avx() -> Check:
    if platform.machine() != "x86_64":
        return Check("avx", ok=True, detail=f"not needed on {platform.machine()}")
    words = Path("/proc/cpuinfo").read_text().split()
    ok = "avx" in words
    return Check(
        "avx",
        ok,
        "present" if ok else "this CPU has no AVX, without which mongod does not run",
        "pass the host's CPU model to the virtual machine; or set MONGO_URI",
    )


def _programs() -> list[Check]:
    found = {program: find(program) for program in WHEELS}
    return [
        Check(name, path is not None, str(path or "missing"), INSTALL)
        for name, path in found.items()
    ]


def _libraries() -> Check:
    mongod = find("mongod")
    if mongod is None:
        return Check("libraries", ok=False, detail="unknown without mongod", remedy=INSTALL)
    try:
        trace = subprocess.run(  # noqa: S603  # what ldd does, which not every system has
            [mongod],
            env={"LD_TRACE_LOADED_OBJECTS": "1"},
            capture_output=True,
            text=True,
            timeout=LOADER_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as failure:
        return Check("libraries", ok=False, detail=f"mongod: {failure}", remedy="set MONGO_URI")
    missing = missing_libraries(trace)
    if not missing:
        return Check("libraries", ok=True, detail="mongod finds all of them")
    detail = f"mongod needs {', '.join(missing)}"
    return Check("libraries", ok=False, detail=detail, remedy=install_command(missing))


def _memory(data_dir: Path, wanted: Size) -> Check:
    least_mib = MEMORY_LEAST_MIB[wanted.members > 1]
    free_mib = psutil.virtual_memory().available // 1024**2
    known = state.read(data_dir)
    ok = free_mib >= least_mib or bool(known and known.alive)
    remedy = "end other programs, or give this machine more memory"
    return Check("memory", ok, f"{free_mib} MiB free, {least_mib} needed", remedy)


def _folder(data_dir: Path, wanted: Size) -> Check:
    if obstacle := home.obstacle(data_dir):
        return Check("data folder", ok=False, detail=obstacle, remedy=home.REMEDY)
    try:
        size.insist(data_dir, wanted)
    except PlatformError as refusal:
        return Check("data folder", ok=False, detail=str(refusal), remedy=refusal.remedy)
    return Check("data folder", ok=True, detail=f"{home.nearest(data_dir)} can be written to")


def _disk(data_dir: Path, wanted: Size) -> Check:
    folder = home.nearest(data_dir)
    free_gib = shutil.disk_usage(folder).free / 1024**3
    detail = f"{free_gib:.1f} GiB free in {folder}"
    remedy = "free some space, or choose another place with --data-dir"
    return Check("disk", free_gib >= DISK_FREE_LEAST_GIB * wanted.members, detail, remedy)


def _port(port: int, data_dir: Path) -> Check:
    if ports.is_free(port):
        return Check(f"port {port}", ok=True, detail="free")
    known = state.read(data_dir)
    if known and known.alive and any(port in part.ports.values() for part in known.parts.values()):
        ours = f"held by the Mercato that runs in {data_dir}"
        return Check(f"port {port}", ok=True, detail=ours)
    by = ports.holder(port) or "another program"
    return Check(f"port {port}", ok=False, detail=f"taken by {by}", remedy="mercato up --port 8081")
