"""Bad input in the cells of a real kernel, in a desk folder made by `otsport new`: what a person reads is his own line and one message, and nothing is half done."""
import re

import nbformat
import pytest
from nbclient import NotebookClient

from otsport.app.folder import new_folder
from run_support import free_port

PORT = free_port()
BOOK = "import otsport, pathlib\ngood = pathlib.Path('book.yaml').read_text()\ndef write(old, new):\n    assert old in good\n    pathlib.Path('book.yaml').write_text(good.replace(old, new))\n"
SHEET = "qty,symbol,right,strike,expiry,mark,spot\\n1,KO,C,65,2023-01-20,1.0,62\\n"
CELLS = [  # what is typed, the error, what it says (file, line, rule, next step), whether there is a book afterwards
    (BOOK + "otsport.open_book()", None, "not begun; `await book.connect..` begins it", False),
    ("write('max_gross:', 'max_gros:')\notsport.open_book()", "FolderError", r"book.yaml, line \d+: limits.max_gros = 1.0: there is no such field here: did you mean max_gross", False),
    ("write('[AAPL,', '[AAPPL,')\notsport.open_book()", "FolderError", r"book.yaml, line \d+: universe.1. = 'AAPPL': sample has no prices of it: did you mean AAPL", False),
    ("write('version: 1', 'version: 2')\notsport.open_book()", "FolderError", r"book.yaml, line 3: version = 2: the folder is of a newer otsport, .* update otsport, nothing was touched", False),
    ("write('prices: sample', 'prices: prices/mime.parquet')\notsport.open_book()", "FolderError", "there is no such file in .*take prices in with `otsport data add FILE", False),
    ("write('', '')\nfrom otsport.app.folder import known_now\nlen(known_now().spots)", None, "20", False),
    ("known_now('2024-01-05')", "NoPrices", "session 2024-01-05: .* run from .* to 2022-12-28.*give a session up to 2022-12-29, or take later closes in with `otsport data add", False),
    ("known_now('2022-12-26')", "NotASession", "Monday 2022-12-26 is not a trading session .* the nearest are 2022-12-23 and 2022-12-27", False),
    ("known_now('tomorrow')", "InputError", "session is 'tomorrow': a date is written YYYY-MM-DD", False),
    ("otsport.risk([(1, 'KO 20230120 X 65')], spot=62)", "InputError", "row 1, contract 'KO 20230120 X 65': .* is no contract: give a symbol, or SYMBOL YYYYMMDD C.P STRIKE", False),
    ("otsport.risk([(1, 'KO 20221118 C 65')], spot=62, as_of='2022-12-28')", "InputError", "row 1, expiry '2022-11-18': .* expired before 2022-12-28: leave it out, or give as_of", False),
    (f"pathlib.Path('p.csv').write_text('{SHEET}2,KO,Q,65,2023-01-20,1.0,62\\n')\notsport.risk('p.csv', as_of='2022-12-28')", "InputError",
     "p.csv line 3 .row 2., right 'Q': is not known: write 'C', 'P' or, for shares, 'S'", False),
    (f"pathlib.Path('p.csv').write_text('{SHEET}2,KO,P,65,2022-11-18,1.0,62\\n')\notsport.risk('p.csv', as_of='2022-12-28')", "InputError",
     "p.csv line 3 .row 2., expiry '2022-11-18': .* expired before 2022-12-28: leave it out", False),
    (f"await otsport.open_book(port={PORT}).connect()", "BrokerUnreachable", f"127.0.0.1:{PORT} .*nothing listens there. Start TWS.* or the simulated gateway there .otsport gateway --port {PORT}.", True),
    ("await otsport.open_book().buy('KO', 100)", "BrokerUnreachable", "main has no broker yet: `await book.connect..` first", True),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The outputs of every cell, and whether a book was there after it."""
    folder = new_folder(tmp_path_factory.mktemp("cells") / "desk").path
    cells = [nbformat.v4.new_code_cell(source) for source, *_ in CELLS]
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    states = []
    client = NotebookClient(nb, timeout=120, allow_errors=True, resources={"metadata": {"path": str(folder)}}, on_cell_executed=lambda **_: states.append((folder / "state" / "otsport.db").exists()))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OTSPORT_HOME", raising=False)
        client.execute()
    return [(cell.outputs, state) for cell, state in zip(nb.cells, states)]


@pytest.mark.parametrize("at", range(len(CELLS)), ids=lambda at: f"{at}_{CELLS[at][1] or 'good'}")
def test_what_a_cell_shows(seen, at):
    (source, error, words, state), (outputs, after) = CELLS[at], seen[at]
    assert after == state
    if error is None:
        assert re.search(words, outputs[-1]["data"]["text/plain"])
        return
    output, = outputs
    *lines, message = output["traceback"]
    assert output["ename"] == error and message.startswith(f"{error}: ") and re.search(words, message)
    number = source.count("\n") + 1
    assert lines == [f"cell, line {number}: {source.splitlines()[-1]}"]  # his own line, and none of ours
