"""The contestants of one case of the solve suite: prepared, checked, timed in turns, and their rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from aafast.bench import memory
from aafast.bench.backends import BASELINES, COMPILE, EAGER, ENGINE, REFERENCE, prepared, solver
from aafast.bench.cases import PROBE, Case
from aafast.bench.gates import Gate, StepGate, score_gate, worst
from aafast.bench.rows import ORACLE, Row, facts, quantiles


class Contest:
    """The contestants of one case, ready to run, with their gates."""

    def __init__(self, case: Case, without: list[str]) -> None:
        self.case = case
        self.absent: dict[str, str] = {name: "left out" for name in without}
        self.runs: dict[str, Callable[[], Any]] = {}
        self.backend = ENGINE  # by name, once it has run
        self.gates: dict[str, list[Gate]] = {REFERENCE: []}
        for name in (*BASELINES, ENGINE):
            if name not in self.absent:
                self._prepare(name)

    def _prepare(self, name: str) -> None:
        solve = None if name == REFERENCE else solver(name, self.case.device)
        run = prepared(self.case, name, solve)
        try:
            found = run()  # the warm-up, and for one of them the compilation
        except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
            if name == ENGINE:
                raise
            self.absent[name] = " ".join(str(error).split())[:200]
            return
        self.runs[name] = run
        if solve is None:
            return
        if name == ENGINE:
            self.backend = found.backend
        self.gates[name] = [self._step_gate.check(solve, self.backend if name == ENGINE else None)]
        if name == ENGINE:
            self.gates[name].append(score_gate(self.case, solve, min(PROBE, self.case.shape[0])))

    @property
    def _step_gate(self) -> StepGate:
        if not hasattr(self, "_made"):
            self._made = StepGate(self.case)
        return self._made

    def ok(self, name: str) -> bool:
        """Whether a contestant runs and passed every gate."""
        return name in self.runs and all(gate.ok for gate in self.gates[name])

    def timed(self, name: str) -> float:
        """Seconds of one solve."""
        cuda = self.case.device != "cpu"
        if cuda:
            torch.cuda.synchronize()
        begin = time.perf_counter()
        self.runs[name]()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    def rows(self, seconds: dict[str, list[float]]) -> list[Row]:
        """A row for each contestant that ran."""
        medians = {name: median(times) for name, times in seconds.items() if times}
        plain = min((name for name in (EAGER, COMPILE) if name in medians), key=medians.__getitem__, default=None)
        return [self._row(name, seconds[name], medians, plain) for name in self.runs]

    def _row(self, name: str, times: list[float], medians: dict[str, float], plain: str | None) -> Row:
        case = self.case
        against = REFERENCE if name != REFERENCE and times and REFERENCE in medians else None
        beside = plain if name == ENGINE and times else None
        spread = quantiles(times) if times else dict.fromkeys(("median_s", "p20_s", "p80_s"))
        return {
            "suite": "solve",
            "task": case.task,
            "method": case.method,
            "backend": self.backend if name == ENGINE else name,
            "batch": case.shape[0],
            "shape": list(case.shape[1:]),
            "iterations": case.iterations,
            **spread,
            "s_per_iteration": medians[name] / case.iterations if times else None,
            "rounds": len(times),
            "peak_mb": memory.measure(case, name) if times else None,
            "baseline": against,
            "speedup": medians[against] / medians[name] if against else None,
            "plain_baseline": beside,
            "speedup_over_plain": medians[beside] / medians[name] if beside else None,
            "gate": worst(self.gates[name]).row() if self.gates[name] else ORACLE,
            "gates": [gate.row() for gate in self.gates[name]],
            "engine": name == ENGINE,
            "precision": case.precision if name == ENGINE else "float32",
            "quick": case.quick,
            "absent": self.absent,
            **facts(case.device),
        }
