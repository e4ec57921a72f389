"""Become a server: drop to its account, ask to be told when the parent dies, then run its program.

A script of its own (`python -I -S leash.py SIGNAL PARENT UID GID PROGRAM ARGUMENT…`), so that no Python
code runs between fork and exec of a parent that may have threads. The order matters: the kernel forgets
the parent-death signal when the user changes.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
UNCHANGED = -1


def drop(uid: int, gid: int) -> None:
    """Take another account for good; `UNCHANGED` keeps the present one."""
    if uid == UNCHANGED:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(signal_number: int, parent: int) -> None:
    """Receive `signal_number` when the parent's thread that started this process ends; exit if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(0)


def main() -> None:
    """Drop, leash, exec."""
    signal_number, parent, uid, gid = (int(word) for word in sys.argv[1:5])
    command = sys.argv[5:]
    drop(uid, gid)
    die_with_parent(signal_number, parent)
    os.execv(command[0], command)  # noqa: S606  the very purpose: replace this process by the server


if __name__ == "__main__":
    main()
