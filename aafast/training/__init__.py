"""Training of models on generated data."""

from .deconv import Trainer, TrainingPlan

__all__ = ["Trainer", "TrainingPlan"]
