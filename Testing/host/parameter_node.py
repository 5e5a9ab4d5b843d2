"""`slicer.parameterNodeWrapper` with the contract of the real one, for the types that the module uses.

Each annotated attribute becomes a property that reads and writes the wrapped vtkMRMLScriptedModuleNode: text
parameters for str, bool, int and float, node references for MRML nodes. A value of a wrong type or out of
range is a ValueError. `connectParametersToGui` binds widgets; as in Slicer, the observer of the node stays
when the widgets are disconnected.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

# ruff: noqa: N802 (the names are Slicer's)

_EMPTY = {str: "", bool: False, int: 0, float: 0.0}
_PROPERTY_AND_SIGNAL = {
    "QCheckBox": ("checked", "toggled(bool)"),
    "QLineEdit": ("text", "textChanged(QString)"),
    "ctkSliderWidget": ("value", "valueChanged(double)"),
}


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], was {value}")


@dataclass(frozen=True)
class _Parameter:
    name: str
    kind: type
    default: Any
    validators: tuple[WithinRange, ...]

    @property
    def is_node(self) -> bool:
        return issubclass(self.kind, slicer.vtkMRMLNode)

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.kind):
                raise ValueError(f"{self.name} must be a {self.kind.__name__}, was {value!r}")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, self.kind):
            raise ValueError(f"{self.name} must be {self.kind.__name__}, was {value!r}")
        for validator in self.validators:
            validator.validate(value)
        node.SetParameter(self.name, str(value))


def parameterNodeWrapper(kind: type) -> type:
    """The decorator."""
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters = {name: _parameter(name, hint, kind) for name, hint in hints.items()}
    for name, parameter in parameters.items():
        setattr(kind, name, _property(parameter))
    members: dict[str, Callable[..., Any]] = {
        "__init__": _init,
        "connectParametersToGui": _connect_parameters_to_gui,
        "disconnectGui": _disconnect_gui,
        "AddObserver": lambda self, *given: self.parameterNode.AddObserver(*given),
        "RemoveObserver": lambda self, tag: self.parameterNode.RemoveObserver(tag),
        "StartModify": lambda self: self.parameterNode.StartModify(),
        "EndModify": lambda self, modified: self.parameterNode.EndModify(modified),
        "Modified": lambda self: self.parameterNode.Modified(),
    }
    for name, member in members.items():
        setattr(kind, name, member)
    kind.allParameters = parameters  # type: ignore[attr-defined]
    return kind


def _parameter(name: str, hint: Any, kind: type) -> _Parameter:
    plain, *annotations = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    return _Parameter(name, plain, getattr(kind, name, _EMPTY.get(plain)), tuple(annotations))


def _property(parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode),
        lambda self, value: parameter.write(self.parameterNode, value),
    )


def _init(self: Any, node: Any) -> None:
    self.parameterNode = node
    self._guis = {}
    self._next_tag = 0
    for name, parameter in self.allParameters.items():
        if not parameter.is_node and not node.GetParameter(name):
            parameter.write(node, parameter.default)


def _connect_parameters_to_gui(self: Any, widgets: dict[str, Any]) -> int:
    tag = self._next_tag
    self._next_tag += 1
    self._guis[tag] = {name: _Binding(self, name, widget) for name, widget in widgets.items()}

    def update(*_: Any) -> None:
        for binding in self._guis.get(tag, {}).values():
            binding.to_widget()

    self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
    return tag


def _disconnect_gui(self: Any, tag: int) -> None:
    for binding in self._guis.pop(tag, {}).values():
        binding.disconnect()


class _Binding:
    """One parameter and its widget."""

    def __init__(self, wrapper: Any, name: str, widget: Any) -> None:
        self._wrapper, self._name, self._widget = wrapper, name, widget
        self._updating = False
        kind = widget.className()
        self._is_node = "NodeComboBox" in kind
        if not self._is_node and kind not in _PROPERTY_AND_SIGNAL:
            raise RuntimeError(f"Unable to create GUI connector to widget type '{kind}'")
        self._property, self._signal = _PROPERTY_AND_SIGNAL.get(
            kind, ("", "currentNodeChanged(vtkMRMLNode*)")
        )
        validators = wrapper.allParameters[name].validators
        if kind == "ctkSliderWidget":
            widget.minimum, widget.maximum = validators[0].minimum, validators[0].maximum
        self.to_widget()
        widget.connect(self._signal, self.to_node)

    def to_widget(self) -> None:
        value = getattr(self._wrapper, self._name)
        self._updating = True
        if self._is_node:
            self._widget.setCurrentNode(value)
        else:
            setattr(self._widget, self._property, value)
        self._updating = False

    def to_node(self) -> None:
        if not self._updating:
            value = self._widget.currentNode() if self._is_node else getattr(self._widget, self._property)
            setattr(self._wrapper, self._name, value)

    def disconnect(self) -> None:
        self._widget.disconnect(self._signal, self.to_node)
