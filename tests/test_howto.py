"""The how-to notebooks run as they stand, give again what they show, and their parts are in step: text, sample, peers."""
import copy
import json
import re
import runpy

import nbformat
import pytest
from nbclient import NotebookClient

import otsport
from house import ROOT
from otsport.app.cli import lab_page
from otsport.app.folder import new_folder
from otsport.app.notebooks import KERNEL
from otsport.core.errors import InputError

HOWTO = ROOT / "nbs" / "howto"
PAGES = sorted(HOWTO.glob("*.ipynb"))
CHANGING = [(re.compile(r"(\d{4}-\d\d-\d\d)-[0-9a-f]{10}"), r"\1-RUN")]  # the id of a run follows from its port, and that from its folder


def shown(notebook) -> list[str]:
    """All texts that the cells show, without pictures."""
    found = []
    for cell in notebook.cells:
        for out in cell.get("outputs", []):
            data = out.get("data", {})
            text = data.get("text/markdown") or data.get("text/plain") or out.get("text", "")
            for pattern, word in CHANGING:
                text = pattern.sub(word, text)
            found.append(text.rstrip())
    return found


def differences(one: list[str], other: list[str]) -> list[tuple[str, str]]:
    """Pairs of texts that are not the same; a text without a partner is one, too."""
    longest = max(len(one), len(other))
    pad = lambda texts: texts + [""] * (longest - len(texts))
    return [(a, b) for a, b in zip(pad(one), pad(other)) if a != b]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_page_runs_and_gives_again_what_it_shows(path):
    kept = nbformat.read(path, as_version=4)
    again = copy.deepcopy(kept)
    NotebookClient(again, timeout=300, kernel_name="python3", extra_arguments=KERNEL, resources={"metadata": {"path": str(HOWTO)}}).execute()
    assert differences(shown(kept), shown(again)) == []


def test_another_number_is_a_difference():
    kept = nbformat.read(HOWTO / "first_hour.ipynb", as_version=4)
    texts = shown(kept)
    at = next(i for i, text in enumerate(texts) if "NAV" in text)
    changed = [*texts[:at], texts[at].replace("NAV", "NAW"), *texts[at + 1 :]]
    assert len(differences(texts, changed)) == 1 and len(differences(texts, texts[:-1])) == 1


def test_pages_of_the_issue_are_there_and_export_nothing():
    assert {p.stem for p in PAGES} >= {"first_hour", "five_lines", "prices", "chains", "strategies", "limits", "schedule", "monitor"}
    assert not any("default_exp" in path.read_text() for path in PAGES)


def test_new_folder_has_the_first_hour_without_outputs(tmp_path, monkeypatch):
    source = nbformat.read(HOWTO / "first_hour.ipynb", as_version=4)
    made = nbformat.read(new_folder(tmp_path / "desk").path / "first_hour.ipynb", as_version=4)
    assert [c.source for c in made.cells] == [c.source for c in source.cells]  # else: make notebooks
    assert not any(c.get("outputs") for c in made.cells)


def test_lab_opens_the_folder_that_one_is_in(tmp_path):
    folder = new_folder(tmp_path / "desk").path
    assert lab_page(folder) == (folder, "first_hour.ipynb")
    (folder / "first_hour.ipynb").unlink()
    assert lab_page(folder) == (folder, "my_strategy.ipynb")
    assert lab_page(None) == (ROOT, "nbs/index.ipynb")
    with pytest.raises(InputError, match="otsport new FOLDER"):
        lab_page(tmp_path)


def test_peers_code_is_what_was_run():
    bench = runpy.run_path(str(ROOT / "bench" / "five_lines.py"))
    kept = json.loads((HOWTO / "five_lines.json").read_text())
    assert {task: (peer, code.strip(), bench["lines"](code)) for task, (peer, code, _) in bench["PEERS"].items()} == {
        task: (row["peer"], row["code"], row["lines"]) for task, row in kept.items()}  # else: run bench/five_lines.py
    assert bench["lines"]("import x\n\n# why\nx.y()\n") == 2


def test_names_of_the_package_are_found():
    assert {"risk", "open_book", "optimal_weights", "measures"} <= set(dir(otsport))
    assert otsport.optimal_weights.__module__ == otsport.measures.__module__ == "otsport.desk.returns"
