"""Triton kernels, packaged as aafast.kernels; they import one another at most, never the rest of aafast."""
