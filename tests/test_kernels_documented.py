"""Kernels are called by other programs too: each one says what it does, and every parameter has a name that is explained."""
import ast
import re
from pathlib import Path

import pytest

import otsport.kernels

ROOM = Path(otsport.kernels.__file__).parent
OBVIOUS = {"typingctx", "x", "a", "b", "p", "t", "out", "function"}  # the argument of a formula that the first line spells out


def unexplained(source):
    """Public functions without a docstring, and their parameters that neither it nor the module explains, by `` `name` `` or as a word."""
    tree = ast.parse(source)
    above, faults = ast.get_docstring(tree) or "", []
    known = dict.fromkeys(n.name for n in tree.body if isinstance(n, ast.FunctionDef))
    for node in (n for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")):
        own = ast.get_docstring(node) or ""
        if not own:
            faults.append(f"{node.name} has no docstring")
            continue
        twins = " ".join(ast.get_docstring(n) or "" for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in known and f"`{n.name}`" in own)
        for name in (a.arg for a in node.args.args if a.arg not in OBVIOUS):
            if not re.search(rf"(?<![A-Za-z_]){re.escape(name)}(?![A-Za-z])", f"{above} {own} {twins}"):
                faults.append(f"{node.name}: {name}")
    return faults


@pytest.mark.parametrize("path", sorted(p for p in ROOM.glob("*.py") if p.name not in ("__init__.py", "_jit.py")), ids=lambda p: p.stem)
def test_public_kernels_are_documented(path):
    assert ast.get_docstring(ast.parse(path.read_text())) and unexplained(path.read_text()) == []


def test_what_is_not_documented_is_caught():  # negative control
    assert unexplained('"""S spot."""\ndef f(S, wings):\n    """Price of S."""\ndef g(S):\n    pass') == ["f: wings", "g has no docstring"]
