"""Training of models on generated data."""

from .deconv import Trainer, TrainingPlan, train

__all__ = ["Trainer", "TrainingPlan", "train"]
