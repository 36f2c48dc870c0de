"""Locks over a fork: a child has one thread, and what another thread held would stay held there for ever."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_waited_for: weakref.WeakSet[Any] = weakref.WeakSet()
_made_new: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[Any] = []


def waited_for() -> Any:
    """A lock that a thread which forks takes first, so that what it guards is not half done in the child.

    For what takes long, as compiling; it must be the outermost of the locks that a thread holds."""
    lock = threading.RLock()
    _waited_for.add(lock)
    return lock


def made_new() -> Any:
    """A lock that nobody holds in a forked child. For a few statements that leave nothing half done."""
    lock = threading.RLock()
    _made_new.add(lock)
    return lock


def _before() -> None:
    for lock in list(_waited_for):
        lock.acquire()
        _held.append(lock)


def _after() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _after()
    for lock in list(_made_new):
        lock._at_fork_reinit()  # as the standard library's own modules do


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
