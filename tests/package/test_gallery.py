"""docs/gallery: pages that softllama wrote, small, without a name of the machine that made them, all in the index."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

pytest.importorskip("PIL", reason="needs the extra plot")

FOLDER = ROOT / "docs" / "gallery"
PAGES = sorted(FOLDER.glob("*.html"))
MARK = '<meta name="generator" content="softllama '


@pytest.fixture(scope="module")
def gallery() -> Any:
    """scripts/dev/gallery.py."""
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(str(ROOT / "scripts" / "dev"))
        import gallery as module

        yield module
        for name in ("gallery", "pictures"):
            sys.modules.pop(name, None)


def test_the_pages_are_those_of_the_script(gallery: Any) -> None:
    names = [p.name for p in gallery.PAGES]
    assert {p.stem for p in PAGES} <= set(names)
    assert set(names) - {p.stem for p in PAGES} <= {"adapter"}  # its page is made once there is an adapter
    there = [p for p in gallery.PAGES if (FOLDER / f"{p.name}.html").is_file()]
    assert (FOLDER / "index.md").read_text("utf-8") == gallery.index(there)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_is_small_and_names_no_machine(page: Any) -> None:
    text = page.read_text("utf-8")
    assert MARK in text
    assert len(text) < 200_000
    assert not re.search(r"/(?:tmp|home|root|Users|work)/", text)
    assert 1_000 < page.with_suffix(".png").stat().st_size < 60_000


def test_only_folders_of_models_are_left_out(gallery: Any) -> None:
    assert gallery.without_folders('"path": "/a/b c/x.gguf", /d/e.txt') == '"path": "x.gguf", /d/e.txt'
    assert gallery.without_folders("&#34;/a/x.gguf&#34; b/y.gguf") == "&#34;x.gguf&#34; b/y.gguf"


def test_few_colours_make_a_picture_smaller_not_larger(gallery: Any) -> None:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(out, "PNG")
    small = gallery.fewer_colours(out.getvalue(), 8)
    assert len(small) < len(out.getvalue())
    assert Image.open(io.BytesIO(small)).size == (256, 256)
    assert gallery.fewer_colours(small, 8) == small or len(gallery.fewer_colours(small, 8)) <= len(small)
