"""The layout that keeps `import operator` the standard library's, and the house rules that no linter knows."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("operator/src/**/*.py"), *ROOT.glob("dispatcher/src/**/*.py")])


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_no_module_lies_directly_in_operator() -> None:
    assert list((ROOT / "operator").glob("*.py")) == []
    assert not (ROOT / "tests" / "operator").exists()


def test_the_standard_librarys_operator_wins_at_the_root() -> None:
    program = "import operator, sys; print(operator.itemgetter(0)('a'), operator.__file__)"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("a ")
    assert str(ROOT / "operator") not in answer.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_keep_their_size(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 320, "look for the missing idea"
    assert ast.get_docstring(ast.parse(text)), "say what it is for and who calls it"
    for function in functions(path):
        lines = (function.end_lineno or 0) - function.lineno + 1
        # A command's options are declarations, and its docstring is its help.
        longest = 60 if path.name == "__main__.py" else 45
        assert lines <= longest, f"{function.name} has {lines} lines"


def test_nothing_of_a_machine_is_committed() -> None:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        path = ROOT / name
        if path.suffix in {".lock", ".sum"} or not path.is_file():
            continue
        text = path.read_text()
        for stray in ("/" + "root/", "/" + "home/"):
            assert stray not in text, f"{name} has a path of a machine"
