"""Locks over a fork: a child has one thread, and what another thread held would stay held there for ever."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_waited_for: weakref.WeakSet[Any] = weakref.WeakSet()
_waited_for_within: weakref.WeakSet[Any] = weakref.WeakSet()
_made_new: weakref.WeakSet[Any] = weakref.WeakSet()
_of_this_thread = threading.local()  # `held`: what it took for the fork that it is at


def waited_for(within: bool = False) -> Any:
    """A lock that a thread which forks takes first, so that what it guards is not half done in the child.

    For what takes long, as compiling; it must be the outermost of the locks that a thread holds, or, `within` those,
    the next one."""
    lock = threading.RLock()
    (_waited_for_within if within else _waited_for).add(lock)
    return lock


def made_new() -> Any:
    """A lock that nobody holds in a forked child. For a few statements that leave nothing half done."""
    lock = threading.RLock()
    _made_new.add(lock)
    return lock


def _before() -> None:
    # Each thread's own: another that forks has its first lock as soon as this one's last is free.
    held = _of_this_thread.held = []
    for lock in (*_waited_for, *_waited_for_within):
        lock.acquire()
        held.append(lock)


def _after() -> None:
    for lock in reversed(_of_this_thread.held):
        lock.release()
    _of_this_thread.held = []


def _after_in_child() -> None:
    _after()
    for lock in list(_made_new):
        lock._at_fork_reinit()  # as the standard library's own modules do


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
