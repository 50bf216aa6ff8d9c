"""Every link of the documentation leads somewhere."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from tests.docs.pages import PAGES, ROOT, name_of, prose, read

LINKS = [
    (name_of(page), target)
    for page in PAGES
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name_of(page)))
    if "://" not in target
]


def anchors(page: str) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_it_leads_to_what_is_there(page: str, target: str) -> None:
    path, _, fragment = target.partition("#")
    place = (ROOT / page).parent / path if path else ROOT / page
    assert place.exists()
    if fragment:
        assert fragment in anchors(place.resolve().relative_to(ROOT).as_posix())


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[str](), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for source, target in LINKS:
            place = ((ROOT / source).parent / target.partition("#")[0]).resolve()
            if source == page and place.suffix == ".md" and place in PAGES:
                waiting.append(place.relative_to(ROOT).as_posix())
    assert {name_of(page) for page in PAGES} - reached - {"docs/README.md"} == set()


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_it_has_one_title_and_no_level_is_skipped(page: str) -> None:
    levels = [len(hashes) for hashes in re.findall(r"^(#+) ", prose(page), re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_it_names_no_path_of_one_machine(page: str) -> None:
    assert not re.search(r"(?<![\w.])/(?:work|root|home|tmp|Users)/", read(page))
