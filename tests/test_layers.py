"""The rules of imports: one home for each heavy library, and imports that point down only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "softllama"

LEVELS = {  # a module imports, when it is loaded, only from its own level and from those below
    0: {"errors", "checks", "mixture", "prompt", "cache", "files", "system"},
    1: {"kernels", "faults", "child", "overlay", "distribution", "policy", "extract", "stats", "report", "_shim"},
    2: {"llama", "embeddings", "calibration", "vocab", "bundled", "text", "thinking", "hub", "trial"},
    3: {
        "session",
        "blame",
        "branch",
        "model",
        "manifest",
        "sweep",
        "probe",
        "decode",
        "generate",
        "trace",
        "trace_load",
        "replay",
        "memory",
        "messages",
        "chatfile",
        "conversation",
        "settings",
        "search",
        "evaluate",
        "study",
        "bench",
        "doctor",
        "checkup",
        "measured",
    },
    4: {
        "render",
        "render_trace",
        "render_chat",
        "render_report",
        "render_models",
        "render_doctor",
        "render_bench",
        "page",
        "report_page",
        "svg",
        "plot",
        "screen",
        "commands",
        "repl",
        "cli",
        "__main__",
    },
}
LEVEL = {name: level for level, names in LEVELS.items() for name in names}

HOMES = {  # library -> where alone it is imported
    "llama_cpp": {"llama"},
    "jinja2": {"llama"},
    "ctypes": {"llama"},
    "softllama._shim": {"kernels", "faults", "overlay"},
    "rich": {
        "render",
        "render_trace",
        "render_chat",
        "render_report",
        "render_models",
        "render_doctor",
        "render_bench",
    },
    "huggingface_hub": {"hub"},
    "matplotlib": {"plot"},
    "click": {"cli"},
}
# these load neither numpy nor llama_cpp
LIGHT = {
    "__init__",
    "__main__",
    "errors",
    "checks",
    "cli",
    "cli.config",
    "cli.options",
    "cli.models",
    "cli.doctor",
    "doctor",
    "child",
    "cli.completion",
    "cli.probe",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """ "llama.header", "policy", "__init__", ..."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def top(name: str) -> str:
    return name.split(".")[0]


def imports(path: Path, *, inside: bool) -> Iterator[str]:
    """What a module imports, fully named; `inside`: in its functions as well. Not what is for type checkers only."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside:
                continue
            if isinstance(child, ast.Import):
                yield from (a.name for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{path}: a relative import"
                yield from (f"{child.module}.{a.name}" for a in child.names)
            yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def own(imported: str) -> str | None:
    """The module of ours that an import names: "softllama.llama.binding.api" -> "llama.binding"."""
    parts = imported.split(".")
    if parts[0] != "softllama":
        return None
    for n in range(len(parts), 1, -1):
        base = PACKAGE.joinpath(*parts[1:n])
        if base.with_suffix(".py").is_file() or base.with_suffix(".pyi").is_file() or (base / "__init__.py").is_file():
            return ".".join(parts[1:n])
    return "__init__"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_each_heavy_library_has_one_home(path: Path) -> None:
    name = top(name_of(path))
    for imported in imports(path, inside=True):
        for library, homes in HOMES.items():
            if imported == library or imported.startswith(library + "."):
                assert name in homes, f"{name_of(path)} imports {imported}; only {', '.join(homes)} may"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_down(path: Path) -> None:
    name = name_of(path)
    if name == "__init__":
        assert not [i for i in imports(path, inside=False) if i.startswith("softllama")]
        return
    assert top(name) in LEVEL, f"give the new module {top(name)!r} a level in LEVELS"
    for imported in imports(path, inside=False):
        module = own(imported)
        if module is None or module == "__init__":
            continue
        assert top(module) in LEVEL, f"give the new module {top(module)!r} a level in LEVELS"
        assert LEVEL[top(module)] <= LEVEL[top(name)], (
            f"{name} (level {LEVEL[top(name)]}) imports {module}, which is above"
        )


def test_no_module_is_imported_in_a_circle() -> None:
    graph = {
        name_of(p): {
            m for i in imports(p, inside=False) if (m := own(i)) is not None and m not in ("__init__", "_shim")
        }
        for p in modules()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in sorted(graph[name] - {name}):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(graph)


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_what_help_needs_is_light(name: str) -> None:
    path = PACKAGE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for imported in imports(path, inside=False):
        module = own(imported)
        assert top(imported) not in ("numpy", "llama_cpp", "rich", "matplotlib", "jinja2"), imported
        assert module is None or module in LIGHT, f"{name} imports {module}, which is not light"


def test_the_rules_would_notice(tmp_path: Path) -> None:
    """The walk above sees imports in functions and classes, and leaves out those for type checkers."""
    path = tmp_path / "x.py"
    path.write_text(
        "import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n"
        "def f():\n    import c\nclass D:\n    from e import g\ntry:\n    import h\nexcept ImportError:\n    pass\n"
    )
    assert list(imports(path, inside=False)) == ["a", "typing.TYPE_CHECKING", "e.g", "h"]
    assert list(imports(path, inside=True)) == ["a", "typing.TYPE_CHECKING", "c", "e.g", "h"]
    assert own("softllama.llama.binding.api") == "llama.binding"
    assert own("softllama.cache") == "cache"
    assert own("softllama.load") == "__init__"
    assert own("numpy") is None
