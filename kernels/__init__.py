"""Triton kernels, packaged as aafast.kernels; each file is self-contained and never imports aafast."""
