"""How a strategy is found in a file: what is run of it, what it may import, what cannot be one, and whose line an error is on."""
import json
import sys

import pytest

from otsport.core.errors import InputError
from otsport.strategy.own import find, is_of, run_file, sources, where
from otsport.strategy.protocol import BEFORE_OPEN

FILE = '''from functools import partial
from statistics import fmean
from helper import least

def dips(known, count=3, *, least_fall=0.05):
    return [known] * count

def needs(known, much):
    return []

def anything(known, count=1, **given):
    return [given] * count

def _hidden(known):
    return []

def no_question():
    return []

NUMBER = 7

class Timed:
    timing = "at noon"
    def __init__(self, count=1):
        self.count = count
    def signals(self, known):
        return [known] * self.count

timed = Timed(5)
thrice = partial(dips, count=3)
'''


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A strategy file beside a file that it imports."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    for name in ("mine", "helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "helper.py").write_text("least = min\n\ndef fails(x):\n    return 1 / x\n")
    (tmp_path / "mine.py").write_text(FILE)
    yield tmp_path / "mine.py"
    for name in ("mine", "helper"):
        sys.modules.pop(name, None)


def notebook(path, *cells):
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": text} for kind, text in cells]}))
    return path


def test_a_file_imports_what_lies_beside_it_and_its_folder_is_named_once(file):
    """From wherever the process stands."""
    before = list(sys.path)
    assert str(file.parent) not in before
    first, second = run_file(file), run_file(file)
    assert first.least is min and second.dips(2, 4) == [2] * 4 and first.__file__ == str(file)
    assert sys.path == [str(file.parent), *before]
    assert sys.modules["mine"] is first  # what the first run has made is what others import


def test_a_file_with_the_name_of_a_module_does_not_take_its_place(file):
    path = file.with_name("json.py")
    path.write_text("def mine(known):\n    return []\n")
    assert run_file(path).mine(1) == [] and sys.modules["json"] is json


def test_only_the_exported_cells_of_a_notebook_are_run(tmp_path):
    path = notebook(tmp_path / "mine.ipynb", ("markdown", "#| export\ntext"), ("code", "raise RuntimeError"), ("code", ["#| export\n", "x = 1"]), ("code", "\n#| export\ny = x"))
    assert sources(path) == [("mine.ipynb cell 3", "#| export\nx = 1"), ("mine.ipynb cell 4", "\n#| export\ny = x")]
    assert run_file(path).y == 1
    with pytest.raises(InputError, match="mine.ipynb has no cell that begins with `#| export`"):
        sources(notebook(path, ("code", "x = 1")))
    for text in ("def mine(known): ...", "[]", '{"cells": [{}]}'):
        path.write_text(text)
        with pytest.raises(InputError, match="mine.ipynb is no notebook .*: save it again in Jupyter"):
            sources(path)
    (tmp_path / "mine.txt").write_text("plain")
    assert sources(tmp_path / "mine.txt") == [("mine.txt", "plain")]


def test_a_function_a_class_and_an_object_are_strategies(file):
    found = find(file, "dips", {"count": 2})
    assert found.act("k") == ["k", "k"] and found.thing is None and found.timing is BEFORE_OPEN and found.at == "mine.py, line 5"
    assert find(file, "anything", {"whatever": 1, "count": 2}).act("k") == [{"whatever": 1}] * 2
    assert find(file, "needs", {"much": 1}).act("k") == [] and find(file, "dips", {"least_fall": 0.1, "count": 1}).act("k") == ["k"]
    made = find(file, "Timed", {"count": 2})
    assert made.act is None and made.thing.signals("k") == ["k", "k"] and made.timing == "at noon" and made.at == "mine.py"
    assert find(file, "timed", {}).thing.count == 5
    thrice = find(file, "thrice", {})
    assert thrice.act("k") == ["k"] * 3 and (thrice.at, find(file, "fmean", {}).at) == ("mine.py", "mine.py")  # where it is defined is nobody's line here
    file.with_name("plain.py").write_text("class Plain:\n    def signals(self, known):\n        return []\n")
    assert find(file.with_name("plain.py"), "Plain", {}).timing is BEFORE_OPEN


@pytest.mark.parametrize("name, given, words", [
    ("dipz", {}, "mine.py defines no 'dipz': did you mean 'dips'. it has dips, needs, anything, no_question, Timed$"), ("q", {}, "mine.py defines no 'q': it has dips"),
    ("dips", {"cuont": 2}, "it takes no parameter 'cuont': did you mean 'count'.; it takes count, least_fall: mend `with:` in book.yaml"),
    ("dips", {"known": 2}, "it takes no parameter 'known'"), ("needs", {}, "it needs much: give a value under `with:` in book.yaml, or a default in the code"),
    ("Timed", {"size": 2}, "it takes no parameter 'size'; it takes count"), ("timed", {"count": 2}, "timed is an object and takes no parameters: name its class, or drop `with:`"),
    ("no_question", {}, "no_question is no strategy: write `def no_question.known.: ... return"), ("NUMBER", {}, "NUMBER is no strategy"),
])  # fmt: skip
def test_what_cannot_be_one_says_what_to_write(file, name, given, words):
    with pytest.raises(InputError, match=words):
        find(file, name, given)


def raised(what, *given) -> BaseException:
    try:
        what(*given)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_line_of_an_error_is_the_innermost_of_ones_own(file):
    """In the file, in one beside it, in a cell; in a library it is the line that called it."""
    file.write_text("import helper, json\n\ndef direct(x):\n    return 1 / x\n\ndef beside(x):\n    return helper.fails(x)\n\ndef library(x):\n    return json.loads(x)\n")
    module = run_file(file)
    assert where(file, raised(module.direct, 0)) == "mine.py, line 4: return 1 / x"
    assert where(file, raised(module.beside, 0)) == "helper.py, line 4: return 1 / x"
    assert where(file, raised(module.library, "{")) == "mine.py, line 10: return json.loads(x)"
    assert where(file, raised(json.loads, "{")) == "mine.py"  # none of it is his
    assert where(file, raised(compile, "def f(:\n", "another.py", "exec")) == "mine.py"  # nor is this mistake
    file.write_text("x = 1\ndef broken(known:\n    return []\n")
    assert where(file, raised(run_file, file)) == "mine.py, line 2: def broken(known:"
    cell = notebook(file.with_name("mine.ipynb"), ("code", "#| export\ndef f(x):\n    return 1 / x"))
    assert where(cell, raised(run_file(cell).f, 0)) == "mine.ipynb cell 1, line 3: return 1 / x"
    assert is_of("mine.py", file) and is_of("mine.ipynb cell 2", cell) and is_of(str(file.with_name("helper.py")), file)
    assert not is_of("other.py", file) and not is_of("mine.ipynbcell", cell) and not is_of(json.__file__, file)
