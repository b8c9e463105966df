"""Training of every task's models on pairs that are drawn as they are needed."""

from .curves import read_curve
from .plan import TrainingPlan, read_fields
from .presets import PRESETS, preset
from .state import steps_done
from .train import train
from .trainer import Trainer

__all__ = ["PRESETS", "Trainer", "TrainingPlan", "preset", "read_curve", "read_fields", "steps_done", "train"]
