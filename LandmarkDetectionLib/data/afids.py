"""The 32 anatomical fiducials (AFIDs) of the brain, which files name by their numbers.

Source: Lau et al., "A framework for evaluating correspondence between brain images using anatomical
fiducials", Human Brain Mapping 40, 2019: the label of a point is its number, its description the name. Raters
spell the names as they like; the numbers are the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

AFIDS = (
    "AC",
    "PC",
    "infracollicular sulcus",
    "PMJ",
    "superior interpeduncular fossa",
    "R superior LMS",
    "L superior LMS",
    "R inferior LMS",
    "L inferior LMS",
    "culmen",
    "intermammillary sulcus",
    "R MB",
    "L MB",
    "pineal gland",
    "R LV at AC",
    "L LV at AC",
    "R LV at PC",
    "L LV at PC",
    "genu of CC",
    "splenium of CC",
    "R AL temporal horn",
    "L AL temporal horn",
    "R superior AM temporal horn",
    "L superior AM temporal horn",
    "R inferior AM temporal horn",
    "L inferior AM temporal horn",
    "R indusium griseum origin",
    "L indusium griseum origin",
    "R ventral occipital horn",
    "L ventral occipital horn",
    "R olfactory sulcal fundus",
    "L olfactory sulcal fundus",
)
"""By number, the first is 1."""


def afid_names(labels: Sequence[str], descriptions: Sequence[str]) -> list[str] | None:
    """The names of points whose labels are the numbers of AFIDs; None where they are not.

    They are where every label is a number from 1 to 32, and at least every other description is the name that
    the protocol has for it, in any spelling.
    """
    numbers = {str(number): name for number, name in enumerate(AFIDS, start=1)}
    if not labels or not all(label in numbers for label in labels):
        return None
    names = [numbers[label] for label in labels]
    agreeing = sum(is_spelt(name, words) for name, words in zip(names, descriptions, strict=True))
    return names if 2 * agreeing >= len(names) else None


def other_afid(name: str, description: str) -> str:
    """The name of another AFID that a description gives, '' if it gives none."""
    return next((other for other in AFIDS if other != name and is_spelt(other, description)), "")


def is_spelt(name: str, words: str) -> bool:
    """Whether words are a name, but for capitals, spaces and punctuation."""
    return _letters(name) == _letters(words)


def _letters(words: str) -> str:
    return re.sub(r"[\W_]+", "", words).casefold()
