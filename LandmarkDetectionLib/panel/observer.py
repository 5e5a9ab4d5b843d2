"""Watching nodes of the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt


class NodeWatcher:
    """Calls a function soon after a node has changed: once for many changes at a time.

    Args:
        events: VTK events of the node that count.
        on_change: is called from the event loop.
    """

    def __init__(self, events: Sequence[int], on_change: Callable[[], None]) -> None:
        self._events = events
        self._node: Any = None
        self._tags: list[int] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(20)
        self._timer.connect("timeout()", on_change)

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
            self._timer.stop()
        else:
            self._tags = [node.AddObserver(event, self._on_event) for event in self._events]
            self._timer.start()

    def _on_event(self, caller: Any, event: str) -> None:
        self._timer.start()
