"""The order of the packages, as one tuple. Every import counts: at module level, in a function, and for type checkers.

Two rules follow: a package imports only packages of lower floors, and no modules import each other in a circle.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "softllama"

ORDER = (  # floors, lowest first; packages of one floor do not import each other
    "errors _version",
    "base",
    "vectors",
    "llama policy show",
    "hub prompts trace report",
    "engine",
    "generation",
    "probe",
    "api chat evaluate",
    "study adapt diagnostics terminal serve integrations",
    "__init__ cli",
    "__main__",
)
FLOOR = {name: floor for floor, names in enumerate(ORDER) for name in names.split()}

HOMES = {  # library -> where alone it is imported
    "llama_cpp": {"llama", "diagnostics.llama_loop"},
    "ctypes": {"llama", "engine.layers", "diagnostics.llama_loop", "base.system"},
    "jinja2": {"llama.template", "show.page"},
    "rich": {
        "show",
        "cli",
        "hub.view",
        "trace.view",
        "probe.view",
        "probe.lens.view",
        "trace.layers_view",
        "report.text",
        "diagnostics.view",
        "diagnostics.bench_view",
        "terminal.tables",
    },
    "matplotlib": {"probe.plot"},
    "huggingface_hub": {"hub.client"},
    "platformdirs": {"base"},
    "pandas": {"base.tables"},
    "distributed": {"evaluate.cluster"},
    "datasets": {"evaluate.sources"},
    "math_verify": {"generation.answer_math"},
    "lm_eval": {"integrations.lm_eval"},
    "inspect_ai": {"integrations.inspect_ai"},
    "click": {"cli"},
    "fastapi": {"serve"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "pydantic": {"serve"},
    "prometheus_client": {"serve"},
    "torch": {"adapt"},
    "transformers": {"adapt"},
    "peft": {"adapt"},
    "gguf": {"adapt"},
    "softllama._shim": {"vectors.native", "base.signals", "llama.overlay"},
}
HEAVY = {"numpy", "llama_cpp", "rich", "matplotlib", "jinja2", "fastapi", "uvicorn"}  # what no --help may load


def name_of(path: Path) -> str:
    """ "llama.header", "policy", "__init__", ..."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


MODULES = {name_of(p): p for p in sorted(PACKAGE.rglob("*.py"))}


def imports(source: str) -> Iterator[str]:
    """Each name that a module imports, fully: "softllama.llama.bindings.api"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            yield from (f"{node.module}.{a.name}" for a in node.names)


def own(imported: str) -> str | None:
    """The module of ours that an import names: "softllama.llama.bindings.api" -> "llama.bindings"; None for others."""
    parts = imported.split(".")
    if parts[0] != "softllama":
        return None
    for n in range(len(parts), 1, -1):
        if (name := ".".join(parts[1:n])) in MODULES:
            return name
    return "_shim" if imported.startswith("softllama._shim") else "__init__"


def own_imports(name: str) -> set[str]:
    """The modules of ours that a module imports, the C module and itself left out."""
    found = {own(i) for i in imports(MODULES[name].read_text(encoding="utf-8"))}
    return {m for m in found if m is not None} - {name, "_shim"}


def climbs(name: str, other: str) -> bool:
    """Does an import of `other` by `name` run up, or along a floor?"""
    a, b = name.split(".")[0], other.split(".")[0]
    return a != b and FLOOR[b] >= FLOOR[a]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One way round for each circle that a walk along the imports meets."""
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(name: str, above: list[str]) -> None:
        if name in above:
            found.append([*above[above.index(name) :], name])
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, [*above, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_every_package_has_a_floor_and_there_are_at_most_12() -> None:
    assert {m.split(".")[0] for m in MODULES} == set(FLOOR)
    assert len(ORDER) <= 12


@pytest.mark.parametrize("name", [m for m in MODULES if m != "__init__"])
def test_imports_point_down(name: str) -> None:
    assert [other for other in sorted(own_imports(name)) if climbs(name, other)] == []


def test_no_module_is_imported_in_a_circle() -> None:
    graph = {name: own_imports(name) for name in MODULES if name != "__init__"}
    assert [" -> ".join(c) for c in circles(graph)] == []


@pytest.mark.parametrize("name", MODULES)
def test_each_heavy_library_has_one_home(name: str) -> None:
    for imported in imports(MODULES[name].read_text(encoding="utf-8")):
        for library, homes in HOMES.items():
            if imported == library or imported.startswith(library + "."):
                assert any(name == h or name.startswith(h + ".") for h in homes), f"{name} imports {imported}"


def test_help_loads_nothing_heavy() -> None:
    commands = sorted(m for m in MODULES if m.startswith("cli."))
    code = "import sys\n" + "\n".join(f"import softllama.{m}" for m in commands) + "\nprint(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert set(out.split()) & HEAVY == set()


def test_the_rules_would_notice() -> None:
    source = (
        "import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n"
        "def f():\n    import c\nclass D:\n    from e import g\ntry:\n    import h\nexcept ImportError:\n    pass\n"
    )
    assert set(imports(source)) == {"a", "typing.TYPE_CHECKING", "b", "c", "e.g", "h"}
    assert own("softllama.llama.bindings.api") == "llama.bindings"
    assert own("softllama.load") == "__init__"
    assert own("numpy") is None
    assert climbs("engine.engine", "generation.loop")
    assert climbs("hub.view", "trace.step")
    assert not climbs("generation.loop", "engine.engine")
    assert not climbs("trace.record", "trace.step")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
