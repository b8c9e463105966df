"""Affine maps x -> M x + c with known fixed points."""

import torch


def affine(batch=3, size=40, radius=0.9, seed=0):
    """M [batch, size, size] of that spectral radius, c, and the fixed point."""
    g = torch.Generator().manual_seed(seed)
    m = torch.randn(batch, size, size, generator=g, dtype=torch.float64)
    m = m * (radius / torch.linalg.eigvals(m).abs().amax(1))[:, None, None]
    c = torch.randn(batch, size, generator=g, dtype=torch.float64)
    return m, c, torch.linalg.solve(torch.eye(size, dtype=torch.float64) - m, c)


def apply(m, c):
    """The map as a step."""
    return lambda x, aux: ((m @ x.unsqueeze(2)).squeeze(2) + c, aux)
