"""Qt objects as Slicer's PythonQt shows them, on top of PySide6.

- A property is an attribute: `label.text`, `box.checked = True`; calling it is an error, for it is a value.
- Slots, invokable methods and the public methods of Qt's own classes are called.
- A signal connects by its signature, `button.connect("clicked(bool)", f)`, or by its name,
  `button.clicked.connect(f)`; f gets as many arguments as it takes. What f raises is printed, kept in
  `errors`, and goes no further.
- Any other name raises AttributeError, for reading and for setting. So does a method that a stand-in written
  in Python has for itself: only what its QMetaObject names is seen.

What is not here: subclasses of Qt classes in Python, operators on Qt values, ownership.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import PySide6.QtCore as QtCore
import PySide6.QtGui as QtGui
import PySide6.QtUiTools as QtUiTools
import PySide6.QtWidgets as QtWidgets

errors: list[BaseException] = []
"""What connected functions have raised."""

_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)
_PYTHONQT_NAMES = {"exec_": "exec"}
_STRING_ONLY = ("getOpenFileName", "getSaveFileName")  # PySide6 gives the chosen filter too


def wrap(value: Any) -> Any:
    """A value of PySide6 as PythonQt would hand it over."""
    if isinstance(value, QtCore.QObject):
        return ObjectFacade(value)
    if isinstance(value, list | tuple):
        return type(value)(map(wrap, value))
    return ValueFacade(value) if _is_qt_value(value) else value


def unwrap(value: Any) -> Any:
    """What PySide6 takes for a value that PythonQt takes."""
    if isinstance(value, ValueFacade | ClassFacade):
        return object.__getattribute__(value, "_wrapped")
    if isinstance(value, list | tuple):
        return type(value)(map(unwrap, value))
    return value


def guarded(function: Callable[..., Any], given: int = 0) -> Callable[..., None]:
    """A function as PythonQt calls it for a signal that gives so many arguments."""
    most = _most_arguments(function)

    def call(*arguments: Any) -> None:
        try:
            function(*map(wrap, arguments[:most]))
        except Exception as error:
            errors.append(error)
            traceback.print_exc()

    # PySide6 gives a function as many arguments as it names.
    exact: tuple[Callable[..., None], ...] = (lambda: call(), lambda a: call(a), lambda a, b: call(a, b))
    return exact[given]


class ValueFacade:
    """An instance of a Qt class that is no QObject: only methods."""

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "_wrapped", wrapped)

    def __getattr__(self, name: str) -> Any:
        wrapped = object.__getattribute__(self, "_wrapped")
        method = _qt_method(wrapped, name)
        if method is None:
            raise AttributeError(f"{type(wrapped).__name__} has no attribute named '{name}'")
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(unwrap(self)).__name__} has no attribute named '{name}' that can be set")

    def __eq__(self, other: object) -> bool:
        return bool(unwrap(self) == unwrap(other))

    def __hash__(self) -> int:
        return hash(unwrap(self))

    def __repr__(self) -> str:
        return f"<PythonQt {unwrap(self)!r}>"


class ObjectFacade(ValueFacade):
    """A QObject: properties, signals and methods, as its QMetaObject tells."""

    def __getattr__(self, name: str) -> Any:
        wrapped = object.__getattribute__(self, "_wrapped")
        name = "objectName" if name == "name" else name
        meta = wrapped.metaObject()
        if meta.indexOfProperty(name) >= 0:
            return wrap(wrapped.property(name))
        if _signal_named(wrapped, name):
            return SignalFacade(wrapped, name)
        method = _qt_method(wrapped, name) or _slot(wrapped, name)
        if method is None:
            raise AttributeError(f"{meta.className()} has no attribute named '{name}'")
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        wrapped = object.__getattribute__(self, "_wrapped")
        name = "objectName" if name == "name" else name
        index = wrapped.metaObject().indexOfProperty(name)
        if index < 0 or not wrapped.metaObject().property(index).isWritable():
            raise AttributeError(
                f"{wrapped.metaObject().className()} has no attribute named '{name}' that can be set"
            )
        wrapped.setProperty(name, unwrap(value))

    def className(self) -> str:  # noqa: N802
        return str(unwrap(self).metaObject().className())

    def connect(self, signature: str, function: Callable[..., Any]) -> bool:
        SignalFacade(unwrap(self), _signal_of(unwrap(self), signature)).connect(function)
        return True

    def disconnect(self, signature: str, function: Callable[..., Any]) -> bool:
        SignalFacade(unwrap(self), _signal_of(unwrap(self), signature)).disconnect(function)
        return True


class SignalFacade:
    """A signal of an object; calling it emits."""

    _connections: ClassVar[dict[tuple[int, str, Any], Callable[..., None]]] = {}

    def __init__(self, owner: QtCore.QObject, name: str) -> None:
        self._owner, self._name = owner, name

    def connect(self, function: Callable[..., Any]) -> None:
        call = guarded(function, _arguments_of_signal(self._owner, self._name))
        self._connections[id(self._owner), self._name, function] = call
        getattr(self._owner, self._name).connect(call)

    def disconnect(self, function: Callable[..., Any]) -> None:
        getattr(self._owner, self._name).disconnect(
            self._connections.pop((id(self._owner), self._name, function))
        )

    def __call__(self, *arguments: Any) -> None:
        getattr(self._owner, self._name).emit(*map(unwrap, arguments))

    emit = __call__


class ClassFacade:
    """A Qt class: it is called for an instance, and has enums and static methods."""

    def __init__(self, wrapped: type) -> None:
        self._wrapped = wrapped

    def __call__(self, *arguments: Any) -> Any:
        return wrap(self._wrapped(*map(unwrap, arguments)))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if isinstance(value, type):
            return ClassFacade(value)
        return _called(value, first_only=name in _STRING_ONLY) if callable(value) else value

    def __eq__(self, other: object) -> bool:
        return unwrap(self) is unwrap(other)

    def __hash__(self) -> int:
        return hash(self._wrapped)


class QtFacade(ModuleType):
    """A module, `qt` or `ctk`, of class facades.

    Args:
        name: of the module.
        classes: where to look for a class that is not among PySide6's own.
        own: whether PySide6's own classes are in the module.
    """

    def __init__(self, name: str, classes: dict[str, type], *, own: bool) -> None:
        super().__init__(name)
        self._classes, self._own = classes, own

    def __getattr__(self, name: str) -> ClassFacade:
        found = self._classes.get(name)
        for module in _MODULES if self._own else ():
            found = found or getattr(module, name, None)
        if not isinstance(found, type):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return ClassFacade(found)


def _is_qt_value(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.startswith("PySide6") and not hasattr(kind, "__members__")


def _most_arguments(function: Callable[..., Any]) -> int | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)


def _called(method: Callable[..., Any], *, first_only: bool = False) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        given = [guarded(item) if _is_plain_function(item) else unwrap(item) for item in arguments]
        result = method(*given)
        return wrap(result[0] if first_only else result)

    return call


def _is_plain_function(value: Any) -> bool:
    return inspect.isfunction(value) or inspect.ismethod(value)


def _qt_method(wrapped: Any, name: str) -> Callable[..., Any] | None:
    """A public method that one of Qt's own classes, not a stand-in in Python, gives an object."""
    name = _PYTHONQT_NAMES.get(name, name)
    for kind in type(wrapped).__mro__:
        if kind.__module__.startswith("PySide6") and name in vars(kind) and not name.startswith("_"):
            method = getattr(wrapped, name)
            return _called(method, first_only=name in _STRING_ONLY) if callable(method) else None
    return None


def _slot(wrapped: QtCore.QObject, name: str) -> Callable[..., Any] | None:
    meta = wrapped.metaObject()
    names = {meta.method(index).name().data().decode() for index in range(meta.methodCount())}
    return _called(getattr(wrapped, name)) if name in names else None


def _signal_named(wrapped: QtCore.QObject, name: str) -> bool:
    return name in _signals(wrapped)


def _arguments_of_signal(wrapped: QtCore.QObject, name: str) -> int:
    return _signals(wrapped)[name]


def _signals(wrapped: QtCore.QObject) -> dict[str, int]:
    """The names of an object's signals, each with the most arguments that an overload gives."""
    kind = type(wrapped)
    if kind not in _signals_of_class:
        meta, found = wrapped.metaObject(), dict[str, int]()
        for method in map(meta.method, range(meta.methodCount())):
            if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
                name = method.name().data().decode()
                found[name] = max(found.get(name, 0), method.parameterCount())
        _signals_of_class[kind] = found
    return _signals_of_class[kind]


_signals_of_class: dict[type, dict[str, int]] = {}


def _signal_of(wrapped: QtCore.QObject, signature: str) -> str:
    """The name of the signal of this signature; a stand-in says in `SIGNALS` what C++ has."""
    name = signature.partition("(")[0]
    declared = getattr(type(wrapped), "SIGNALS", ())
    normalised = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    if normalised in declared or wrapped.metaObject().indexOfSignal(normalised) >= 0:
        return name
    raise ValueError(f"{wrapped.metaObject().className()} has no signal '{signature}'")
