"""llama.cpp's log, which each thread has for itself."""

from __future__ import annotations

import threading

from softllama.llama import bindings


def test_two_threads_capture_what_each_of_them_causes() -> None:
    """Each logs while the other captures, and the first to begin is the first to end."""
    began, logged, ended = threading.Event(), threading.Event(), threading.Event()
    seen: dict[str, list[str]] = {}

    def first() -> None:
        with bindings.capture_log() as lines:
            began.set()
            assert logged.wait(60)
            log("one")
        seen["first"] = lines
        ended.set()

    def second() -> None:
        assert began.wait(60)
        with bindings.capture_log() as lines:
            log("two")
            logged.set()
            assert ended.wait(60)
            log("three")
        log("four")
        seen["second"] = lines

    def log(text: str) -> None:
        bindings._keep(2, text.encode(), None)

    threads = [threading.Thread(target=f) for f in (first, second)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert seen == {"first": ["one"], "second": ["two", "three"]}


def test_captures_may_be_nested() -> None:
    with bindings.capture_log() as outer:
        bindings._keep(2, b"a", None)
        with bindings.capture_log() as inner:
            bindings._keep(2, b"b", None)
        bindings._keep(2, b"c", None)
    assert (outer, inner) == (["a", "c"], ["b"])
