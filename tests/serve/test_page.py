"""The server's page: one file that asks for nothing else, and what a browser makes of it with a real server."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.serve.page import page
from softllama.show.page import content_policy
from softllama.trace import load
from softllama.trace import page as trace_page
from softllama.trace.record import Trace
from tests.conftest import ROOT
from tests.support import tiny
from tests.support.browser import Tab, chromium, server, until
from tests.support.traces import hostile, step, trace

QUESTION = "Who is bigger, the dog or the cat?"
MIX = {"prompt": "The {animal} says", "slots": {"animal": [["dog", 500], ["cat", 500]]}}


class _Elements(HTMLParser):
    """Start tags with their attributes, and the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem and "type" not in self.found[-1][1]:
            self.texts[self.cdata_elem] = data


# ---- the file


def test_the_page_is_one_file_that_asks_for_nothing_else() -> None:
    elements = _Elements(page().text)
    for tag, attributes in elements.found:
        assert tag not in ("img", "iframe", "object", "embed", "base"), tag
        assert not {"src", "srcset", "action", "style"} & set(attributes), tag
        assert not [a for a in attributes if a.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith(("#", "data:,")), tag
    script = elements.texts["script"]
    assert not re.search(
        r"innerHTML|insertAdjacent|document\.write|eval\(|Function\(|import\(|XMLHttp|WebSocket", script
    )
    assert set(re.findall(r"https?://[^\"'`\s]*", script)) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_only_its_own_script_and_style_are_allowed() -> None:
    texts = _Elements(page().text).texts
    policy = page().headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert content_policy(texts["script"], texts["style"]).split("; ")[1:3] == policy.split("; ")[1:3]
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


def test_both_pages_draw_with_one_heat_map() -> None:
    made = page().text
    assert set(trace_page.SCRIPTS[:2]) < set(trace_page.SCRIPTS)
    for name in ("trace/heatmap.js", "show/dom.js"):
        source = (ROOT / "softllama" / name).read_text("utf-8")
        assert source in made
        assert source in trace_page.page(trace())


def test_every_script_is_in_the_page_and_uses_what_is_before_it() -> None:
    made, web = page().text, ROOT / "softllama" / "serve" / "web"
    assert len(list(web.glob("*.js"))) == 14
    for file in web.glob("*.js"):
        assert file.read_text("utf-8") in made
        assert file.read_text("utf-8").count("\n") <= 300, file.name


# ---- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as b:
        yield b


@pytest.fixture(scope="module")
def words() -> Iterator[str]:
    """A server with the bundled model, whose runs have 25 steps."""
    with server("bundled:words") as url:
        yield url


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """tab(url, fragment) opens the page. At the end no request has left the machine, and no error was met."""
    opened: list[Tab] = []

    def make(url: str, fragment: str = "", **options: Any) -> Tab:
        opened.append(Tab(browser, url, fragment, **options))
        return opened[-1]

    yield make
    for t in opened:
        t.close()


def fragment(name: str, state: Any) -> str:
    return f"#{name}={urllib.parse.quote(json.dumps(state))}"


def cells(p: Any, kind: str) -> list[str]:
    """The numbers in the bars of a kind: "mixture", "average", "w0", ..."""
    found: list[str] = p.locator(f"td:has(.bar-of.{kind}) .p").all_inner_texts()
    return found


def mixed(p: Any, text: str) -> None:
    """Wait for the answer to a mixture."""
    p.wait_for_selector(f'html[data-mixed="{text}"]')
    p.wait_for_selector('.results[aria-busy="false"]')


@pytest.mark.slow
def test_a_slider_changes_the_bars_and_the_weights_keep_their_sum(tab: Callable[..., Tab], words: str) -> None:
    """The bars are those of `probe`, before and after."""
    p = tab(words, fragment("mix", MIX)).ready()
    model = sl.load("bundled:words")

    def expected(mix: str) -> list[str]:
        probe = model.probe("The {animal} says", {"animal": mix}, n_top=8)
        rows = [probe.next, *probe.baselines.values(), probe.average]
        ids = sorted(dict.fromkeys(t.id for d in rows for t in d.top(8)), key=lambda i: -probe.next[i].p)
        shown = sorted(ids, key=lambda i: -max(d[i].p for d in rows))[:12]
        return [f"{probe.next[i].p:.3f}" for i in ids if i in shown and probe.next[i].p >= 0.0005]

    mixed(p, "dog:0.5,cat:0.5")
    before = cells(p, "mixture")
    assert [x for x in before if "e" not in x] == expected("dog:0.5,cat:0.5")
    slider = p.get_by_label("weight of dog", exact=True)
    slider.focus()
    for _ in range(5):
        p.keyboard.press("PageUp")  # a tenth each
    p.keyboard.press("ArrowLeft")
    weights = [float(x.input_value()) for x in p.locator(".row input.weight").all()]
    assert weights[0] > 0.9
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    assert p.locator("output.sum").inner_text() == "sum 1.000"
    mixed(p, f"dog:{weights[0]:g},cat:{weights[1]:g}")
    after = cells(p, "mixture")
    assert after != before
    assert [x for x in after if "e" not in x] == expected(f"dog:{weights[0]:g},cat:{weights[1]:g}")
    assert "curve" in p.locator("figure:visible").get_attribute("class")


@pytest.mark.slow
def test_three_words_and_signs_keep_their_sum(tab: Callable[..., Tab], words: str) -> None:
    p = tab(words, fragment("mix", {**MIX, "slots": {"animal": [["dog", 500], ["cat", 300], ["cow", 200]]}})).ready()

    def weights() -> list[float]:
        return [float(x.input_value()) for x in p.locator(".row input.weight").all()]

    def put(word: str, w: str) -> None:
        field = p.get_by_label(f"weight of {word} as a number")
        field.fill(w)
        field.press("Enter")

    mixed(p, "dog:0.5,cat:0.3,cow:0.2")
    put("dog", "0")
    assert weights() == [0, 0.6, 0.4]  # in the proportion that they had
    mixed(p, "dog:0,cat:0.6,cow:0.4")
    p.get_by_label("signed weights").check()
    put("dog", "-1")
    assert weights() == [-1, 1.1, 0.9]  # each gets the same
    mixed(p, "dog:-1,cat:1.1,cow:0.9")
    assert cells(p, "average") == []  # which signed weights do not have
    p.get_by_label("signed weights").uncheck()
    assert weights() == [0, 0.55, 0.45]


@pytest.mark.slow
def test_an_answer_that_comes_late_is_not_shown(tab: Callable[..., Tab], words: str) -> None:
    """The first answer is held back until the second is there."""
    t = tab(words, fragment("mix", MIX))
    p = t.ready()
    mixed(p, "dog:0.5,cat:0.5")
    held: list[Any] = []
    p.route("**/v1/softllama/probe", lambda r: held.append(r) if "0.9" in r.request.post_data else r.continue_())
    field = p.get_by_label("weight of dog as a number")
    for w in ("0.9", "0.2"):
        field.fill(w)
        field.press("Enter")
        p.wait_for_timeout(300)
    mixed(p, "dog:0.2,cat:0.8")
    shown = cells(p, "mixture")
    assert len(held) == 1
    held[0].continue_()
    p.wait_for_timeout(300)
    assert cells(p, "mixture") == shown
    assert p.locator("html").get_attribute("data-mixed") == "dog:0.2,cat:0.8"


@pytest.mark.slow
def test_the_layers_end_in_the_output(tab: Callable[..., Tab], words: str) -> None:
    p = tab(words, fragment("mix", MIX)).ready()
    mixed(p, "dog:0.5,cat:0.5")
    p.get_by_text("Layers: what each one").click()
    last = p.locator("table.layers tbody tr").last
    last.wait_for()
    assert last.locator(".p").first.inner_text() == cells(p, "mixture")[0]


def run(p: Any, seed: int = 1) -> None:
    """Ask the question of the tab Think, and wait for the end."""
    p.fill("#think-question", QUESTION)
    p.fill("#think-seed", str(seed))
    p.locator("#think button[type=submit]").click()
    p.wait_for_selector("html[data-thinking=ended]")


@pytest.mark.slow
def test_a_run_streams_and_is_that_of_the_library(tab: Callable[..., Tab], words: str, tmp_path: Path) -> None:
    t = tab(words, "#think")
    p = t.ready()
    p.evaluate(  # how many steps there were each time that the text of the answer or of the thinking changed
        """() => { window.seen = new Set(); new MutationObserver(() => window.seen.add(document.querySelectorAll(
        "#think [data-step]").length)).observe(document.getElementById("think"), { childList: true, subtree: true }); }"""
    )
    run(p)
    expected = sl.load("bundled:words").generate(QUESTION, chat=True, policy="soft_thinking", seed=1, max_tokens=256)
    assert p.locator("#think .reading.answer").inner_text().strip() == expected.answer.strip()
    assert p.locator("#think .reading.thinking").inner_text().strip() == expected.thinking.strip()
    assert len(p.evaluate("[...window.seen]")) > 3
    chart = p.locator("#think .chart")
    chart.focus()
    p.keyboard.press("ArrowRight")
    assert p.locator(".tip .head").inner_text().startswith("step 0, soft, thinking")
    with p.expect_download() as saved:
        p.get_by_role("button", name="Save trace").click()
    saved.value.save_as(tmp_path / "saved.jsonl")
    again = load(tmp_path / "saved.jsonl")
    assert [(s.mixture, s.token, s.text, s.entropy, s.top) for s in again.steps] == [
        (s.mixture, s.token, s.text, s.entropy, s.top) for s in expected.steps
    ]
    assert (again.answer, again.thinking, again.policy) == (expected.answer, expected.thinking, "soft_thinking")


@pytest.mark.slow
def test_policies_side_by_side_have_one_seed(tab: Callable[..., Tab], words: str) -> None:
    p = tab(words, "#think").ready()
    for _ in range(3):
        p.get_by_role("button", name="Compare with another policy").click()
    assert p.get_by_role("button", name="Compare with another policy").is_disabled()  # four are the most
    run(p, seed=5)
    titles = p.locator("#think .panel h3").all_inner_texts()
    assert titles == ["soft_thinking", "greedy", "sample", "gumbel"]
    assert all(x.startswith("seed 5, ") for x in p.locator("#think .panel .numbers").all_inner_texts())


@pytest.mark.slow
def test_stop_stops(tab: Callable[..., Tab], browser: Any, write: Callable[..., Path]) -> None:
    """A model of random weights, which goes on for thousands of steps; its sequence is free soon afterwards."""
    path = write("llama", chat_template=tiny.CHAT_TEMPLATE, n_ctx=32768, n_layer=8, n_embd=512)
    with server(path, "--n-ctx", "32768", "--streams", "1") as url:
        state = {"question": "a b", "policies": [{"name": "sample", "values": {}}], "max_tokens": 30000, "think": "off"}
        p = tab(url, fragment("think", state)).ready()
        p.locator("#think button[type=submit]").click()
        steps = "() => +(document.querySelector('#think .numbers')?.textContent.match(/(\\d+) steps/) || [0, 0])[1]"
        until(p, f"() => ({steps})() > 20")
        p.get_by_role("button", name="Stop").first.click()
        p.wait_for_selector("html[data-thinking=ended]")
        n = p.evaluate(steps)
        assert "Ended: interrupted." in p.locator("#think .state").inner_text()
        p.wait_for_timeout(1000)
        assert p.evaluate(steps) == n < 29000
        metrics = urllib.request.urlopen(url + "/metrics").read().decode()
        assert "softllama_running 0.0" in metrics


@pytest.mark.slow
def test_a_branch_is_made_and_a_link_restores_it(tab: Callable[..., Tab], words: str) -> None:
    t = tab(words, "#think")
    p = t.ready()
    run(p)
    answer = p.locator("#think .reading.answer").inner_text()
    p.get_by_role("button", name="Edit and branch").click()
    chart = p.locator("#branch .chart")
    chart.focus()
    p.keyboard.press("ArrowRight")
    p.keyboard.press("Enter")
    assert p.locator("#branch .editor h2").inner_text().startswith("Step 0: soft, read as")
    # the mixture as it was: the run goes on as it did
    p.get_by_role("button", name="Go on from here with this mixture").click()
    p.wait_for_selector('html[data-branching="ended 2"]')
    assert p.locator("#branch .reading.answer").inner_text() == answer
    # other text in the answer: it stays, and what follows it is another
    p.locator("#branch .tree button").first.click()
    p.locator("#branch .reading.answer [data-step]").first.click()
    p.get_by_label("text to write there").fill("The cat")
    p.locator("#branch .editor form button").click()
    p.wait_for_selector('html[data-branching="ended 3"]')
    changed = p.locator("#branch .reading.answer").inner_text()
    assert not re.search(
        r"#\d", p.locator("#branch .chart").get_attribute("aria-description")
    )  # every token has its text
    assert changed.strip().startswith("The cat")
    assert changed != answer
    tree = p.locator("#branch .tree button").all_inner_texts()
    assert [x.split(":")[0] for x in tree] == ["soft_thinking The dog is bigger.", "step 0", tree[2].split(":")[0]]
    assert p.locator("#branch .tree ul ul li").count() == 2  # both hang from the run
    link = p.evaluate("location.hash")

    q = tab(words, link).ready()
    q.wait_for_selector('html[data-branching="ended 3"]')
    q.wait_for_selector("#branch .tree ul ul li:nth-child(2) > button[aria-current=true]")
    assert q.locator("#branch .tree button").all_inner_texts() == tree
    assert q.locator("#branch .reading.answer").inner_text() == changed


@pytest.mark.slow
def test_a_link_restores_what_was_asked(tab: Callable[..., Tab], words: str) -> None:
    p = tab(words, "#mix").ready()
    p.fill("#mix-prompt", "The {one} sees the {two}. The {two} says")
    p.locator("fieldset").nth(1).locator("input.word").first.fill("cow")
    p.get_by_label("signed weights").check()
    mixed(p, "dog:0.5,cat:0.5;cow:0.5,cat:0.5")
    shown = [p.locator("table.bars").first.inner_text(), p.locator("#mix fieldset").count()]
    q = tab(words, p.evaluate("location.hash")).ready()
    mixed(q, "dog:0.5,cat:0.5;cow:0.5,cat:0.5")
    assert [q.locator("table.bars").first.inner_text(), q.locator("#mix fieldset").count()] == shown
    assert q.get_by_label("signed weights").is_checked()
    damaged = tab(words, "#mix={broken").ready()
    assert "damaged" in damaged.locator("#message").inner_text()


# ---- taking it elsewhere


def terminal(tmp_path: Path) -> dict[str, str]:
    """The environment of a terminal in which the command `softllama` is this one."""
    command = tmp_path / "bin" / "softllama"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m softllama "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def outputs(p: Any, where: str, tmp_path: Path) -> dict[str, str]:
    """What each text under "Copy as" prints."""
    environment = terminal(tmp_path)
    box = p.locator(f"{where} .copy")
    box.locator("summary").click()
    box.locator("pre").first.wait_for()
    out = {}
    for name in box.locator("pre").evaluate_all("all => all.map((e) => e.dataset.copy)"):
        text = box.locator(f"pre[data-copy={name}]").text_content()
        if name == "curl" and shutil.which("curl") is None:
            continue
        command = [sys.executable, "-c", text] if name == "Python" else ["sh", "-c", text]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, (text, done.stderr)
        out[name] = done.stdout
    return out


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_copied_commands_give_the_numbers_of_the_page(
    tab: Callable[..., Tab], words: str, tmp_path: Path, signed: bool
) -> None:
    weights = [["dog", 1250], ["cat", -250]] if signed else [["dog", 750], ["cat", 250]]
    state = {"prompt": 'The {animal} says "woof", it\'s', "signed": signed, "slots": {"animal": weights}}
    p = tab(words, fragment("mix", state)).ready()
    mixed(p, "dog:1.25,cat:-0.25" if signed else "dog:0.75,cat:0.25")
    out = outputs(p, "#mix", tmp_path)
    assert out["shell"] == out["Python"]
    command = p.locator("#mix pre[data-copy=shell]").text_content() + " --json"
    done = subprocess.run(["sh", "-c", command], env=terminal(tmp_path), capture_output=True, text=True, check=True)
    shown = cells(p, "mixture")
    assert f"{json.loads(done.stdout)['next']['top'][0]['p']:.3f}" == shown[0]
    if "curl" in out:
        assert f"{json.loads(out['curl'])['next']['top'][0]['p']:.3f}" == shown[0]


@pytest.mark.slow
def test_copied_commands_give_the_answer_of_the_page(tab: Callable[..., Tab], words: str, tmp_path: Path) -> None:
    p = tab(words, "#think").ready()
    p.get_by_label("policy 1", exact=True).select_option("gumbel")
    p.get_by_label("tau", exact=True).fill("0.7")
    run(p, seed=3)
    assert p.locator("#think .panel h3").inner_text() == "gumbel:tau=0.7"
    answer = p.locator("#think .reading.answer").inner_text().strip()
    out = outputs(p, "#think", tmp_path)
    assert out["shell"].strip() == answer
    assert out["Python"].strip() == answer
    if "curl" in out:
        assert json.loads(out["curl"])["choices"][0]["message"]["content"].strip() == answer


@pytest.mark.slow
def test_a_copied_branch_gives_its_answer(tab: Callable[..., Tab], words: str, tmp_path: Path) -> None:
    p = tab(words, "#think").ready()
    run(p)
    p.get_by_role("button", name="Edit and branch").click()
    p.locator("#branch .reading.answer [data-step]").first.click()
    p.get_by_label("text to write there").fill("The cat")
    p.locator("#branch .editor form button").click()
    p.wait_for_selector('html[data-branching="ended 2"]')
    answer = p.locator("#branch .reading.answer").inner_text().strip()
    out = outputs(p, "#branch", tmp_path)
    assert "shell" not in out  # the command line has no way to say it
    assert answer.endswith(out["Python"].strip())
    if "curl" in out:
        assert answer.endswith(json.loads(out["curl"])["choices"][0]["message"]["content"].strip())


# ---- files


def drop(p: Any, name: str, data: bytes) -> None:
    """Drop a file on the page."""
    p.evaluate(
        """([name, bytes]) => { const t = new DataTransfer(); t.items.add(new File([new Uint8Array(bytes)], name));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: t, bubbles: true, cancelable: true })); }""",
        [name, list(data)],
    )


def many() -> Trace:
    """A trace with all that a step can have."""
    return trace(
        [
            step(0, {1: 0.5, 2: 0.5}, thinking=True, why="n=2", noise=0.25, left_out=0.125),
            step(1, {1: 2.0, 2: -1.0}, thinking=True, signed=True, hidden=True),
            step(2, {6: 1.0}, "hard"),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".npz", ".html", ".json"])
def test_a_dropped_trace_is_drawn(tab: Callable[..., Tab], words: str, tmp_path: Path, suffix: str) -> None:
    p = tab(words).ready()
    file = tmp_path / f"t{suffix}"
    if suffix == ".json":
        file.write_text(json.dumps(many().to_dict()))
    else:
        many().save(file)
    drop(p, file.name, file.read_bytes())
    p.wait_for_selector("html[data-opened='3']")
    assert p.locator("#think .panel h3").inner_text() == "soft_thinking:n=2"
    assert p.locator("#think .reading.answer").inner_text().strip() == "é"
    chart = p.locator("#think .chart")
    chart.focus()
    p.keyboard.press("ArrowRight")
    assert p.locator(".tip").inner_text().split()[:4] == ["step", "0,", "soft,", "thinking"]
    assert "␣dog\t0.500" in p.locator(".tip").inner_text()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".npz"])
def test_a_trace_that_was_opened_is_saved_as_it_was(
    tab: Callable[..., Tab], words: str, tmp_path: Path, suffix: str
) -> None:
    p = tab(words).ready()
    many().save(tmp_path / f"t{suffix}")
    drop(p, f"t{suffix}", (tmp_path / f"t{suffix}").read_bytes())
    p.wait_for_selector("html[data-opened='3']")
    with p.expect_download() as saved:
        p.get_by_role("button", name="Save trace").click()
    saved.value.save_as(tmp_path / "saved.jsonl")
    assert list(load(tmp_path / "saved.jsonl").jsonl()) == list(load(tmp_path / f"t{suffix}").jsonl())


@pytest.mark.slow
def test_what_is_no_trace_is_said(tab: Callable[..., Tab], words: str) -> None:
    p = tab(words).ready()
    for name, data, message in (
        ("t.csv", b"index,position\n", "a .csv holds no mixtures"),
        ("t.jsonl", b"{}\n", "its first line is no header"),
        ("t.npz", b"PK", "it is no zip file"),
        ("t.html", b"<p>hello", "it is no page of a trace"),
        ("t.jsonl", b'{"kind": "trace", "policy": "x"}\n{"kind": "step", "index": 0}\n{"kind":"end"}\n', "step 0 is damaged"),
    ):  # fmt: skip
        drop(p, name, data)
        until(p, "text => document.getElementById('message').textContent.includes(text)", message)


@pytest.mark.slow
def test_a_hostile_trace_stays_text(tab: Callable[..., Tab], words: str, tmp_path: Path) -> None:
    """It is opened, drawn, and saved as a page; no script that it holds runs, here or there."""
    t = tab(words)
    p = t.ready()
    drop(p, "t.jsonl", ("\n".join(hostile().jsonl())).encode("utf-8", "backslashreplace"))
    p.wait_for_selector("html[data-opened]")
    assert p.evaluate("document.documentElement.dataset.pwned") is None
    with p.expect_download() as saved:
        p.get_by_role("button", name="Save page").click()
    saved.value.save_as(tmp_path / "saved.html")
    q = p.context.new_page()
    q.set_content((tmp_path / "saved.html").read_text())
    q.wait_for_selector("html[data-ready]")
    assert q.evaluate("document.documentElement.dataset.pwned") is None
    assert q.locator("script").count() == 2


@pytest.mark.slow
def test_a_saved_page_is_a_page_of_a_trace(tab: Callable[..., Tab], words: str, tmp_path: Path) -> None:
    t = tab(words, "#think")
    p = t.ready()
    run(p)
    with p.expect_download() as saved:
        p.get_by_role("button", name="Save page").click()
    saved.value.save_as(tmp_path / "saved.html")
    with p.expect_download() as lines:
        p.get_by_role("button", name="Save trace").click()
    lines.value.save_as(tmp_path / "saved.jsonl")
    text = (tmp_path / "saved.html").read_text("utf-8")
    own = trace_page.page(load(tmp_path / "saved.jsonl"))

    def data(html: str) -> Any:
        return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0])

    mine, theirs = data(text), data(own)
    assert mine["texts"] == theirs["texts"]
    assert [(s["m"], s["k"], s["t"], s["n"]) for s in mine["steps"]] == [
        (s["m"], s["k"], s["t"], s["n"]) for s in theirs["steps"]
    ]
    assert trace_page.MARK.decode() in text  # so that `softllama trace html` may replace it
    q = p.context.new_page()
    q.goto("about:blank")
    q.set_content(text)
    q.wait_for_selector("html[data-ready]")
    assert q.locator("h1").inner_text() == "soft_thinking on words"


@pytest.mark.slow
def test_pictures_are_pictures(tab: Callable[..., Tab], words: str, tmp_path: Path) -> None:
    """Both kinds, of a probe and of a run; the SVG is well-formed and has the texts."""
    from xml.etree import ElementTree

    p = tab(words, fragment("mix", MIX)).ready()
    mixed(p, "dog:0.5,cat:0.5")
    p.get_by_role("tab", name="Think").click()
    run(p)
    for name, has in (("mix", "average"), ("think", "entropy")):
        p.get_by_role("tab", name=name.capitalize()).click()
        for kind in ("SVG", "PNG"):
            with p.expect_download() as saved:
                p.locator(f"#{name}").get_by_role("button", name=f"Save picture ({kind})").click()
            saved.value.save_as(tmp_path / f"{name}.{kind.lower()}")
        texts = [e for e in ElementTree.parse(tmp_path / f"{name}.svg").iter() if e.tag.endswith("text")]
        assert has in [e.text for e in texts]
        assert min(float(e.get("y", 0)) for e in texts if "rotate" not in e.get("transform", "")) >= 0
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# ---- keys, keyboards and small screens


@pytest.mark.slow
def test_a_key_is_asked_for_and_is_in_no_link(browser: Any) -> None:
    with server("bundled:words", "--api-key", "secret") as url:
        t = Tab(browser, url, fragment("mix", MIX))
        p = t.page
        p.fill("#key-text", "wrong")
        p.keyboard.press("Enter")
        until(p, "() => document.getElementById('message').textContent.includes('missing or wrong')")
        p.fill("#key-text", "secret")
        p.keyboard.press("Enter")
        mixed(p, "dog:0.5,cat:0.5")
        assert p.locator("#key").is_hidden()
        assert "secret" not in p.evaluate("location.href + document.cookie + JSON.stringify(localStorage)")
        p.locator("#mix .copy summary").click()
        assert "secret" not in p.locator("#mix .copy").inner_text()
        assert all("401" in problem for problem in t.problems)  # which the browser itself reports
        t.problems.clear()
        t.close()


@pytest.mark.slow
def test_tabs_follow_the_keyboard_and_every_control_has_a_name(tab: Callable[..., Tab], words: str) -> None:
    p = tab(words, fragment("mix", MIX)).ready()
    mixed(p, "dog:0.5,cat:0.5")
    p.get_by_role("tab", name="Mix").focus()
    p.keyboard.press("ArrowRight")
    assert p.locator("html").get_attribute("data-tab") == "think"
    run(p)
    p.get_by_role("button", name="Edit and branch").click()
    p.locator("#branch .reading.answer [data-step]").first.click()
    nameless = """() => [...document.querySelectorAll("button, input, select, textarea, summary")].filter((e) => e.type !== "file"
        && !e.getAttribute("aria-label") && !(e.labels && e.labels.length) && !e.textContent.trim()).map((e) => e.outerHTML)"""
    assert p.evaluate(nameless) == []
    assert p.locator("#branch .chart").get_attribute("role") == "application"
    assert p.locator("#branch [role=status][aria-live=polite]").count() > 0


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_screen_scrolls_in_one_direction_only(tab: Callable[..., Tab], words: str, dark: bool) -> None:
    """360 pixels wide, in each tab; and the background is that of the scheme."""
    t = tab(words, "#think", viewport={"width": 360, "height": 740}, color_scheme="dark" if dark else "light")
    p = t.ready()
    run(p)
    p.get_by_role("button", name="Edit and branch").click()
    p.locator("#branch .reading.answer [data-step]").first.click()
    for name in ("Mix", "Think", "Edit and branch"):
        p.get_by_role("tab", name=name).click()
        assert p.evaluate("document.documentElement.scrollWidth") == 360
    background = p.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(15, 18, 22)" if dark else "rgb(255, 255, 255)")
