"""The tasks, their data, the models built for them, and models on disk. Tasks differ only in this folder."""

from .batch import TaskBatch
from .build import TASKS, build, build_from, settings
from .checkpoint import load, make_folder, save, shipped
from .pairs import SHAPES, PairStream, draw_pairs

__all__ = [
    "SHAPES",
    "TASKS",
    "PairStream",
    "TaskBatch",
    "build",
    "build_from",
    "draw_pairs",
    "load",
    "make_folder",
    "save",
    "settings",
    "shipped",
]
