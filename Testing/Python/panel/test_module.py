"""The module in the host: its own test, its widgets, the sample data, and that it asks for nothing early."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from LandmarkDetectionLib.resources import resource_path

ROOT = Path(__file__).parents[3]
UI = resource_path("UI", "LandmarkDetection.ui")
SOURCES = [
    ROOT / "LandmarkDetection" / "LandmarkDetection.py",
    *sorted((ROOT / "LandmarkDetectionLib" / "panel").glob("*.py")),
]
INTERACTIVE = re.compile(r"(Button|ComboBox|Selector|Table|CheckBox|SliderWidget|LineEdit|TextEdit)$")


def test_the_test_that_also_runs_in_slicer_passes(a_module: Any) -> None:
    a_module.LandmarkDetectionTest().runTest()


def test_a_script_detects_without_the_panel(a_module: Any, a_trained_model: Path, a_scan: Any) -> None:
    import slicer

    from LandmarkDetectionLib.scene.markups import landmark_rows
    from LandmarkDetectionLib.scene.volumes import add_volume

    volume = add_volume(a_scan, "head", slicer.mrmlScene)
    markups = a_module.LandmarkDetectionLogic().detect(volume, a_trained_model, device="cpu")
    assert [row.status for row in landmark_rows(markups)] == ["found", "found", "absent"]


def test_every_widget_says_what_it_is_for() -> None:
    silent = [
        widget.get("name")
        for widget in ElementTree.parse(UI).getroot().iter("widget")
        if widget.get("class") != "qMRMLWidget"
        and not any(item.get("name") == "toolTip" for item in widget.findall("property"))
    ]
    assert silent == []


def test_the_tab_key_goes_through_all_that_can_be_used_in_the_order_of_the_panel() -> None:
    root = ElementTree.parse(UI).getroot()
    names = [widget.get("name") or "" for widget in root.iter("widget")]
    usable = [name for name in names if INTERACTIVE.search(name) and "Collapsible" not in name]
    assert [stop.text for stop in root.iter("tabstop")] == usable


def test_no_widget_has_a_style_of_its_own() -> None:
    styled = [
        path for path in (UI, *SOURCES) if re.search("style_?sheet", path.read_text("utf-8"), re.IGNORECASE)
    ]
    assert styled == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_texts_for_people_can_be_translated(path: Path) -> None:
    """No literal goes straight into a widget, and none that is translated is put together before."""
    text = path.read_text("utf-8")
    straight = re.compile(
        r"(?:\.text|\.toolTip|\.format|\.title|helpText) = f?[\"'][A-Za-z]|say\([^,]+, f?[\"'][A-Za-z]"
    )
    assert [line for line in text.splitlines() if straight.search(line)] == []
    assert not re.search(r"\b_\(\s*f[\"']", text)


@pytest.mark.parametrize("width", [350])
def test_the_panel_fits_into_a_narrow_column(
    host: Any, a_widget: Any, a_volume_node: Any, width: int
) -> None:
    from host import pythonqt

    for name, widget in vars(a_widget.ui).items():
        if name.endswith("CollapsibleButton"):
            widget.collapsed = False
    outer = pythonqt.unwrap(a_widget.parent)
    outer.show()
    assert outer.minimumSizeHint().width() <= width
    outer.hide()


def test_the_sample_is_registered(host: Any, a_widget: Any) -> None:
    from host.application import SampleDataLogic

    source = SampleDataLogic.sources["MouseSkullMicroCT"]
    assert source["uris"].startswith("https://raw.githubusercontent.com/muratmaga/mouse_CT_atlas/")
    assert Path(source["thumbnailFileName"]).is_file()


def test_the_sample_is_downloaded_only_on_a_click(
    host: Any, a_widget: Any, mouse_skulls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from host.application import SampleDataLogic

    source = SampleDataLogic.sources["MouseSkullMicroCT"]
    monkeypatch.setitem(source, "uris", (mouse_skulls / "A_J.nii.gz").as_uri())
    assert a_widget.logic.getParameterNode().volume is None
    a_widget.ui.sampleButton.click()
    assert a_widget.logic.getParameterNode().volume.GetName() == "mouse skull A_J"
    a_widget.ui.clearButton.click()
    assert list(host.folder.glob("LandmarkDetection-*")) == []
    assert "1 MB of downloaded files removed" in a_widget.ui.logTextEdit.plainText


def test_loading_the_module_imports_neither_torch_nor_simpleitk() -> None:
    code = f"""
import os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
sys.path.insert(0, {str(ROOT / "Testing")!r})
for name in ("torch", "SimpleITK", "safetensors"):
    sys.modules[name] = None  # importing it raises ImportError
from pathlib import Path
from host.application import Host
host = Host()
module = host.load_module(Path({str(ROOT / "LandmarkDetection" / "LandmarkDetection.py")!r}))
from LandmarkDetectionLib.panel.panel import Panel
Panel.warm_up = lambda self: None  # the worker is a process of its own
widget = host.open_widget(module)
print("opened:", widget.ui.detectButton.text)
widget.cleanup()
"""
    pytest.importorskip("slicer")
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert finished.stdout.strip().endswith("opened: Detect"), finished.stderr
