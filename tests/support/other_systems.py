"""A Python in which this package finds nothing of Linux that macOS or Windows lack.

Libraries keep what they need of Linux, since they have other ways on other systems. So names are hidden from the
modules of this package only, but for those that libraries can do without.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
from types import ModuleType
from typing import Any

MODULES = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"})
"""Modules that Windows lacks."""

NAMES = {
    "os": """CLONE_NEWNS EX_OK O_CLOEXEC O_DIRECT O_DIRECTORY O_NOATIME O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC O_TMPFILE
        POSIX_FADV_WILLNEED SCHED_OTHER WEXITSTATUS WNOHANG chown chroot copy_file_range ctermid eventfd fchdir fchmod
        fchown fdatasync fork forkpty fpathconf fstatvfs getegid geteuid getgid getgrouplist getgroups getloadavg
        getpgid getpgrp getpriority getrandom getresuid getsid getuid getxattr initgroups killpg lchown listxattr lockf
        major makedev memfd_create mkfifo mknod nice openpty pathconf pidfd_open pipe2 posix_fadvise posix_fallocate
        posix_spawn pread preadv pwrite pwritev readv register_at_fork sched_getaffinity sched_setaffinity sched_yield
        sendfile setgid setpgid setpriority setsid setuid setxattr splice statvfs sync sysconf tcgetpgrp ttyname uname
        wait wait3 waitid writev""",
    "signal": """ITIMER_REAL SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGPWR SIGQUIT SIGRTMIN SIGSTKFLT
        SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 alarm pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending
        sigtimedwait sigwait sigwaitinfo""",
    "socket": "AF_ALG AF_NETLINK AF_PACKET AF_UNIX AF_VSOCK CMSG_LEN SO_REUSEPORT TCP_USER_TIMEOUT recv_fds socketpair",
    "mmap": "MADV_DONTNEED MADV_HUGEPAGE MAP_ANONYMOUS MAP_POPULATE MAP_PRIVATE MAP_SHARED PROT_READ PROT_WRITE",
    "select": "EPOLLIN epoll poll",
    "time": "CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID clock_gettime pthread_getcpuclockid tzset",
}
"""Names that macOS or Windows lack."""

OF_LINUX = ("sched_getaffinity", "sched_setaffinity", "posix_fadvise", "memfd_create", "eventfd", "copy_file_range")
"""Names of ``os`` that are taken away from libraries, too: macOS lacks them."""

THROUGH = ("pathlib", "io", "_io", "codecs", "os")
"""Modules by which files are opened for others."""


def hide_linux() -> None:
    """Hide them, and the files of ``/proc``, for the rest of this process."""
    for name in OF_LINUX:
        if hasattr(os, name):
            delattr(os, name)
    views = {name: _view(name, set(hidden.split())) for name, hidden in NAMES.items()}
    genuine = builtins.__import__

    def find(name: str, globals: Any = None, *others: Any, **named: Any) -> Any:
        if _is_ours(globals or {}):
            if name in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in views:
                return views[name]
        return genuine(name, globals, *others, **named)

    builtins.__import__ = find
    sys.addaudithook(_refuse_proc)


def _is_ours(module: dict[str, Any]) -> bool:
    return str(module.get("__name__")).partition(".")[0] == "dbutterfly"


def _view(name: str, hidden: set[str]) -> ModuleType:
    """A module without some of its names."""
    view, module = ModuleType(name), importlib.import_module(name)
    vars(view).update({key: value for key, value in vars(module).items() if key not in hidden})
    return view


def _refuse_proc(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to open a file of ``/proc`` for a module of this package."""
    if event != "open" or not str(arguments[0]).startswith("/proc"):
        return
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in THROUGH:
        frame = frame.f_back
    if _is_ours(frame.f_globals):
        raise FileNotFoundError(f"there is no {arguments[0]} here")
