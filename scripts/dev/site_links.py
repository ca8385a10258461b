"""Check pages of HTML: every link inside leads somewhere, to its heading as well, and nothing is fetched from elsewhere.

    python scripts/dev/site_links.py FOLDER

Links to other sites are not followed. Knows nothing of how the pages were made.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The ids of a page, its links, and what a browser would fetch to show it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = {""}
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect from one element."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag in ("a", "area") and "href" in given:
            self.links.append(given["href"])
        elif (
            tag == "link"
            and "href" in given
            and given.get("rel") not in ("canonical", "index", "next", "prev", "search")
        ):
            self.fetched.append(given["href"])
        if tag != "a" and "src" in given:
            self.fetched.append(given["src"])


def problems(folder: Path) -> list[str]:
    """What is wrong with the pages of a folder, a line for each."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        for target in page.fetched:
            if re.match(r"(https?:)?//", target):
                found.append(f"{name}: fetches {target}")
        for target in [*page.links, *page.fetched]:
            if re.match(r"[a-z]+:|//", target):
                continue
            parts = urlsplit(target)
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                found.append(f"{name}: nothing is at {target}")
            elif file in pages and unquote(parts.fragment) not in pages[file].ids and parts.path + parts.fragment:
                found.append(f"{name}: no place {target}")
    return found


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).resolve())
    sys.exit("\n".join(wrong) if wrong else 0)
