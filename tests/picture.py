"""The picture of the README: trade sixty sessions, photograph the top of the report, and keep its numbers beside it.

    python tests/picture.py [HOME]

With HOME, the finished run of sixty sessions in that state folder is photographed; without, one is made. `make picture` calls it. A test compares
the numbers in `nbs/images/report.json` with those of the sixty sessions that it trades itself.
"""
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "nbs" / "images"
SESSIONS = 60
WIDTH, HEIGHT, TOP = 1120, 1105, 0  # pixels: title, headline and growth


def traded(home: Path) -> None:
    """Trade the sessions in a state folder."""
    command = [sys.executable, "-m", "otsport", "run", "trading_day", "-p", f"sessions={SESSIONS}", "-p", "port=4019"]
    subprocess.run(command, env=os.environ | {"OTSPORT_HOME": str(home)}, check=True)


def run_of(home: Path) -> Path:
    """The folder of the finished run of the sessions."""
    runs = [p for p in (home / "runs" / "trading_day").iterdir() if (p / "status.json").exists() and not p.name.endswith(".partial")]
    found = [p for p in runs if int(json.loads((p / "status.json").read_text())["parameters"]["sessions"]) == SESSIONS]
    return found[0]


def photograph(report: Path) -> bytes:
    """The top of a report, in few colors."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.as_uri())
        shot = page.screenshot(clip={"x": 0, "y": TOP, "width": WIDTH, "height": HEIGHT})
        browser.close()
    small = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def main(home: Path) -> None:
    folder = run_of(home)
    numbers = json.loads((folder / "status.json").read_text())["summary"]["numbers"]
    (IMAGES / "report.png").write_bytes(photograph(folder / "report.html"))
    told = {"command": f"otsport run trading_day -p sessions={SESSIONS}", **{name: numbers[name] for name in ("session", "nav", "orders", "fills")}}
    (IMAGES / "report.json").write_text(json.dumps(told, indent=1) + "\n")
    print(told)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "sixty"
            traded(folder)
            main(folder)
