"""The main job on a line that the package synthesises, with the truth at hand."""

from .outcome import DemoResult
from .run import run_demo
from .scores import Row
from .segy import write_segy

__all__ = ["DemoResult", "Row", "run_demo", "write_segy"]
