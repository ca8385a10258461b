"""Runs scripts/bench/shape_model.py, for those that call it by this path."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("bench") / "shape_model.py"), run_name="__main__")
