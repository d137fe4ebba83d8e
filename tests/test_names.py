"""Every name that the code of the package uses is defined: two changes that were made side by side can each be right and together call what is gone."""
import builtins
import dis
import importlib
import pkgutil
import types

import pytest

import otsport


def modules() -> list[str]:
    "The modules of the package, but those that run something when they are imported."
    skipped = ("otsport.__main__", "otsport.data.migrations", "otsport.bench", "otsport.papers")
    return [m.name for m in pkgutil.walk_packages(otsport.__path__, "otsport.") if not m.name.startswith(skipped)]


def undefined(code: types.CodeType, known: set[str]) -> set[str]:
    "Global names that a code object, or one inside it, reads and nobody defines."
    found = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")} - known
    local = set(code.co_names) & {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
    return (found - local).union(*(undefined(c, known) for c in code.co_consts if isinstance(c, types.CodeType)), set())


def undefined_of(source: str, path: str, names: set[str]) -> set[str]:
    return undefined(compile(source, path, "exec"), names | set(dir(builtins)) | {"__file__", "__path__", "__name__", "__qualname__", "__module__", "__annotations__"})


@pytest.mark.parametrize("name", modules())
def test_every_name_is_defined(name):
    module = importlib.import_module(name)
    with open(module.__file__, encoding="utf-8") as file:
        assert undefined_of(file.read(), module.__file__, set(vars(module))) == set()


def test_a_name_that_is_gone_is_caught():
    source = "import os\n\ndef f(x):\n    return [IBBroker(y) for y in os.listdir(x)]\n"
    assert undefined_of(source, "f.py", {"os", "f"}) == {"IBBroker"}
