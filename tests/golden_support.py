"""The stores of released versions, unpacked into a folder of a test's own."""
import gzip
import shutil
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def unpack(name: str, folder: Path) -> Path:
    "A copy of a golden store as a state folder, private as the product leaves it; returns the database."
    source = GOLDEN / name
    for path in (p for p in source.rglob("*") if p.is_file() and p.suffix != ".md"):
        target = folder / path.relative_to(source).with_suffix("" if path.suffix == ".gz" else path.suffix)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as packed, open(target, "wb") as out:
            shutil.copyfileobj(packed, out)
        target.chmod(0o600)
    return folder / "otsport.db"
