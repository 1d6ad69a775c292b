"""Becomes another program that dies with its supervisor: `child.py SUPERVISOR NICE PROGRAM ARG...`.

Run by path with `python -I -S` in the child itself, before `exec`, because a `preexec_fn` runs
Python between fork and exec and can deadlock.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
FILES_MAX = 65_536


def main() -> None:
    """Ties this process to its parent, sets its priority and its open files' limit, then execs."""
    supervisor, niceness, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(supervisor):  # it died before the line above took hold
        sys.exit(1)
    _be_nice(niceness)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES_MAX)), hard))
    os.execvp(command[0], command)  # noqa: S606


def _be_nice(niceness: str) -> None:
    """Each part is a session of its own, and the kernel may weigh sessions before processes."""
    os.nice(int(niceness))
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:  # sched(7)
        group.write(niceness)


if __name__ == "__main__":
    main()
