"""The files that every project has: they parse, agree about the version, and name only what exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
YAML_FILES = (
    ".pre-commit-config.yaml",
    ".github/dependabot.yml",
    ".github/workflows/docs.yml",
    ".github/workflows/test.yml",
    ".github/ISSUE_TEMPLATE/bug.yml",
    ".github/ISSUE_TEMPLATE/config.yml",
    ".github/ISSUE_TEMPLATE/feature.yml",
    ".clang-format",
    "CITATION.cff",
)
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}  # of Keep a Changelog 1.1.0
SUFFIXES = (".c", ".cff", ".h", ".md", ".py", ".pyi", ".toml", ".txt", ".yaml", ".yml")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def parsed(name: str) -> Any:
    return yaml.safe_load(text(name))


def project() -> Any:
    return tomllib.loads(text("pyproject.toml"))["project"]


def version() -> str:
    """Of softllama/_version.py; of pyproject.toml where that states it itself."""
    file = ROOT / "softllama" / "_version.py"
    if not file.is_file():
        return str(project()["version"])
    found = re.search(r'^__version__ = "(.+)"$', file.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def paths(markdown: str) -> set[str]:
    """The files and folders that inline code and code blocks name."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    words = {w for span in re.findall(r"`([^`]+)`", prose) for w in span.split()}
    inline = {w for w in words if re.fullmatch(r"[\w./-]+", w) and ("/" in w or w.endswith(SUFFIXES))}
    folders = "|".join(sorted({re.escape(p.name) for p in ROOT.iterdir() if p.is_dir() and p.name[0] not in "._"}))
    return inline | {w for block in blocks for w in re.findall(rf"(?<![\w./-])(?:{folders})/[\w./-]*", block)}


@pytest.mark.parametrize("name", YAML_FILES)
def test_a_yaml_file_parses(name: str) -> None:
    assert isinstance(parsed(name), dict)


def test_no_yaml_file_is_left_out() -> None:
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / ".github").rglob("*.y*ml")}
    assert there == {name for name in YAML_FILES if name.startswith(".github/")}


def test_the_citation_names_the_version_and_the_license() -> None:
    citation = parsed("CITATION.cff")
    assert str(citation["version"]) == version()
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == project()["license"]


def test_the_changelog_has_its_form() -> None:
    lines = text("CHANGELOG.md").splitlines()
    versions = [line[3:] for line in lines if line.startswith("## ")]
    assert versions[0] == "[Unreleased]"
    assert len(versions) > 1
    for v in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", v), v
    for v in versions:
        assert any(line.startswith(v.split(" - ")[0] + ": https://") for line in lines), f"{v} has no link"
    sections = [line[4:] for line in lines if line.startswith("### ")]
    assert sections
    assert set(sections) <= SECTIONS


def test_what_the_contributing_guide_names_is_there() -> None:
    named = paths(text("CONTRIBUTING.md"))
    assert {"scripts/test", "csrc/softmix.h", "CHANGELOG.md", "tests/policy"} <= named
    assert sorted(p for p in named if not (ROOT / p).exists()) == []


def test_every_python_from_the_oldest_on_is_tested() -> None:
    matrix = parsed(".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    linux = {job["python"] for job in matrix if job["os"].startswith("ubuntu")}
    oldest = project()["requires-python"].removeprefix(">=")
    minors = sorted(int(v.removeprefix("3.")) for v in linux)
    assert f"3.{minors[0]}" == oldest
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert {job.get("dependencies") for job in matrix} == {None, "lowest", "newest"}


def test_the_bug_form_asks_for_the_doctor() -> None:
    fields = {field.get("id"): field for field in parsed(".github/ISSUE_TEMPLATE/bug.yml")["body"]}
    assert "softllama doctor --json" in fields["doctor"]["attributes"]["description"]
    assert fields["doctor"]["validations"]["required"] is True
