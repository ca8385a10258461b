"""Functions and modules that fit on some screens, and code that the formatter formats.

What is longer is listed here with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.conftest import ROOT

FUNCTION, MODULE, UNFORMATTED = 60, 300, 20
PACKAGE = ROOT / "softllama"

REASONS: dict[str, str] = {
    "chat.conversation": "one class of short methods on one state; overflow, settings, storage and cache have left it",
}


def modules() -> Iterator[tuple[str, str]]:
    """Name and text of each module; the package's own is `__init__`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts), path.read_text("utf-8")


def functions(node: ast.AST, name: str) -> Iterator[tuple[str, int]]:
    """Full name and number of lines of each function below, from `def` to its last line; decorators do not count."""
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        inner = f"{name}.{child.name}" if named else name
        if named and not isinstance(child, ast.ClassDef):
            yield inner, (child.end_lineno or child.lineno) - child.lineno + 1
        yield from functions(child, inner)


def too_long() -> dict[str, int]:
    """Lines of each function and module that has more than it should, without exceptions."""
    lines: dict[str, int] = {}
    for name, text in modules():
        lines |= {f: n for f, n in functions(ast.parse(text), name) if n > FUNCTION}
        if (n := text.count("\n")) > MODULE:
            lines[name] = n
    return lines


def test_no_function_and_no_module_is_too_long() -> None:
    assert {name: n for name, n in too_long().items() if name not in REASONS} == {}


def test_every_exception_is_needed_and_has_a_reason() -> None:
    assert sorted(REASONS.keys() - too_long().keys()) == []
    assert [name for name, reason in REASONS.items() if len(reason.split()) < 4] == []


def test_almost_everything_is_formatted() -> None:
    """`# fmt: skip` and `# fmt: off` are for tables that a line for each cell would hide."""
    skips = {name: n for name, text in modules() if (n := text.count("# fmt: skip") + text.count("# fmt: off"))}
    assert sum(skips.values()) <= UNFORMATTED, skips
