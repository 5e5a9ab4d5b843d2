"""The stand-in behaves as PythonQt does: what would fail in Slicer fails here."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def qt(host: Any) -> Any:
    import qt

    return qt


def test_a_property_is_an_attribute_and_calling_it_is_an_error(qt: Any) -> None:
    label = qt.QLabel("hello")
    assert label.text == "hello"
    label.text = "bye"
    assert label.text == "bye"
    with pytest.raises(TypeError):
        label.text()


def test_what_pythonqt_does_not_have_is_an_attribute_error(qt: Any) -> None:
    import slicer

    with pytest.raises(AttributeError, match="QLabel has no attribute named 'txet'"):
        _ = qt.QLabel().txet
    with pytest.raises(AttributeError, match="can be set"):
        qt.QLabel().txet = "a"
    selector = slicer.qMRMLNodeComboBox()
    with pytest.raises(AttributeError):
        selector._refresh()
    with pytest.raises(AttributeError):
        _ = qt.QNothing


def test_signals_connect_by_signature_and_by_name_with_as_many_arguments_as_are_taken(qt: Any) -> None:
    button = qt.QPushButton()
    heard: list[object] = []
    button.connect("clicked(bool)", lambda: heard.append("none"))
    button.clicked.connect(lambda checked: heard.append(checked))
    button.connect("clicked()", lambda *all_of_them: heard.append(len(all_of_them)))
    button.click()
    assert heard == ["none", False, 1]
    with pytest.raises(ValueError, match=r"no signal 'clicked\(int\)'"):
        button.connect("clicked(int)", print)


def test_what_a_slot_raises_is_kept_and_goes_no_further(qt: Any) -> None:
    from host import pythonqt

    def fail() -> None:
        raise RuntimeError("in a slot")

    button = qt.QPushButton()
    button.connect("clicked()", fail)
    button.click()
    assert [str(error) for error in pythonqt.errors] == ["in a slot"]
    pythonqt.errors.clear()


def test_a_parameter_refuses_what_it_cannot_be(a_module: Any) -> None:
    parameters = a_module.LandmarkDetectionLogic().getParameterNode()
    with pytest.raises(ValueError, match="within range"):
        parameters.leastConfidence = 1.5
    with pytest.raises(ValueError, match="must be a vtkMRMLScalarVolumeNode"):
        parameters.volume = parameters.parameterNode
