"""Package metadata comes from settings.ini; this file only hands it to setuptools."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
config = ConfigParser(interpolation=None)
config.read(ROOT / "settings.ini", encoding="utf-8")
meta = config["DEFAULT"]
extras = {name: meta[f"{name}_requirements"].split() for name in ("ib", "lab", "postgres", "redis", "bench", "dev")}
extras["ib-async"] = meta["ib_async_requirements"].split()  # in place of ib, never beside it
extras["dev"] += extras["ib"] + extras["lab"] + extras["postgres"] + extras["redis"]

setup(
    name=meta["lib_name"],
    version=meta["version"],
    description=meta["description"],
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=meta["author"],
    license=meta["license"],
    keywords=meta["keywords"].split(),
    python_requires=f">={meta['min_python']},<{meta['max_python']}",
    packages=find_packages(include=["otsport", "otsport.*"]) + ["otsport.kernels", "otsport.bench", "otsport.papers"],
    package_dir={"otsport": "otsport", "otsport.kernels": "kernels", "otsport.bench": "bench", "otsport.papers": "papers"},
    package_data={"otsport.papers": ["*.ipynb"], "otsport.data": ["samples/*", "migrations/*.mako"], "otsport.app": ["sample/*"]},
    install_requires=meta["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": ["otsport=otsport.app.cli:main"], "nbdev": ["otsport=otsport._modidx:d"]},
    zip_safe=False,
)
