"""The rest of the Slicer application: `slicer.app`, `slicer.modules`, scripted modules, and the scene."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import logging
import shutil
import sys
import tempfile
import traceback
import unittest
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtUiTools, QtWidgets

from host import parameter_node, pythonqt, widgets

# ruff: noqa: N802, N803, N815 (the names are Slicer's)


class Application(QtCore.QObject):
    """`slicer.app`: what the module uses of qSlicerApplication."""

    startupCompleted = QtCore.Signal()

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._modules = ModuleManager()
        self._layout = LayoutManager()

    @QtCore.Slot(result=object)
    def applicationLogic(self) -> Any:
        return self._logic

    @QtCore.Slot(result=QtCore.QObject)
    def moduleManager(self) -> QtCore.QObject:
        return self._modules

    @QtCore.Slot(result=QtCore.QObject)
    def layoutManager(self) -> QtCore.QObject:
        return self._layout

    @QtCore.Slot(result=bool)
    def testingEnabled(self) -> bool:
        return True

    @QtCore.Slot()
    def processEvents(self) -> None:
        QtCore.QCoreApplication.processEvents()

    applicationName = QtCore.Property(str, lambda self: "Slicer")
    temporaryPath = QtCore.Property(str, lambda self: str(self._folder))
    slicerUserSettingsFilePath = QtCore.Property(str, lambda self: str(self._folder / "Slicer.ini"))


class LayoutManager(QtCore.QObject):
    """There are no views."""

    @QtCore.Slot(result=object)
    def mrmlSliceLogics(self) -> Any:
        return vtk.vtkCollection()


class ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)


class UiLoader(QtUiTools.QUiLoader):
    """Knows the stand-ins, and makes the connections of the file, for QUiLoader finds no Python slots."""

    def __init__(self) -> None:
        super().__init__()
        for kind in (*widgets.CTK.values(), widgets.qMRMLWidget):
            self.registerCustomWidget(kind)

    def createWidget(self, name: str, parent: Any = None, objectName: str = "") -> QtWidgets.QWidget:
        if name != "qMRMLNodeComboBox":
            return super().createWidget(name, parent, objectName)
        selector = widgets.NodeComboBox(parent)
        selector.setObjectName(objectName)
        return selector

    def load(self, device: Any, parent: Any = None) -> QtWidgets.QWidget:
        content = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = content.find("connections")
        found = list(connections) if connections is not None else []
        if connections is not None:
            content.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(content))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        by_name = {child.objectName(): child for child in widget.findChildren(QtWidgets.QWidget)}
        by_name[widget.objectName()] = widget
        for connection in found:
            sender, signal, receiver, slot = ((connection.findtext(tag) or "") for tag in _CONNECTION)
            source = getattr(by_name[sender], signal.partition("(")[0])
            source.connect(getattr(by_name[receiver], slot.partition("(")[0]))
        return widget


_CONNECTION = ("sender", "signal", "receiver", "slot")


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None: ...

    def cleanup(self) -> None: ...


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetModuleName(self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def runTest(self) -> None: ...

    def delayDisplay(self, message: str, msec: int | None = None) -> None:
        logging.info(message)


class SampleDataLogic:
    """The SampleData module: downloads a registered file into the cache, checks it, and loads it."""

    sources: ClassVar[dict[str, dict[str, str]]] = {}

    @staticmethod
    def registerCustomSampleDataSource(**source: str) -> None:
        SampleDataLogic.sources[source["sampleName"]] = source

    def downloadSamples(self, name: str) -> list[Any]:
        source = self.sources[name]
        target = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / source["fileNames"]
        urllib.request.urlretrieve(source["uris"], target)
        found = hashlib.sha256(target.read_bytes()).hexdigest()
        if source["checksums"] != f"SHA256:{found}":
            raise RuntimeError(f"{target}: the checksum is {found}")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", source["nodeNames"])
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(target))
        if not storage.ReadData(node):
            raise RuntimeError(f"{target}: cannot be read")
        return [node]


class Host:
    """A running stand-in; there can be one in a process.

    Attributes:
        folder: for settings, temporary files and downloads.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slicer-host-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self._qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
        QtCore.QCoreApplication.setOrganizationName("LandmarkDetectionHost")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, str(self.folder))
        self._install_modules()
        self._application = Application(self.folder)
        slicer.app = pythonqt.wrap(self._application)
        slicer.modules = SimpleNamespace()
        self.new_scene()

    def new_scene(self) -> Any:
        """An empty scene with the logics of Slicer's own modules."""
        scene = slicer.vtkMRMLScene()
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(str(self.folder))
        scene.SetCacheManager(cache)
        application, markups = self._application.applicationLogic(), slicer.vtkSlicerMarkupsLogic()
        application.SetMRMLScene(scene)
        markups.SetMRMLApplicationLogic(application)
        markups.SetMRMLScene(scene)
        application.SetModuleLogic("Markups", markups)
        colours = slicer.vtkMRMLColorLogic()
        colours.SetMRMLScene(scene)
        slicer.modules.colors = SimpleNamespace(logic=lambda: colours)
        slicer.modules.markups = SimpleNamespace(logic=lambda: markups)
        slicer.mrmlScene = scene
        return scene

    def load_module(self, path: Path) -> Any:
        """Load a scripted module as Slicer does: by its path, with its folder on `sys.path`."""
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        parent = SimpleNamespace(path=str(path), icon=None)
        setattr(slicer.modules, name.lower(), parent)
        parent.instance = getattr(module, name)(parent)
        self._application.startupCompleted.emit()
        return module

    def open_widget(self, module: Any) -> Any:
        """The module's widget, set up and entered, as when a person chooses the module."""
        outer = widgets.qMRMLWidget()
        QtWidgets.QVBoxLayout(outer)
        outer.setMRMLScene(slicer.mrmlScene)
        widget = getattr(module, module.__name__ + "Widget")(pythonqt.wrap(outer))
        widget.setup()
        widget.enter()
        self._outer = outer
        return widget

    def run_until(self, done: Any, *, seconds: float = 60) -> None:
        """Let the event loop run until `done()` is true; a TimeoutError if it does not become so."""
        timer = QtCore.QElapsedTimer()
        timer.start()
        while not done():
            if timer.elapsed() > 1000 * seconds:
                raise TimeoutError(f"not done after {seconds} s")
            QtCore.QCoreApplication.processEvents(
                QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents
                | QtCore.QEventLoop.ProcessEventsFlag.AllEvents,
                10,
            )

    def _install_modules(self) -> None:
        qt = pythonqt.QtFacade("qt", {"QUiLoader": UiLoader}, own=True)
        ctk = pythonqt.QtFacade("ctk", widgets.CTK, own=False)
        sys.modules.update({"qt": qt, "ctk": ctk})
        for name, kind in widgets.MRML.items():
            setattr(slicer, name, pythonqt.ClassFacade(kind))
        _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
        _module(
            "slicer.parameterNodeWrapper",
            parameterNodeWrapper=parameter_node.parameterNodeWrapper,
            WithinRange=parameter_node.WithinRange,
        )
        _module(
            "slicer.ScriptedLoadableModule",
            ScriptedLoadableModule=ScriptedLoadableModule,
            ScriptedLoadableModuleWidget=ScriptedLoadableModuleWidget,
            ScriptedLoadableModuleLogic=ScriptedLoadableModuleLogic,
            ScriptedLoadableModuleTest=ScriptedLoadableModuleTest,
        )
        _module("SampleData", SampleDataLogic=SampleDataLogic)
        slicer.util.tryWithErrorDisplay = _try_with_error_display


def _module(name: str, **members: Any) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    if name.startswith("slicer."):
        setattr(slicer, name.removeprefix("slicer."), module)


@contextmanager
def _try_with_error_display(message: str | None = None, **_: Any) -> Iterator[None]:
    """Without the window; the error is kept where tests look for it."""
    try:
        yield
    except Exception as error:
        pythonqt.errors.append(error)
        traceback.print_exc()
