"""Build the site from docs/: its sources, the HTML, llms.txt, and a check of every link inside.

    python scripts/dev/site.py               into build/site/html
    python scripts/dev/site.py FOLDER        into FOLDER/html

docs/ reads well on GitHub as it is. What the site has beside it is made here, in FOLDER/source:

- docs/index.md is the front page, and its lists of links are the table of contents. A page that no list has comes under "More".
  The pages of the folder policies/ stand below the page policies.md, and so on.
- A page for each command, from its help, with the examples of docs/examples.md.
- Pages of the Python API, by autodoc (scripts/dev/site_api.py).
- CONTRIBUTING.md, CHANGELOG.md and SECURITY.md. Other files of the repository are linked where it lies on the web.
- Notebooks as pages.

Warnings are errors. Nothing is fetched, and pages that would fetch something are an error. Needs the extra `docs`.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/softllama/softllama/blob/main/"
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
NOT_PAGES = ("examples.md",)  # its sections are on the pages of the commands
BESIDE = {"README.md": "docs/index.md", "docs/examples.md": "docs/commands.md"}  # where links to what is no page lead
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
BADGE = re.compile(r"\[!\[([^\]]*)\]\(https?:[^)]*\)\]\(([^)]*)\)")  # a picture that would be fetched, and its link
NAMED = re.compile(r"\[([\w-]+)\.(?:md|ipynb)\]\(")  # a link whose text is a file, such as [trust.md](trust.md)
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[ ]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A page of the site in Markdown: its name in the site, and the file that it comes from, from the root."""

    name: str
    origin: str
    text: str


def written_pages() -> Iterator[Page]:
    """The pages that lie in docs/ and the root, notebooks among them."""
    for path in sorted(DOCS.rglob("*.md")):
        name = path.relative_to(DOCS).as_posix()
        if name not in NOT_PAGES:
            yield Page(name, f"docs/{name}", path.read_text("utf-8"))
    for origin, name in OUTSIDE.items():
        yield Page(name, origin, (ROOT / origin).read_text("utf-8"))
    for path in sorted(DOCS.rglob("*.ipynb")):
        name = path.relative_to(DOCS).as_posix()
        yield Page(str(PurePosixPath(name).with_suffix(".md")), f"docs/{name}", notebook(path))


def notebook(path: Path) -> str:
    """A notebook in Markdown: its words, its code in blocks, and the outputs that it is kept with."""
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(BADGE.sub(r"[\1](\2)", text))
        elif text:
            language = "text" if re.search("^ *[%!]", text, re.MULTILINE) else "python"  # %pip is no Python
            parts.append(f"```{language}\n{text}\n```")
            parts += [output for o in cell.get("outputs", []) if (output := shown(o))]
    return "\n\n".join(parts) + "\n"


def shown(output: dict[str, Any]) -> str:
    """An output of a cell in Markdown, in the richest form that it has."""
    data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
    if "image/png" in data:
        return f'```{{raw}} html\n<img alt="" src="data:image/png;base64,{data["image/png"].strip()}">\n```'
    for kind in ("image/svg+xml", "text/html"):
        if kind in data:
            return f'```{{raw}} html\n<div class="output">{data[kind].strip()}</div>\n```'
    text = data.get("text/plain") or "".join(output.get("text", ""))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def command_pages() -> Iterator[Page]:
    """A page for each command, with its subcommands, and the list of all."""
    reference = runpy.run_path(str(ROOT / "scripts" / "dev" / "reference.py"))
    examples = sections((DOCS / "examples.md").read_text("utf-8"))
    rows = []
    pages: dict[str, list[str]] = {}
    for name, command in reference["commands"]():
        text = reference["section"](name, command)
        page = name.split()[1]
        if page in pages:
            pages[page].append(text)
            continue
        rows.append(f"| [`{name}`](commands/{page}.md) | {text.splitlines()[2]} |")
        about, _, options = text.replace("## ", "# ", 1).partition(f"\n\n`{name}")
        pages[page] = [about, "## Worked examples", examples.pop(name), "## Options", f"`{name}{options}"]
    if examples:
        raise SystemExit(f"docs/examples.md has sections of no command: {', '.join(examples)}")
    yield Page(
        "commands.md", "docs/commands.md", reference["HEAD"] + "\n| command | |\n|---|---|\n" + "\n".join(rows) + "\n"
    )
    for page, parts in pages.items():
        yield Page(f"commands/{page}.md", f"docs/commands/{page}.md", "\n\n".join(parts) + "\n")


def sections(text: str) -> dict[str, str]:
    """What stands below each `## ` heading, by the heading."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (p.strip() for p in parts[2::2]), strict=True))


def api_pages() -> Iterator[Page]:
    """The pages of the Python API, and the guide to it with a list of them."""
    api = runpy.run_path(str(ROOT / "scripts" / "dev" / "site_api.py"))
    yield Page("python.md", "docs/python.md", (DOCS / "python.md").read_text("utf-8") + api["listed"]())
    for name, text in api["pages"]().items():
        yield Page(name, f"docs/{name}", text)


def relinked(page: Page, names: dict[str, str]) -> str:
    """A page's text with links for the site.

    Args:
        page: as it was written.
        names: origin -> name in the site, of all pages.
    """
    here = PurePosixPath(page.name).parent
    base = PurePosixPath(page.origin).parent

    def link(m: re.Match[str]) -> str:
        target, hash_, anchor = m[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return m[0]
        origin = os.path.normpath(base / target).replace(os.sep, "/")
        origin = BESIDE.get(origin, origin)
        if origin in names:
            to = os.path.relpath(names[origin], here)
        elif origin.startswith("docs/") and (ROOT / origin).is_file():
            to = os.path.relpath(origin.removeprefix("docs/"), here)
        else:
            to = REPOSITORY + origin
        return f"{m[1]}{to}{hash_}{anchor}{m[3]}"

    text = outside_fences(page.text, lambda part: LINK.sub(link, NAMED.sub(r"[\1](", part)))
    return outside_fences(text, to_whole_pages)


def to_whole_pages(text: str) -> str:
    """Links to pages of HTML that the site holds as they are; Sphinx would make downloads of them."""
    picture = re.sub(r"\[(!\[[^\]]*\]\([^)]*\))\]\(([^):]+\.html)\)", r'<a href="\2">\1</a>', text)
    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^):]+\.html)\)", r'<a href="\2">\1</a>', picture)


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with `change` applied to what stands outside of its code blocks."""
    parts: list[str] = []
    last = 0
    for m in FENCE.finditer(text):
        parts += [change(text[last : m.start()]), m[0]]
        last = m.end()
    return "".join([*parts, change(text[last:])])


def contents(index: str, names: list[str]) -> dict[str, list[str]]:
    """The table of contents: heading -> entries of a toctree. A page that no list of the front page has is under "More"."""
    link = re.compile(r"^- \[([^\]]+)\]\(([^)#\s]+)\.(?:md|ipynb)\)", re.MULTILINE)
    lists = {heading: link.findall(text) for heading, text in sections(index).items()}
    listed = {page for pages in lists.values() for _, page in pages}
    top = [n.removesuffix(".md") for n in names if "/" not in n or n.endswith("/index.md")]
    more = [n for n in top if n not in listed and n != "index"]
    found = {heading: [f"{title} <{page}>" for title, page in pages] for heading, pages in lists.items() if pages}
    return {**found, **({"More": more} if more else {})}


def toctree(entries: list[str], caption: str = "") -> str:
    """A hidden list of pages, which the navigation shows."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n\n```{toctree}\n" + "\n".join([*options, "", *entries]) + "\n```\n"


def children(name: str, text: str, names: list[str]) -> list[str]:
    """The pages that stand below a page: those of its folder, in the order in which it names them."""
    if ("/" in name and not name.endswith("/index.md")) or name == "index.md":
        return []
    folder = name.removesuffix("/index.md").removesuffix(".md") + "/"
    below = [n for n in names if n.startswith(folder) and n != name]
    named = re.findall(r"\((?:[^()\s]*/)?([^()\s/#]+\.md)", text)
    place = {name: i for i, name in reversed(list(enumerate(named)))}
    below.sort(key=lambda n: (place.get(n.rpartition("/")[2], len(named)), n))
    return [os.path.relpath(n, PurePosixPath(name).parent).removesuffix(".md") for n in below]


def prepare(source: Path) -> list[Page]:
    """Write the sources, and return their pages as the site has them, but for the navigation."""
    pages = {p.name: p for made in (written_pages(), command_pages(), api_pages()) for p in made}
    origins = {p.origin: p.name for p in pages.values()}
    names = sorted(pages)
    skip = shutil.ignore_patterns("*.md", "*.ipynb", "__pycache__")
    shutil.copytree(DOCS, source, ignore=skip)
    shutil.copytree(DOCS, source / "extra", ignore=lambda folder, found: [
        n for n in found if not (Path(folder) / n).is_dir() and not n.endswith(".html")])  # fmt: skip
    made = []
    for page in pages.values():
        text = relinked(page, origins)
        made.append(Page(page.name, page.origin, text))
        below = children(page.name, text, names)
        text += toctree(below) if below else ""
        if page.name == "index.md":
            text += "".join(toctree(entries, title) for title, entries in contents(page.text, names).items())
        to = source / page.name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text, "utf-8")
    return made


def write_llms(pages: list[Page], out: Path, address: str) -> None:
    """llms.txt: the front page's lists, with addresses of Markdown. llms-full.txt: every page, one after the other.

    Left out are the changelog and the Python API, which is not Markdown before Sphinx has made it.
    """
    made = re.compile(r"^```\{eval-rst\}", re.MULTILINE)
    texts = {p.name: p.text for p in pages if not made.search(p.text) and p.name != "changelog.md"}
    texts = {name: re.sub(r"```\{raw\} html\n.*?\n```\n", "", text, flags=re.DOTALL) for name, text in texts.items()}
    for name, text in texts.items():
        to = out / name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text, "utf-8")
    index = re.sub(r"\]\((?!https?:)([^)#\s]+\.(?:md|png))", rf"]({address}\1", texts["index.md"])
    (out / "llms.txt").write_text(index, "utf-8")
    order = re.findall(r"\]\((?!https?:)([^)#\s]+)\.md", texts["index.md"])
    rank = {name: i for i, name in enumerate(["index", *order])}
    ordered = sorted(texts, key=lambda n: (rank.get(n.split("/")[0].removesuffix(".md"), len(rank)), n.count("/"), n))
    (out / "llms-full.txt").write_text("\n\n".join(f"<!-- {n} -->\n\n{texts[n]}" for n in ordered), "utf-8")


def main() -> None:
    """Prepare, build, check."""
    from sphinx.cmd.build import build_main

    work = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()
    source, out = work / "source", work / "html"
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    pages = prepare(source)
    code = build_main(["-W", "--keep-going", "-q", "-b", "html", "-d", str(work / "doctrees"), str(source), str(out)])
    if code:
        sys.exit(code)
    write_llms(pages, out, "https://softllama.github.io/softllama/")
    problems = runpy.run_path(str(ROOT / "scripts" / "dev" / "site_links.py"))["problems"](out)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(list(out.rglob('*.html')))} pages in {out}")


if __name__ == "__main__":
    main()
