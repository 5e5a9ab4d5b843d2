"""Stand-ins, in PySide6, for the widgets of CTK and MRML that the module uses.

Each has the properties, slots and signals of the real one that the module needs, and no others; the node
selector works on the real scene. How they look is a sketch.
"""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
from PySide6.QtCore import Property, QEvent, QPointF, QRectF, Qt, Signal, Slot
from PySide6.QtGui import QPainter, QPaintEvent, QPalette, QPolygonF
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QSlider,
    QToolButton,
    QWidget,
)

# ruff: noqa: N802, N815 (the names are Qt's)


class qMRMLWidget(QWidget):  # noqa: N801
    SIGNALS: ClassVar = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    @Slot(result=object)
    def mrmlScene(self) -> Any:
        return self._scene


class qMRMLNodeComboBox(QWidget):  # noqa: N801
    """Without `noneEnabled`, the first node there is becomes the current one, as in the real widget."""

    SIGNALS: ClassVar = ("currentNodeChanged(vtkMRMLNode*)", "nodeAddedByUser(vtkMRMLNode*)")
    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QComboBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.activated.connect(self._on_activated)
        self._scene: Any = None
        self._tags: list[int] = []
        self._nodes: list[Any] = []
        self._current: Any = None
        self._types: list[str] = []
        self._flags: dict[str, bool] = {}
        self._none_display = "None"

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        kind = slicer.vtkMRMLScene
        events = (kind.NodeAddedEvent, kind.NodeRemovedEvent, kind.EndCloseEvent, kind.EndImportEvent)
        self._tags = [scene.AddObserver(event, lambda *_: self._refresh()) for event in events]
        self._refresh()

    @Slot(result=object)
    def mrmlScene(self) -> Any:
        return self._scene

    @Slot(result=object)
    def currentNode(self) -> Any:
        return self._current

    @Slot(object)
    def setCurrentNode(self, node: Any) -> None:
        if node is not None and node not in self._nodes:
            node = None
        if node is None and not self._get("noneEnabled"):
            node = self._nodes[0] if self._nodes else None
        self._set_current(node)

    @Slot(result=int)
    def nodeCount(self) -> int:
        return len(self._nodes)

    @Slot(result=object)
    def addNode(self) -> Any:
        node = self._scene.AddNewNodeByClass(self._types[0])
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _refresh(self) -> None:
        nodes = [node for kind in self._types for node in slicer.util.getNodesByClass(kind, self._scene)]
        self._nodes = [node for node in nodes if not node.GetHideFromEditors()]
        gone = self._current is not None and self._current not in self._nodes
        self._fill()
        if gone or (self._current is None and not self._get("noneEnabled")):
            self.setCurrentNode(None)

    def _fill(self) -> None:
        self._box.clear()
        if self._get("noneEnabled"):
            self._box.addItem(self._none_display)
        self._box.addItems([node.GetName() for node in self._nodes])
        offset = int(self._get("noneEnabled"))
        row = self._nodes.index(self._current) + offset if self._current in self._nodes else offset - 1
        self._box.setCurrentIndex(row)

    def _set_current(self, node: Any) -> None:
        changed = node is not self._current
        self._current = node
        self._fill()
        if changed:
            self.currentNodeChanged.emit(node)

    def _on_activated(self, row: int) -> None:
        row -= int(self._get("noneEnabled"))
        self._set_current(self._nodes[row] if row >= 0 else None)

    def _get(self, name: str) -> bool:
        return self._flags.get(name, name not in ("noneEnabled", "showHidden"))

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        if self._scene is not None:
            self._refresh()

    def _set_none_display(self, text: str) -> None:
        self._none_display = text

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    noneDisplay = Property(str, lambda self: self._none_display, _set_none_display)


def _flag(name: str) -> Any:
    def set_flag(self: Any, value: bool) -> None:
        self._flags[name] = value

    return Property(bool, lambda self: self._get(name), set_flag)


class NodeComboBox(qMRMLNodeComboBox):
    """The node selector with its switches as properties."""

    noneEnabled = _flag("noneEnabled")
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    renameEnabled = _flag("renameEnabled")
    showChildNodeTypes = _flag("showChildNodeTypes")
    showHidden = _flag("showHidden")


class ctkCollapsibleButton(QAbstractButton):  # noqa: N801
    """A header that hides what is below it; the layout lies in the button itself, as in CTK."""

    SIGNALS: ClassVar = ("contentsCollapsed(bool)",)
    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = self._applying = False
        self._header = self.fontMetrics().height() + 8
        self.setContentsMargins(0, self._header, 0, 0)
        self.clicked.connect(lambda: self._set_collapsed(not self._collapsed))

    def childEvent(self, event: Any) -> None:
        super().childEvent(event)
        if event.added() and event.child().isWidgetType():
            event.child().installEventFilter(self)

    def eventFilter(self, child: Any, event: Any) -> bool:
        """Remember which children are hidden by themselves, and keep all hidden while collapsed."""
        shown = {QEvent.Type.ShowToParent: True, QEvent.Type.HideToParent: False}.get(event.type())
        if shown is not None and not self._applying:
            child.setProperty("_host_hidden", not shown)
            self._apply()
        return False

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._apply()

    def sizeHint(self) -> Any:
        hint = super().sizeHint() if self.layout() is None else self.layout().sizeHint()
        if self._collapsed:
            hint.setHeight(self._header)
        return hint

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(0, 0, self.width(), self._header, self.palette().color(QPalette.ColorRole.Button))
        painter.setPen(self.palette().color(QPalette.ColorRole.ButtonText))
        middle, size = self._header / 2, 4
        corners = [(8, middle - size), (8 + size, middle), (8, middle + size)]
        if not self._collapsed:
            corners = [
                (6, middle - size / 2),
                (6 + 2 * size, middle - size / 2),
                (6 + size, middle + size / 2),
            ]
        painter.setBrush(painter.pen().color())
        painter.drawPolygon(QPolygonF([QPointF(*corner) for corner in corners]))
        text = QRectF(22, 0, self.width() - 24, self._header)
        painter.drawText(text, Qt.AlignmentFlag.AlignVCenter, self.text())

    def _apply(self) -> None:
        self._applying = True
        for child in self.children():
            if isinstance(child, QWidget):
                child.setVisible(not self._collapsed and not child.property("_host_hidden"))
        self._applying = False
        self.setMaximumHeight(self._header if self._collapsed else 16777215)
        self.updateGeometry()

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed != self._collapsed:
            self._collapsed = collapsed
            self._apply()
            self.contentsCollapsed.emit(collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)


class ctkSliderWidget(QWidget):  # noqa: N801
    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        self._slider.setRange(0, 1000)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self.setFocusProxy(self._slider)
        self._box.valueChanged.connect(self._on_box)
        self._slider.valueChanged.connect(self._on_slider)

    def _on_box(self, value: float) -> None:
        span = self._box.maximum() - self._box.minimum()
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - self._box.minimum()) / span) if span else 0)
        self._slider.blockSignals(blocked)
        self.valueChanged.emit(value)

    def _on_slider(self, step: int) -> None:
        span = self._box.maximum() - self._box.minimum()
        self._box.setValue(self._box.minimum() + span * step / 1000)

    value = Property(float, lambda self: self._box.value(), lambda self, value: self._box.setValue(value))
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, v: self._box.setMinimum(v))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, v: self._box.setMaximum(v))
    singleStep = Property(
        float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v)
    )
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, v: self._box.setDecimals(v))


class ctkPathLineEdit(QWidget):  # noqa: N801
    Files, Dirs = 2, 1  # the bits do not matter: nothing is filtered here
    currentPathChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._edit, button = QLineEdit(self), QToolButton(self)
        button.setText("...")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(button)
        self.setFocusProxy(self._edit)
        self._filters = 0
        self._edit.textChanged.connect(self.currentPathChanged)

    def _set_path(self, path: str) -> None:
        if path != self._edit.text():
            self._edit.setText(path)

    def _set_filters(self, filters: int) -> None:
        self._filters = filters

    currentPath = Property(str, lambda self: self._edit.text(), _set_path)
    filters = Property(int, lambda self: self._filters, _set_filters)


CTK = {kind.__name__: kind for kind in (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit)}
MRML = {"qMRMLWidget": qMRMLWidget, "qMRMLNodeComboBox": NodeComboBox}
__all__ = ["CTK", "MRML"]
