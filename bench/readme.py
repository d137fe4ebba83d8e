"""Write the table of bench/results.json into the index notebook, from which the README is made: `make bench` does all of it."""
import json
from pathlib import Path

import nbformat

from otsport.bench.harness import markdown

ROOT = Path(__file__).resolve().parents[1]
INDEX, START, END = ROOT / "nbs" / "index.ipynb", "<!-- bench -->\n", "<!-- /bench -->"


def main() -> None:
    table = markdown(json.loads((ROOT / "bench" / "results.json").read_text()))
    notebook = nbformat.read(INDEX, nbformat.NO_CONVERT)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and START in cell.source:
            before, after = cell.source.split(START)[0], cell.source.split(END)[1]
            cell.source = before + START + "\n" + table + "\n\n" + END + after
    nbformat.write(notebook, INDEX)


if __name__ == "__main__":
    main()
