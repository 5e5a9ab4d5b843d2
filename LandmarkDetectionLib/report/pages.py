"""Pieces of pages that several reports have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.colors import to_hex

from LandmarkDetectionLib.report.charts import SHADES
from LandmarkDetectionLib.report.gallery import case_page, landmark_page


def heat_table(
    rows: Sequence[int],
    columns: Sequence[int],
    landmarks: Sequence[str],
    cases: Sequence[str],
    cell: Callable[[int, int], dict[str, str] | None],
) -> dict[str, Any]:
    """A table of landmarks (rows) and cases (columns), as `parts.heat` shows it.

    Args:
        rows: numbers of the landmarks, in order.
        columns: numbers of the cases, in order.
        landmarks: the names of all.
        cases: the names of all.
        cell: of a case and a landmark; None for an empty one.
    """
    return {
        "columns": [{"name": cases[case], "href": case_page(case)} for case in columns],
        "rows": [
            {
                "name": landmarks[row],
                "href": landmark_page(row),
                "cells": [cell(case, row) for case in columns],
            }
            for row in rows
        ],
    }


def heat_cell(share: float, text: str, href: str, words: str) -> dict[str, str]:
    """A cell whose shade says how bad it is: 0 is pale, 1 and more is darkest."""
    colour = SHADES(min(share, 1.0))
    ink = "#000" if _luminance(colour) > 0.2 else "#fff"
    return {"text": text, "style": f"background:{to_hex(colour)};color:{ink}", "href": href, "words": words}


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
