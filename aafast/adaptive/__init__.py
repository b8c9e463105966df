"""A-adaptive models: the state, one step, and the four models."""

from .models import MODELS, AdaptiveDEQ, AdaptiveLU, DirectInverse, Model, RobustLU

__all__ = ["MODELS", "AdaptiveDEQ", "AdaptiveLU", "DirectInverse", "Model", "RobustLU"]
