"""What the doctor reads from the machine, and what it tells people to do."""

import shutil
from pathlib import Path

import pytest

from mercato.embedded import doctor

TRACE = """\
\tlinux-vdso.so.1 (0x00007fb8945ed000)
\tlibcurl.so.4 => not found
\tliblzma.so.5 => /lib/x86_64-linux-gnu/liblzma.so.5 (0x00007fb8944fe000)
\tlibssl.so.3 => not found
\tlibcrypto.so.3 => not found
"""


def test_every_missing_library_is_named_at_once() -> None:
    names = ["libcurl.so.4", "libssl.so.3", "libcrypto.so.3"]
    assert doctor.missing_libraries(TRACE) == names


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="its packages are named by apt")
def test_one_command_installs_all_that_is_missing() -> None:
    command = doctor.install_command(doctor.missing_libraries(TRACE))
    assert command.endswith("apt-get install -y libcurl4 libssl3")


def test_an_unknown_library_is_named_rather_than_guessed() -> None:
    assert "libwhat.so.1" in doctor.install_command(["libwhat.so.1"])


def test_this_machine_is_examined_without_leaving_a_trace(tmp_path: Path) -> None:
    data_dir = tmp_path / "not" / "there"
    checks = doctor.examine(data_dir, port=0)
    assert all(check.ok for check in checks), checks
    assert not data_dir.exists()
