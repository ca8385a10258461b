"""Limits and faults: memory, threads, forks, closed models, files that change, full disks, closed pipes, signals."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.llama import bindings, context_setup, header, memory
from tests.conftest import ROOT, Cli

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def child(code: str, *arguments: Any, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=ROOT,
        **options,
    )  # fmt: skip


def command(*arguments: Any, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "softllama", *map(str, arguments)], text=True, timeout=timeout, cwd=ROOT,
        **{"capture_output": True, **options},
    )  # fmt: skip


# ---- memory


def test_a_context_that_cannot_fit_is_refused_with_sizes_and_one_that_fits(
    model: sl.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    have = memory.available()
    assert have is not None
    monkeypatch.setenv("SOFTLLAMA_MEMORY", str(have))  # what others leave changes meanwhile
    with pytest.raises(sl.ContextError, match=r"needs [\d.]+ GB of memory \(.*of positions.*\), and .* are free") as e:
        model.session(2**30)
    fits = int(e.value.hint.split()[1])
    assert e.value.hint.startswith(f"--n-ctx {fits} ")
    h = header.read(model.path)
    assert memory.need(h, fits, 1, 512, 1).total < have
    assert memory.need(h, 2 * fits, 1, 512, 1).total > 0.8 * have


def test_what_is_said_to_fit_does(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IGNORED", 0)
    monkeypatch.setenv("SOFTLLAMA_MEMORY", str(100 << 20))
    with pytest.raises(sl.ContextError) as e:
        model.session(1_000_000)
    fits = int(e.value.hint.split()[1])
    with model.session(fits) as s:
        assert s.n_ctx == fits
    with pytest.raises(sl.ContextError, match="for 64 sequences") as e:
        model.new_context(1_000_000, 64)
    assert "fewer samples, beams or streams" in e.value.hint
    assert int(e.value.hint.split()[1]) < fits // 32
    monkeypatch.setenv("SOFTLLAMA_MEMORY", "0")
    with pytest.raises(sl.ContextError) as e:
        model.session(256)
    assert "smaller model" in e.value.hint


LIMITED = """
import os, re, resource, sys
from pathlib import Path
import softllama as sl
from softllama.llama import memory as room
from tests.support import tiny_more
with sl.load(tiny_more.write(Path(sys.argv[1]), sys.argv[2]), n_threads=1) as model:
    most = room.address_space() + (1300 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    use = model.session if sys.argv[3] == "1" else lambda n: model.new_context(n, int(sys.argv[3]))
    try:
        use(2**29)
    except sl.ContextError as e:
        fits = int(re.search(r"--n-ctx (\\d+)", e.hint)[1])
    made = use(fits)
    if sys.argv[3] == "1":
        made.feed([1, 2, 3]), made.fork().feed(sl.Mixture([1, 2], [0.5, 0.5]))
    print(fits)
"""


@linux
@pytest.mark.parametrize(
    ("arch", "n_seq"),
    # a plain one; two kinds of layers; no flash attention; a latent memory; recurrent layers; shapes not understood
    [("llama", 1), ("llama", 8), ("gemma2", 1), ("grok", 1), ("deepseek32", 1), ("qwen35", 1), ("deepseek4", 1), ("deepseek4", 4)],
)  # fmt: skip
def test_a_context_that_is_said_to_fit_can_be_made_under_a_limit(tmp_path: Path, arch: str, n_seq: int) -> None:
    """Without one it would have to fill the memory of the machine to be a test."""
    done = child(LIMITED, tmp_path, arch, n_seq)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2000


def test_near_the_limit_of_the_address_space_llama_cpp_is_not_asked(
    model: sl.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_limits_of_process", lambda proc: iter([200 << 20]))

    def never(n: int) -> None:
        raise AssertionError

    h = header.read(model.path)
    fits = memory.fitting(h, never, 2**29, 512)
    assert 4 * memory.need(h, fits, 1, 512, 1).total < 200 << 20
    assert fits > 20_000


@pytest.mark.parametrize("n_ctx", [1024, 65536])
def test_the_estimate_of_the_cells_is_what_llama_cpp_takes(n_ctx: int) -> None:
    with sl.load() as model:
        h = header.read(model.path)
        layers, width = h.get("{arch}.block_count"), h.tensors["blk.0.attn_k.weight"].shape[1]
        need = memory.need(h, n_ctx, 1, 512, 1)
        assert need.cells == n_ctx * layers * 2 * width * 2  # keys and values in F16
        with model.session(n_ctx) as s:
            s.feed([5, 6, 7, 8])
            state = s._context.state(0)  # cells in use, and a few numbers for each
        assert 0 <= len(state) - 4 * need.cells // n_ctx < 4 * 200 + 1000


def test_a_recurrent_model_needs_memory_for_sequences_and_not_for_positions(load: Callable[..., sl.Model]) -> None:
    h = header.read(load("mamba").path)
    few, many = memory.need(h, 1024, 1, 512, 1), memory.need(h, 2**20, 1, 512, 1)
    assert few.cells == many.cells == 0 < few.states
    assert memory.need(h, 1024, 8, 512, 1).states == 8 * few.states


def test_what_is_tried_for_a_large_context_is_not_heard_by_who_listens_to_it(load: Callable[..., sl.Model]) -> None:
    model = load("mamba")
    with bindings.capture_log() as said, model.session(100_000):
        pass
    assert "".join(said).count("RS buffer size") == 1
    assert bindings.buffer_bytes(said) > 0


def test_a_number_that_llama_cpp_would_cut_off_is_refused(load: Callable[..., sl.Model]) -> None:
    """Models without cells have memory for any number of positions."""
    model = load("mamba")
    with pytest.raises(
        sl.ContextError, match="at most 4,294,967,040 positions, not 4,294,967,296 for 4 sequences"
    ) as e:
        model.new_context(2**32, 4)
    assert e.value.hint.startswith("--n-ctx 1073741760 ")
    with model.session(10**9) as s:
        assert s.n_ctx >= 10**9


def test_the_command_line_says_what_fits(cli: Cli) -> None:
    code, out, err = cli("chat", "--n-ctx", 2**30, "--private", "-q", stdin="Hello\n")
    assert code == 1
    assert not out
    assert "of memory" in err
    assert "--n-ctx" in err


@pytest.fixture
def system(tmp_path: Path) -> Callable[..., Path]:
    """A /proc and a /sys of one's own."""

    def make(files: dict[str, str]) -> Path:
        for name, text in {"proc/self/statm": "10 5 0 0 0 0 0", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


@linux
def test_free_memory_is_the_least_that_the_system_and_its_groups_allow(system: Callable[..., Path]) -> None:
    def available(root: Path) -> int | None:
        return memory.available(root / "proc", root / "sys")

    root = system({"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n"})
    assert available(root) == 5000 * 1024
    system({
        "proc/self/cgroup": "0::/a/b\n", "sys/a/memory.max": "3000000", "sys/a/memory.current": "2000000",
        "sys/a/memory.stat": "anon 5\ninactive_file 400000\n", "sys/a/b/memory.max": "max", "sys/a/b/memory.current": "1",
    })  # fmt: skip
    assert available(root) == 1_400_000
    system({
        "proc/self/cgroup": "9:pids:/\n4:memory:/only/on/the/host\n", "sys/memory/memory.limit_in_bytes": "800000",
        "sys/memory/memory.usage_in_bytes": "100000", "sys/memory/memory.stat": "total_inactive_file 0\n",
    })  # fmt: skip
    assert available(root) == 700_000
    assert memory.available(root / "nowhere", root / "nowhere") is None


@linux
def test_free_memory_can_be_given(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, n in (("4GB", 4 * 10**9), (" 1.5 mb", 1_500_000), ("1000", 1000), ("2GiB", 2 << 30)):
        monkeypatch.setenv("SOFTLLAMA_MEMORY", text)
        assert memory.available() == n
    monkeypatch.setenv("SOFTLLAMA_MEMORY", "much")
    with pytest.raises(sl.UsageError, match="SOFTLLAMA_MEMORY = 'much' is no amount of memory"):
        model.session(2**30)


def test_a_limit_on_the_address_space_counts() -> None:
    code = (
        "import resource\nfrom softllama.llama import memory as room\nbefore = room.available()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\nprint(before > 2 << 30 or 0, room.available())"
    )
    done = child(code)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout.split()[1]) < 2 << 30


def test_a_model_larger_than_the_memory_is_a_note_and_no_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_MEMORY", "1MB")
    assert memory.note(1 << 10) is None
    monkeypatch.setattr(memory, "IGNORED", 1 << 19)
    monkeypatch.setattr(memory, "check", lambda *_: None)
    code, _, err = cli("probe", "--mix", "dog,cat", "--n-ctx", 64)
    assert code == 0
    assert "more than the 1 MB that are free" in err


# ---- threads


def together(*work: Callable[[], Any]) -> list[Any]:
    """What each function gives, all running at the same time; an exception is raised."""
    out: list[Any] = [None] * len(work)
    barrier = threading.Barrier(len(work))

    def one(i: int) -> None:
        barrier.wait()
        try:
            out[i] = work[i]()
        except BaseException as e:
            out[i] = e

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(work))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive(), "a thread hangs"
    for o in out:
        if isinstance(o, BaseException):
            raise o
    return out


def mixtures(seed: int, n_vocab: int, n: int = 12) -> list[int | sl.Mixture]:
    rng = np.random.default_rng(seed)
    return [
        sl.Mixture(np.sort(rng.choice(n_vocab, 3, replace=False)), [0.5, 0.25, 0.25]) if i % 2 else int(rng.integers(n_vocab))
        for i in range(n)
    ]  # fmt: skip


def fed(s: sl.Session, items: list[Any]) -> list[bytes]:
    found = []
    for i in items:
        found.append(s.feed(i).logits.tobytes())
        time.sleep(0.0005)  # lets another thread come in between
    return found


def test_sessions_of_one_model_in_threads_give_the_same_bits_as_one_after_the_other(model: sl.Model) -> None:
    items = [mixtures(i, model.n_vocab) for i in range(6)]

    def run(i: int) -> list[bytes]:
        with model.session(64) as s:
            return fed(s, items[i])

    alone = [run(i) for i in range(6)]
    for _ in range(3):
        assert together(*(lambda i=i: run(i) for i in range(6))) == alone  # type: ignore[misc]


def test_forks_that_share_a_context_do_not_mix_their_rows_up(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sequence's cells lie depends on who came first, and changes the last bits. So the order is kept, and done
    again in one thread."""
    items = [mixtures(i, model.n_vocab) for i in range(6)]
    order: list[sl.Session] = []
    by_number: dict[int, sl.Session] = {}
    feed = sl.Model.feed

    def recorded(model: sl.Model, context: Any, seq: int, *arguments: Any) -> Any:
        order.append(by_number[seq])
        return feed(model, context, seq, *arguments)

    def forks(root: sl.Session) -> list[sl.Session]:
        root.feed([5, 6, 7])
        return [root.fork() for _ in range(6)]

    with model.session(256) as root:
        many = forks(root)
        by_number = {s._seq: s for s in many if s._seq is not None}
        monkeypatch.setattr(sl.Model, "feed", recorded)
        found = together(*(lambda i=i: fed(many[i], items[i]) for i in range(6)))  # type: ignore[misc]
        monkeypatch.undo()
    with model.session(256) as root:
        again, places = forks(root), [many.index(s) for s in order]
        expected: list[list[bytes]] = [[] for _ in range(6)]
        for i in places:
            expected[i] += fed(again[i], [items[i][len(expected[i])]])
    assert places != sorted(places), "the threads took no turns"
    assert found == expected


def test_one_session_in_several_threads_takes_turns(model: sl.Model) -> None:
    with model.session(256) as s:
        together(*(lambda i=i: fed(s, [10 + i] * 20) for i in range(4)))  # type: ignore[misc]
        assert s.position == 80
        order = list(s._history)
        assert sorted(order) == sorted([10, 11, 12, 13] * 20)
        last = s.feed([5]).logits
    with model.session(256) as again:
        for i in order:
            again.feed([i])
        assert np.array_equal(again.feed([5]).logits, last)


def test_generations_and_probes_in_threads_equal_those_alone(model: sl.Model) -> None:
    def tokens(seed: int) -> list[int]:
        t = model.generate("The dog", policy="gumbel:where=everywhere", max_tokens=12, seed=seed)
        return [s.token for s in t.steps]

    def top(_: int) -> list[Any]:
        return model.probe("The {} says", mix="dog:0.5,cat:0.5", sweep=5).next.top(3)

    alone = [tokens(i) for i in range(3)], top(0)
    found = together(*(lambda i=i: tokens(i) for i in range(3)), lambda: top(0))  # type: ignore[misc]
    assert (found[:3], found[3]) == alone


def test_texts_of_tokens_are_right_from_many_threads(write: Callable[..., Path]) -> None:
    for _ in range(3):
        with sl.load(write("llama"), n_threads=1) as m:
            found = together(*(lambda: [m.spell(i) for i in range(m.n_vocab)] for _ in range(4)))
            with sl.load(write("llama"), n_threads=1) as other:
                assert found == [[other.spell(i) for i in range(other.n_vocab)]] * 4


def test_a_model_that_is_closed_while_threads_use_it_ends_them_with_a_sentence(write: Callable[..., Path]) -> None:
    for pause in (0.0, 0.01, 0.03):
        m = sl.load(write("llama"), n_threads=1)

        def use(m: sl.Model = m) -> str:
            try:
                while True:
                    with m.session(64) as s:
                        s.feed(m.tokenize("The dog"))
                        s.fork().feed(sl.Mixture([3, 4], [0.5, 0.5]))
            except (sl.ContextError, sl.ModelError) as e:
                return e.message

        def close(m: sl.Model = m, pause: float = pause) -> str:
            time.sleep(pause)
            m.close()
            return "closed"

        found = together(use, use, close)
        assert all("closed" in text for text in found), found


def test_a_model_that_is_closed_while_a_context_is_made_waits_for_it(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    m = sl.load(write("llama"), n_threads=1)
    allocated, closing = context_setup.allocated, []

    def interrupted(*args: Any) -> Any:
        made = allocated(*args)
        closing.append(threading.Thread(target=m.close))
        closing[0].start()
        closing[0].join(0.1)  # it waits
        return made

    monkeypatch.setattr(context_setup, "allocated", interrupted)
    context = m.new_context(64)
    assert context.n_ctx >= 64
    closing[0].join()
    assert context.closed


def test_a_conversation_answers_one_thread_at_a_time(model: sl.Model) -> None:
    c = sl.Conversation(model, max_tokens=5, seed=1)
    asked: list[str] = []

    def inside(_: sl.Step) -> None:
        if not asked:
            with pytest.raises(sl.UsageError, match="is being answered"):
                c.reply("And the cat?")
            asked.append("yes")

    c.reply("The dog says", inside)
    assert asked
    assert [m.role for m in c.messages] == ["user", "assistant"]
    c.reply("And the cat?")
    assert len(c.messages) == 4


# ---- models that are closed, in any order


def test_nothing_works_on_a_closed_model_and_nothing_crashes(write: Callable[..., Path]) -> None:
    m = sl.load(write("llama"), n_threads=1)
    s = m.session(64)
    s.feed([5])
    fork, context = s.fork(), m.new_context(64)
    steps = m.stream("The", max_tokens=5, policy="full")
    next(steps)
    m.close()
    m.close()
    mixture = sl.Mixture.one_hot(3)
    for use in (
        lambda: s.feed([5]), lambda: s.feed(mixture), s.fork, lambda: s.truncate(0), lambda: fork.feed([5]),
        lambda: m.tokenize("cat"), lambda: m.is_eog(1), lambda: m.session(64), lambda: m.new_context(64),
        lambda: m.generate("The"), lambda: m.probe("{}{}", mix=mixture), lambda: next(steps), context.take,
        lambda: context.decode([0], [0], [True], tokens=[5]), lambda: context.cut(0, 0), lambda: context.state(0),
        lambda: context.copy(0, 0), lambda: context.length(0), lambda: context.restore(0, b"x"), lambda: context.hidden(-1),
    ):  # fmt: skip
        with pytest.raises(sl.SoftLlamaError, match="is closed"):
            use()
    for end in (s.close, s.close, fork.close, context.close, context.close, m.close):
        end()
    with pytest.raises(sl.ContextError, match="session is closed"):
        s.feed([5])


def test_a_result_can_be_read_after_its_model_is_closed(write: Callable[..., Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(write("llama"), tmp_path / "m.gguf"))
    with sl.load(path, n_threads=1) as m:
        texts = [m.spell(i) for i in range(m.n_vocab)]
    with sl.load(path, n_threads=1) as m:
        d = m.probe("The {} says", mix="dog,cat").next
    assert [t.text for t in d.top(50)] == [texts[t.id] for t in d.top(50)]
    with sl.load(path, n_threads=1) as m:
        d = m.probe("The {} says", mix="dog,cat").next
    path.unlink()
    with pytest.raises(sl.ModelError, match="is closed, and its file is another by now"):
        d.top(300)


def test_a_closed_context_ends_its_sessions_with_a_sentence(model: sl.Model) -> None:
    s = model.session(64)
    s._context.close()
    with pytest.raises(sl.ContextError, match="this context is closed"):
        s.feed([5])
    s.close()


def test_the_garbage_collector_may_take_models_and_sessions_in_any_order(write: Callable[..., Path]) -> None:
    for i in range(10):
        m: Any = sl.load(write("llama"), n_threads=1)
        s: Any = m.session(64)
        s.feed([5])
        m.kept, s.kept, m.again = s, m.stream("The", max_tokens=3), [s.fork(), m.new_context(32)]
        if i % 2:
            next(s.kept)
        del m, s
        gc.collect()


def test_a_model_may_be_used_while_python_ends() -> None:
    code = """
import atexit, softllama as sl
def late(when):
    for use in (lambda: s.feed([6]), s.fork, lambda: m.tokenize("zyx"), s.close, m.close):
        try:
            use()
        except sl.SoftLlamaError as e:
            print(when, e.message)
atexit.register(lambda: late("after"))
m = sl.load(); s = m.session(64); s.feed([5]); steps = m.stream("The", max_tokens=9); next(steps)
m.me = s
atexit.register(lambda: late("before"))
"""
    done = child(code)
    assert done.returncode == 0, done.stderr
    assert "after the model words.gguf is closed" in done.stdout
    assert not done.stderr


# ---- forks

FORK = """
import os, sys, softllama as sl
{before}
pid = os.fork()
if pid == 0:
    for use in ({uses}):
        try:
            use()
            print("done")
        except sl.SoftLlamaError as e:
            print(e.message)
    sys.exit(0)  # in order, with everything that runs at the end
print("child", os.waitpid(pid, 0)[1])
{after}
"""


def test_a_forked_child_is_told_and_the_parent_goes_on() -> None:
    uses = "lambda: s.feed([5]), s.fork, lambda: m.tokenize('zyx'), lambda: sl.load(), m.session, s.close, m.close"
    before = "m = sl.load(n_threads=2); s = m.session(64); a = s.feed([5, 6]).logits; s.truncate(0)"
    done = child(FORK.format(before=before, uses=uses, after="print((s.feed([5, 6]).logits == a).all())"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (
        lines.count(
            "this process was forked from one that had used a model, and llama.cpp's threads do not survive that"
        )
        == 5
    )
    assert lines[-2:] == ["child 0", "True"]


def test_a_fork_of_a_process_that_only_imported_softllama_may_load_models() -> None:
    done = child(FORK.format(before="sl.Model", uses="lambda: sl.load().session(64).feed([5]),", after=""))
    assert done.stdout.splitlines() == ["done", "child 0"], done.stderr


def test_multiprocessing_by_fork_is_refused_with_the_way_that_works() -> None:
    code = """
import multiprocessing, softllama as sl
def ask(_):
    try:
        return sl.load(n_threads=2).probe("The {} says", mix="dog,cat").next.argmax
    except sl.SoftLlamaError as e:
        return e.hint
if __name__ == "__main__":
    print(ask(0))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(ask, [0]))
"""
    token, refused = child(code).stdout.splitlines()
    assert token.isdigit()
    assert "spawn" in refused


def test_divergences_in_a_forked_child_do_not_wait_for_threads_that_are_gone() -> None:
    code = """
import os, numpy as np, softllama as sl
from softllama.llama import bindings
bindings.init()
ds = [sl.Distribution._owning(np.random.default_rng(i).normal(size=100_000).astype(np.float32), n_threads=2) for i in range(20)]
a = [d.js(ds[0]) for d in ds]
pid = os.fork()
if pid == 0:
    os._exit(int([d.js(ds[0]) for d in ds] != a))
print(os.waitpid(pid, 0)[1])
"""
    assert child(code, timeout=30).stdout.split() == ["0"]
