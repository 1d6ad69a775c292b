"""Becomes another program that dies with its supervisor: `child.py SUPERVISOR PROGRAM ARG...`.

Run by path with `python -I -S` in the child itself, before `exec`, because a `preexec_fn` runs
Python between fork and exec and can deadlock.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
FILES_MAX = 65_536


def main() -> None:
    """Ties this process to its parent, sets its open files' limit, then execs."""
    supervisor, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(supervisor):  # it died before the line above took hold
        sys.exit(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES_MAX)), hard))
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
