"""The paper's tables and figures, and the ablation it lacks, made again from stored rows as Markdown and PNG."""

from .build import build
from .results import Absent, Results, Section

__all__ = ["Absent", "Results", "Section", "build"]
