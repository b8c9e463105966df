"""Benchmarks: what each backend takes, behind a gate; `aafast bench` runs the suites. Packaged as aafast.bench."""
