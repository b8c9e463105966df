"""The tasks, the models built for them, and models on disk. Tasks differ only in this folder."""

from .build import TASKS, build, build_from, settings
from .checkpoint import load, make_folder, save, shipped

__all__ = ["TASKS", "build", "build_from", "load", "make_folder", "save", "settings", "shipped"]
