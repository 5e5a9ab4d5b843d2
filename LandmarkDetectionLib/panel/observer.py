"""Hearing of changes, once for many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt


class Later:
    """Calls a function from the event loop, once however often it was asked for meanwhile.

    Args:
        function: to call.
        milliseconds: after the last time that it was asked for.
    """

    def __init__(self, function: Callable[[], None], milliseconds: int = 20) -> None:
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.connect("timeout()", function)

    def ask(self) -> None:
        """Ask for a call."""
        self._timer.start()

    def drop(self) -> None:
        """Forget what was asked for."""
        self._timer.stop()


class NodeWatcher:
    """Calls a function soon after a node of the scene has changed.

    Args:
        events: VTK events of the node that count.
        on_change: is called from the event loop.
    """

    def __init__(self, events: Sequence[int], on_change: Callable[[], None]) -> None:
        self._events = events
        self._call = Later(on_change)
        self._node: Any = None
        self._tags: list[int] = []

    @property
    def node(self) -> Any:
        """The node that is watched, None if none is."""
        return self._node

    def watch(self, node: Any) -> None:
        """Watch this node instead of the last one; None watches nothing."""
        if node is self._node:
            return
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node = node
        self._tags = []
        if node is None:
            self._call.drop()
        else:
            self._tags = [node.AddObserver(event, self._on_event) for event in self._events]
            self._call.ask()

    def _on_event(self, caller: Any, event: str) -> None:
        self._call.ask()
