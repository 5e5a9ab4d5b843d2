"""What stands in the reports' pages."""

from __future__ import annotations

import csv
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_samples import EVIL, EXCHANGED, MISSED, UNREADABLE, Scans, write_annotations, write_evaluation

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.report import training
from LandmarkDetectionLib.report.folder import FRONT, new_report

KINDS = ("evaluation", "annotations", "cohort")
ALL_KINDS = (*KINDS, "training")


class Page(HTMLParser):
    """Collects where a page leads, its anchors and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self.tags: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := values.get(key))]
        identifier = values.get("id")
        if identifier:
            assert identifier not in self.anchors, f"the id {identifier} stands twice"
            self.anchors.add(identifier)

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(report: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in report.rglob("*.html")}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_link_and_picture_of_a_report_is_there_and_none_leads_outside(
    reports: dict[str, Path], kind: str
) -> None:
    found = pages(reports[kind])
    assert len(found) > (0 if kind == "training" else 6)
    for path, page in found.items():
        for link in page.links:
            if link.startswith("data:"):
                continue
            name, _, anchor = link.partition("#")
            target = Path(os.path.normpath(path.parent / name)) if name else path
            assert target.is_file(), f"{path}: {link}"
            assert reports[kind] in target.parents
            if anchor:
                assert anchor in found[target].anchors, f"{path}: {link}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_landmark_whose_name_is_markup_is_shown_and_not_run(reports: dict[str, Path], kind: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in reports[kind].rglob("*.html"))
    assert EVIL not in text
    assert EVIL in "".join(page.text for page in pages(reports[kind]).values())


def test_the_front_page_tells_failures_first(reports: dict[str, Path]) -> None:
    text = (reports["evaluation"] / FRONT).read_text(encoding="utf-8")
    failures = text[text.index('id="failures"') : text.index('id="picture"')]
    assert "case 9: its landmarks cannot be read." in failures
    assert f"bregma in {MISSED}: missed." in failures
    assert f"left eye and right eye in {EXCHANGED} are exchanged" in failures
    assert failures.count("<li>") == 3
    assert text.index('id="failures"') < text.index('id="landmarks"')


def test_the_worst_case_of_a_landmark_comes_first(reports: dict[str, Path]) -> None:
    text = (reports["evaluation"] / "landmarks" / "0000.html").read_text(encoding="utf-8")
    assert "The middle of the left orbit." in text
    captions = "".join(re.findall("<figcaption>.*?</figcaption>", text))
    errors = [float(error) for error in re.findall(r"([\d.]+) mm off", captions)]
    assert len(errors) == 6
    assert errors == sorted(errors, reverse=True)
    assert re.search(r"<figure[^>]*>.*?</figure>", text, re.S)[0].count(EXCHANGED)  # type: ignore[index]


def test_a_case_whose_scan_cannot_be_read_has_numbers_and_a_sentence(scans: Scans, tmp_path: Path) -> None:
    assert write_evaluation(scans, tmp_path / "report") == {UNREADABLE: "the scan is damaged."}
    page = Page(tmp_path / "report" / "cases" / "0003.html")
    assert "It has no pictures: the scan is damaged." in page.text
    assert "canvas" not in page.tags
    assert page.text.count("nasion") == 1


def test_the_comparison_says_who_is_nearer(reports: dict[str, Path]) -> None:
    text = Page(reports["evaluation"] / FRONT).text
    assert "nearer is nearer" in text
    assert "Wilcoxon's signed-rank test on the cases' mean differences: p = 0.031." in text
    assert "1 by nearer alone" in " ".join(text.split())


def test_findings_lead_to_the_case(reports: dict[str, Path]) -> None:
    text = (reports["annotations"] / FRONT).read_text(encoding="utf-8")
    assert '<a href="cases/0002.html">swapped: two landmarks seem exchanged.</a>' in text


def test_the_case_to_look_at_first_comes_first_and_the_failed_one_is_told(reports: dict[str, Path]) -> None:
    text = (reports["cohort"] / FRONT).read_text(encoding="utf-8")
    assert "case 9: the file is damaged." in text
    rows = re.findall(r'<th scope="row"><a href="cases/\d+.html">(case \d)</a>', text)
    assert rows[0] == EXCHANGED, "its eyes do not fit the mean shape"
    assert len(rows) == 6


def test_measurements_stand_in_a_table_with_their_intervals(reports: dict[str, Path]) -> None:
    with (reports["cohort"] / "measurements.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["measurement"] for row in rows] == ["width"] * 6
    assert all(float(row["low"]) < float(row["value"]) < float(row["high"]) for row in rows)
    assert all(abs(float(row["value"]) - 16.2) < 3 for row in rows)


def test_a_report_replaces_an_older_one_whole(scans: Scans, tmp_path: Path) -> None:
    write_evaluation(scans, tmp_path / "report")
    (tmp_path / "report" / ".DS_Store").write_text("of a file manager", encoding="utf-8")
    write_annotations(scans, tmp_path / "report")
    assert not (tmp_path / "report" / "points.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_with_something_else_in_it_is_left_alone(scans: Scans, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match="something other than a report stands there"):
        write_annotations(scans, tmp_path / "report")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["notes.txt", "cases/remarks.txt", "landmarks/mine.mrk.json"])
def test_what_a_person_has_put_into_a_report_is_left_alone(scans: Scans, tmp_path: Path, name: str) -> None:
    write_annotations(scans, tmp_path / "report")
    (tmp_path / "report" / name).write_text("look at case 2", encoding="utf-8")
    with pytest.raises(InputError, match=f"{re.escape(name)} stands there beside a report"):
        write_annotations(scans, tmp_path / "report")
    assert (tmp_path / "report" / name).is_file()


def test_what_is_put_there_while_a_report_is_written_is_left_alone_too(scans: Scans, tmp_path: Path) -> None:
    write_annotations(scans, tmp_path / "report")
    late = tmp_path / "report" / "late.txt"
    with pytest.raises(InputError, match=r"late\.txt"), new_report(tmp_path / "report"):
        late.write_text("just now", encoding="utf-8")
    assert late.is_file() and (tmp_path / "report" / FRONT).is_file()


def test_no_page_says_where_the_scans_lie(tmp_path: Path) -> None:
    with new_report(tmp_path / "report", [Path("/scans/Jane & Doe"), Path("cases")]) as folder:
        folder.add_page(
            "cases/0000.html",
            "landmark.html",
            title="a",
            sentences=["/scans/Jane & Doe/a.nii is damaged."],
            shown=[],
            legend=(),
            before=None,
            after=None,
        )
    text = (tmp_path / "report" / "cases" / "0000.html").read_text(encoding="utf-8")
    assert "<p>a.nii is damaged.</p>" in text and "Jane" not in text


def test_a_report_that_fails_leaves_the_old_one_and_nothing_else(scans: Scans, tmp_path: Path) -> None:
    write_annotations(scans, tmp_path / "report")
    before = sorted(path.name for path in (tmp_path / "report").iterdir())

    def killed(case: str) -> None:
        raise KeyboardInterrupt

    broken = Scans(scans.volumes, scans.truths, scans.detections)
    object.__setattr__(broken, "read", killed)
    with pytest.raises(KeyboardInterrupt):
        write_evaluation(broken, tmp_path / "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_one_case_with_two_landmarks_makes_a_report(scans: Scans, tmp_path: Path) -> None:
    from LandmarkDetectionLib.data.landmarks import LandmarkSet
    from LandmarkDetectionLib.evaluation.metrics import evaluate
    from LandmarkDetectionLib.report import annotations, evaluation

    case = "case 0"
    truth = {case: LandmarkSet(["nasion", "bregma"], scans.truths[case].positions_of(["nasion", "bregma"]))}
    said = {case: scans.detections[case]}
    compared = evaluation.Compared("One", truth, said, evaluate(truth, said))
    evaluation.write_report(compared, scans.read, tmp_path / "one")
    annotations.write_report(annotations.Checked("One", truth, []), scans.read, tmp_path / "two")
    assert "fewer than 5 cases" in Page(tmp_path / "two" / FRONT).text
    nothing = {case: LandmarkSet(["nasion"], scans.truths[case].positions_of(["nothing"]))}
    evaluation.write_report(
        evaluation.Compared("None", nothing, said, evaluate(nothing, said)), scans.read, tmp_path / "three"
    )
    assert "found where it is absent" in Page(tmp_path / "three" / FRONT).text


def test_the_report_of_a_training_says_how_each_network_ended_and_shows_its_samples(
    reports: dict[str, Path], tmp_path: Path
) -> None:
    text = Page(reports["training"] / FRONT).text
    assert "3 epochs, 15 steps; loss 4 in the end." in text
    assert "Best in its validation cases after epoch 2: 1.50 mm on average, 50.0% found." in text
    assert text.count("What it was shown") == 1, "the other network has left no picture"
    with pytest.raises(InputError, match=r"model\.json"):
        training.write_report(tmp_path, tmp_path / "report")
