"""softllama trace: what it prints at which width, exit codes, the page and what a browser makes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from softllama.cli import main
from softllama.trace import load, page
from softllama.trace.record import Trace
from softllama.trace.step import HARD, SOFT
from softllama.vectors.mixture import Mixture
from tests.support.traces import HOSTILE, hostile, step, trace


def call(*arguments: str | Path) -> int:
    """Run the command line in this process; the exit code. pytest's capsys has what it printed."""
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in arguments])
    code = e.value.code
    return int(code or 0) if not isinstance(code, str) else 1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    trace().save(tmp_path / "t.jsonl")
    return tmp_path / "t.jsonl"


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


# ---- show


def test_show_whole(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("trace", "show", file) == 0
    assert (
        capsys.readouterr().out
        == """\
model             toy
policy            soft_thinking:n=2
seed              11
stopped           max tokens
steps             4; 2 thinking + 1 answer; 2 soft, 1 forced, 1 hard
mean entropy      2.000 nats
effective tokens  1.50 in a mixture
evaluated         6 positions, 4 tokens/s
prompt            A [0.75 cat + 0.25 dog]

── thinking ────────────────────────────────────────────────────────────────────
0  soft    ▋      1.00  ␣dog .500  ␣cat .500
1  soft    █▍     2.00  ␣cat
2  forced  ██████ 9.00  </think>  (thinking budget)
── answer ──────────────────────────────────────────────────────────────────────
3  hard    ██     3.00  ␣the

the thinking reads
 dog cat

the answer reads
 the
"""
    )


@pytest.mark.parametrize("columns", [20, 60, 80, 140])
@pytest.mark.parametrize("top", [None, 1, 50])
def test_show_fits_its_width(
    tmp_path: Path, columns: int, top: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line is wider than the terminal, also with wide characters, and each step keeps its line."""
    monkeypatch.setenv("COLUMNS", str(columns))
    w = dict.fromkeys(range(1, 41), 1 / 40)
    steps = [step(i, w, why="as it is", text=" a", noise=0.1 * i) for i in range(12)]
    trace(steps, texts={i: f" {'日本語' * (i % 4)}{i}" for i in w}, prompt_text="word " * 60).save(tmp_path / "t.npz")
    assert call("trace", "show", tmp_path / "t.npz", *(["--top", str(top)] if top else [])) == 0
    lines = capsys.readouterr().out.splitlines()
    if columns >= 60:
        assert max(map(cell_len, lines)) <= columns
    numbered = [line for line in lines if re.match(r" ?\d+  soft ", line)]
    assert len(numbered) == (12 if columns >= 60 else len(numbered))
    if top == 50 and columns >= 60:
        text = "\n".join(lines)
        assert all(text.count(f"{i} .025") >= 12 for i in w)
    if top == 1 and columns >= 60:
        assert all("+39" in line for line in numbered)


def test_show_an_arrow_marks_a_readout_that_is_not_the_heaviest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace([step(0, {1: 0.9, 2: 0.1}, token=2), step(1, {1: 0.9, 2: 0.1}, token=1)]).save(tmp_path / "t.npz")
    assert call("trace", "show", tmp_path / "t.npz") == 0
    out = capsys.readouterr().out.splitlines()
    assert "→ ␣cat  ␣dog .900  ␣cat .100" in "\n".join(out)
    assert sum("→" in line for line in out) == 1


def test_show_hidden_noise_and_tiny_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [
        step(0, {1: 1.0}, hidden=True),
        step(1, {1: 0.9999, 2: 0.0001}, noise=0.33),
        step(2, {1: 2.0, 2: -1.0}, signed=True),
    ]
    trace(steps).save(tmp_path / "t.npz")
    assert call("trace", "show", tmp_path / "t.npz") == 0
    out = capsys.readouterr().out
    for words in ("hidden state, reads as  ␣dog", "␣dog 1.00  ␣cat <.001  noise 0.33", "␣dog 2  ␣cat -1"):
        assert words in out


def test_show_of_no_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace([], manifest={"model": 3}).save(tmp_path / "t.jsonl")
    assert call("trace", "show", tmp_path / "t.jsonl") == 0
    out = capsys.readouterr().out
    assert "unknown" in out
    assert "It reads as nothing." in out


def test_show_lets_no_control_character_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile().save(tmp_path / "t.jsonl")
    assert call("trace", "show", tmp_path / "t.jsonl", "--top", "20") == 0
    out = capsys.readouterr().out
    assert not [c for c in out if not c.isprintable() and c != "\n"]
    out.encode()  # and no half of a surrogate pair


def test_show_of_a_file_that_was_cut_off(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes()[:-400])
    assert call("trace", "show", file) == 0
    assert "the file ends here" in capsys.readouterr().out


def test_in_a_pipe_there_are_no_colours(file: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    r = subprocess.run(
        [sys.executable, "-m", "softllama", "trace", "show", str(file)],
        capture_output=True,
        env=env,
        check=True,
        timeout=60,
    )
    assert b"\x1b" not in r.stdout
    assert r.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "no.jsonl"], 1, "cannot read the trace"),
        (["show", "FILE", "--top", "0"], 2, "--top must be 1 or more"),
        (["show"], 2, "Missing argument"),
        (["html", "FILE", "-o", "page.txt"], 2, "end the name in .html"),
        (["html", "FILE", "-o", "no/such/page.html"], 2, "there is no folder"),
        (["html", "FILE", "-o", "mine.html"], 2, "is not a page of softllama"),
        (["replay", "FILE"], 1, "name it with -m"),
        (["replay", "FILE", "--tolerance", "-1"], 2, "the tolerance must be"),
        (["replay", "FILE", "--tolerance", "nan"], 2, "the tolerance must be"),
        (["replay", "FILE", "-m", "no.gguf"], 1, "no.gguf"),
        (["export", "FILE", "t.txt"], 2, "end the name in .jsonl, .npz, .csv or .html"),
        (["export", "FILE", "no/t.npz"], 2, "there is no folder"),
        (["export", "FILE", "mine.html"], 2, "is not a page of softllama"),
        (["export", "FILE"], 2, "Missing argument"),
        (["export", "no.npz", "t.jsonl"], 1, "cannot read the trace"),
        (["shw", "FILE"], 2, "No such command"),
    ],
)
def test_errors(
    file: Path,
    arguments: list[str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(file.parent)
    Path("mine.html").write_text("<!doctype html><p>my own page")
    assert call("trace", *(a.replace("FILE", file.name) for a in arguments)) == code
    out, err = capsys.readouterr()
    assert words in err
    assert not out
    assert Path("mine.html").read_text() == "<!doctype html><p>my own page"


# ---- export


@pytest.mark.parametrize("suffix", [".npz", ".jsonl"])
def test_export_to_a_form_that_is_read_again(file: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = file.with_name("other" + suffix)
    for _ in range(2):  # an earlier trace is replaced
        assert call("trace", "export", file, target) == 0
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"trace: {target}\n")
        assert list(load(target).jsonl()) == list(load(file).jsonl())


@pytest.mark.parametrize("suffix", [".csv", ".html"])
def test_export_to_a_form_for_others(file: Path, suffix: str) -> None:
    target = file.with_name("other" + suffix)
    for _ in range(2):
        assert call("trace", "export", file, target) == 0
        text = target.read_text()
        assert "softllama trace html" in text if suffix == ".html" else len(text.splitlines()) == 5
    target.write_text("mine")
    assert call("trace", "export", file, target) == 2
    assert target.read_text() == "mine"


# ---- replay


@pytest.fixture(scope="module")
def told(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("told") / "t.jsonl"
    model.generate(
        [*model.tokenize("Once", bos=True), Mixture([3, 5], [0.5, 0.5])], policy="full", max_tokens=8, seed=3
    ).save(path)
    return path


def test_replay_with_the_model_that_the_trace_names(model: Any, told: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("trace", "replay", told) == 0
    out, err = capsys.readouterr()
    assert out.startswith("8 steps fed again.")
    assert out.endswith("They agree.\n")
    assert f"model: {model.path}, which the trace names" in err


def test_replay_that_does_not_agree(told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded probability of one token at step 2 is 0.25 less: the difference is that, there."""
    lines = told.read_text().splitlines()
    record = json.loads(lines[3])
    record["top"][0][1] -= 0.25
    lines[3] = json.dumps(record)
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert call("trace", "replay", "-q", tmp_path / "t.jsonl") == 1
    out, err = capsys.readouterr()
    assert "is 0.25 at step 2, the tolerance 0.0001. They do not agree: 1 of them differ more." in out
    assert err == ""
    assert call("trace", "replay", "-q", tmp_path / "t.jsonl", "--tolerance", "0.3") == 0


def test_replay_with_another_model(told: Path, write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    other = write("llama", table_type="Q8_0")
    assert call("trace", "replay", "-q", told, "-m", other) == 1
    assert re.search(r"made with \S+ \(sha256 \w+…\), and this is \S+ \(sha256 \w+…\)", capsys.readouterr().err)
    assert call("trace", "replay", "-q", told, "-m", other, "--any-model", "--tolerance", "1") == 0


# ---- the page


class _Elements(HTMLParser):
    """Start tags with their attributes, and the text of everything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def data_of(text: str) -> Any:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])


def test_html_beside_the_trace(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = file.with_suffix(".html")
    assert call("trace", "html", file) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"page: {target}\n")
    first = target.read_bytes()
    assert call("trace", "html", file) == 0  # an earlier page is replaced
    assert target.read_bytes() == first
    assert sorted(p.name for p in file.parent.iterdir()) == ["t.html", "t.jsonl"]


def test_the_page_has_the_numbers(file: Path) -> None:
    text = page.page(trace())
    data = data_of(text)
    assert data["texts"][:2] == ["␣dog", "␣cat"]
    assert data["steps"][0] == {
        "m": 0, "k": 1, "t": 0, "h": 1.0, "n": 2, "w": [[0, 0.5], [1, 0.5]], "r": 0, "p": [[0, 0.75], [2, 0.125]], "y": "n=2",
    }  # fmt: skip
    assert [s["m"] for s in data["steps"]] == [0, 0, 2, 1]
    assert "soft_thinking:n=2 on toy" in text
    assert '<span data-step="1" class=soft> cat</span>' in text


def test_what_is_left_out_of_the_page_keeps_its_weight() -> None:
    t = trace([step(0, dict.fromkeys(range(100), 0.01))])
    s = data_of(page.page(t))["steps"][0]
    assert len(s["w"]) == page.TOP
    assert s["r"] == pytest.approx(1 - page.TOP / 100, abs=1e-4)
    assert s["n"] == 100


def test_the_page_needs_nothing_else() -> None:
    text = page.page(trace())
    for tag, attributes in _Elements(text).found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base"), tag
        assert not {"src", "href", "srcset", "action"} & set(attributes), tag
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttp|innerHTML|eval\(", text)


def test_hostile_texts_stay_texts() -> None:
    """The page of a hostile trace has the elements of a harmless one, and nothing else."""

    def elements(t: Trace) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (tag, tuple(a))
            for tag, a in _Elements(page.page(t)).found
            if "data-step" not in a and tag not in ("h2", "p")
        ]

    assert elements(hostile()) == elements(trace())
    text = page.page(hostile())
    assert len(re.findall(r"<script", text)) == 2
    assert data_of(text)["texts"][0] == HOSTILE[1].replace("\x1b", "\\x1b")
    assert all(s not in text.encode("utf-8", "replace").decode() for s in ("\x1b", "\u2028", "\u202e", "\x00"))


# ---- in a browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that opens a page in headless Chromium and returns the document as it is then; a picture, if asked."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    program = os.environ.get("SOFTLLAMA_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("needs Chromium or Chrome on the path (or SOFTLLAMA_BROWSER)")
    user = tmp_path_factory.mktemp("browser")

    def open_page(
        path: Path, fragment: str = "", *, size: str = "1200,900", dark: bool = False, picture: Path | None = None
    ) -> str:
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", f"--user-data-dir={user}",
            f"--window-size={size}", *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            f"--screenshot={picture}" if picture else "--dump-dom", f"{path.as_uri()}{fragment}",
        ]  # fmt: skip
        r = subprocess.run(command, capture_output=True, timeout=120, check=False)
        if r.returncode:
            pytest.skip(f"{program} does not start here: {r.stderr[-300:]!r}")
        return r.stdout.decode()

    return open_page


def state(dom: str) -> dict[str, str]:
    """The data- attributes of the document."""
    return dict(re.findall(r'data-(\w+)="([^"]*)"', re.findall(r"<html[^>]*>", dom)[0]))


def test_a_browser_draws_the_page(file: Path, browser: Any) -> None:
    page.write(trace(), file.with_suffix(".html"))
    dom = browser(file.with_suffix(".html"), "#step=0")
    assert state(dom) == {"ready": "steps=4 columns=4 rows=4 view=token", "step": "0"}
    tip = re.findall(r'<div class="tip".*?</table>', dom, re.DOTALL)[0]
    assert re.sub(r"<[^>]*>", " ", tip).split() == (
        ["step", "0,", "soft,", "thinking", "1.000", "nats", "reads", "␣dog", "n=2", "␣dog", "0.500", "␣cat", "0.500"]
    )
    assert 'class="soft at"' in dom  # the step's text is marked
    assert "hidden" not in re.findall(r'<div class="tip"[^>]*>', dom)[0]


def runs() -> Trace:
    """2 mixtures, 8 hard steps of other tokens, 1 mixture, 5 hard steps: of the runs, only the first is long enough."""
    fed = (
        [{1: 0.5, 2: 0.5}] * 2
        + [{10 + i: 1.0} for i in range(8)]
        + [{3: 0.75, 4: 0.25}]
        + [{20 + i: 1.0} for i in range(5)]
    )
    steps = [step(i, w, SOFT if len(w) > 1 else HARD, text="x") for i, w in enumerate(fed)]
    return trace(steps, texts={i: f" t{i}" for i in range(30)})


def test_a_browser_folds_runs_of_single_tokens(file: Path, browser: Any) -> None:
    """16 steps in 9 columns; a run has a text of its own, and a step in it can still be named."""
    target = file.with_suffix(".html")
    page.write(runs(), target)
    assert state(browser(target))["ready"].startswith("steps=16 columns=9 ")
    assert state(browser(target, "#fold=0"))["ready"].startswith("steps=16 columns=16 ")
    assert "step 4, hard" in browser(target, "#step=4")
    script = """<script>
    const chart = document.querySelector(".chart"), log = [];
    for (const key of ["ArrowRight", "ArrowRight", "ArrowRight"]) chart.dispatchEvent(new KeyboardEvent("keydown", { key }));
    document.documentElement.dataset.log = document.querySelector(".tip").textContent;
    </script>"""
    target.write_text(re.sub(r"<meta http-equiv[^>]*>", "", page.page(runs())).replace("</body>", script + "</body>"))
    assert state(browser(target))["log"].startswith("steps 2 to 9one token each")


def test_a_browser_folds_nothing_where_nothing_is_mixed(file: Path, browser: Any) -> None:
    page.write(trace([step(i, {1: 1.0}, HARD) for i in range(20)]), file.with_suffix(".html"))
    assert state(browser(file.with_suffix(".html")))["ready"].startswith("steps=20 columns=20 ")


def test_rows_are_the_tokens_that_are_mixed(file: Path, browser: Any) -> None:
    """With two rows for 17 tokens, they are those of the mixtures, though every other token has more weight."""
    many = [step(i, {5 + i: 1.0}, HARD, text="x") for i in range(5)]
    steps = [*many, step(5, {1: 0.6, 2: 0.4}), *(step(i, {10 + i: 1.0}, HARD) for i in range(6, 11))]
    target = file.with_suffix(".html")
    page.write(trace(steps, texts={i: f" t{i}" for i in range(30)}), target)
    assert 'aria-description="rows: ␣t1, ␣t2"' in browser(target, "#rows=2")


def test_a_browser_shows_why_a_step_was_forced(file: Path, browser: Any) -> None:
    page.write(trace(), file.with_suffix(".html"))
    dom = browser(file.with_suffix(".html"), "#step=2&view=rank")
    assert state(dom) == {"ready": "steps=4 columns=4 rows=2 view=rank", "step": "2"}
    assert "forced, thinking" in dom
    assert '<div class="why">thinking budget</div>' in dom


def test_pointer_keys_and_buttons(file: Path, browser: Any) -> None:
    """A copy of the page without its policy, so that a script of the test can use it."""
    script = """<script>
    const log = [], look = () => log.push(document.documentElement.dataset.step ?? "-");
    const canvas = document.querySelector("canvas"), chart = document.querySelector(".chart");
    const press_button = (name) => document.querySelector("button[name=" + name + "]").click();
    const box = canvas.getBoundingClientRect(), cell = 64;
    const move = (x) => canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + x, clientY: box.top + 60 }));
    const press = (key) => chart.dispatchEvent(new KeyboardEvent("keydown", { key }));
    let x = 0;
    while (document.documentElement.dataset.step === undefined) move(++x);  // the first column
    look(); move(x + 2 * cell); look(); move(x - 5); look();
    for (const key of ["ArrowRight", "ArrowRight", "End", "ArrowRight", "Home", "Escape"]) { press(key); look(); }
    press_button("by-rank");
    for (const name of ["wider", "narrower", "more", "fewer", "by-token"]) press_button(name);
    const span = document.querySelector("[data-step='1']");
    span.dispatchEvent(new PointerEvent("pointerenter")); look();
    document.body.click(); look();
    document.documentElement.dataset.log = log.join(" ");
    </script>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.page(trace())).replace("</body>", script + "</body>")
    file.with_suffix(".html").write_text(text)
    found = state(browser(file.with_suffix(".html")))
    assert found.get("log") == "0 2 - 0 1 3 3 0 - 1 -", found
    assert "error" not in found


def test_a_browser_runs_nothing_that_a_trace_holds(file: Path, browser: Any) -> None:
    page.write(hostile(), file.with_suffix(".html"))
    dom = browser(file.with_suffix(".html"), "#step=1")
    assert state(dom) == {"ready": f"steps={len(HOSTILE)} columns={len(HOSTILE)} rows=10 view=token", "step": "1"}


@pytest.mark.slow
def test_a_browser_opens_long_and_empty_traces(file: Path, browser: Any) -> None:
    long = trace([step(i, {1 + i % 400: 0.75, 2 + i % 400: 0.25}, text=" a", thinking=i < 1500) for i in range(3000)])
    page.write(long, file.with_suffix(".html"))
    assert state(browser(file.with_suffix(".html"), "#step=2999")) == {
        "ready": "steps=3000 columns=3000 rows=31 view=token",
        "step": "2999",
    }
    page.write(trace([]), file.with_suffix(".html"))
    assert state(browser(file.with_suffix(".html"))) == {"ready": "steps=0 columns=0 rows=0 view=token"}


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1200,900", "500,900"])
def test_light_and_dark_pictures_differ(file: Path, browser: Any, tmp_path: Path, size: str) -> None:
    """The background of each picture is that of its scheme, at desktop and phone widths."""
    image = pytest.importorskip("matplotlib.image")
    page.write(trace(), file.with_suffix(".html"))
    light, dark = tmp_path / "light.png", tmp_path / "dark.png"
    browser(file.with_suffix(".html"), size=size, picture=light)
    browser(file.with_suffix(".html"), size=size, picture=dark, dark=True)
    pixels = [(image.imread(p)[:, :, :3] * 255).round() for p in (light, dark)]
    assert [p[2, 2].tolist() for p in pixels] == [[255, 255, 255], [15, 18, 22]]
    assert all(len({tuple(c) for c in p.reshape(-1, 3)[::7]}) > 20 for p in pixels)  # and something is drawn on it
