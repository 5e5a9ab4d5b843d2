"""A thin stand-in for the Slicer application, to test the module where Slicer itself does not run.

Real are: MRML, its logics and `slicer.util` (from slicer-core), Qt (PySide6) with its event loop and
QProcess, and everything of this project. Stand-ins are: PythonQt's view of Qt (`pythonqt`), the few CTK and
MRML widgets that the module uses (`widgets`), the parameter node wrapper (`parameter_node`), `slicer.app`,
`slicer.modules`, SampleData and the base classes of scripted modules (`application`).

Its limits: there are no views, so placing with the mouse, jumping slices and cameras are tested by the calls
and nodes only. There are no layouts, menus, subject hierarchy widgets, Extensions Manager, DICOM database or
pip. Dialogs are not shown, translations are the texts themselves, and Qt classes cannot be subclassed. What
passes here has still to be looked at in Slicer: docs/check-in-slicer.md lists what, and how.
"""
