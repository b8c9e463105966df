"""aafast: fast, checked A-adaptive model-based solvers for inverse problems with a wrong forward model."""

__version__ = "0.1.0"
