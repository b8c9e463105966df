"""A whole solve on a CUDA device: its state in fixed memory, one iteration on it, counters and stops included."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ..adaptive.models import Model
from ..adaptive.state import initial, moments_of, theta_of
from ..config import FixedPointConfig
from ..nets.residual import Theta
from ..nets.spectral_norm import Written
from ..ops import _arena, _native
from ..physics import ForwardModel
from ..solvers import Solution
from ..solvers.iterate import RESTART
from .graphs import Launcher
from .optimiser import adamw_on_device
from .plan import Plan
from .replica import REPLICABLE, Replica, kind_of


def reason_against_loop(model: Model, A0: ForwardModel) -> str | None:
    """Why a solve has to be run iteration by iteration from the host, or None."""
    config, _ = model.outer()
    if config.name not in ("anderson", "picard"):
        return f"the fixed-point solver {config.name} runs from the host"
    if not isinstance(A0, REPLICABLE):
        return f"the forward model is a {type(A0).__name__}, whose memory is not known"
    if hasattr(model, "residual"):
        inner, outer = model.config.z_solver.name, model.config.theta_solver.name
        if inner != "adamw" or outer not in ("adamw", "none"):
            return f"the inner solvers {inner} and {outer} run from the host"
    return None


class DeviceLoop:
    """Solves batches of one shape, one kind of forward model and one plan, again and again in the same memory."""

    def __init__(self, model: Model, plan: Plan, y: Tensor, A0: ForwardModel) -> None:
        self.plan, self.config = plan, model.config
        self.solver, self.keep = model.outer()
        self.adaptive = hasattr(model, "residual")
        self.direct = model.method == "direct"
        self.lock = threading.Lock()  # of the host's part of a solve
        self.done: torch.cuda.Event | None = None  # of the device's part of the last one
        self.scratch = _arena.Buffers()
        self.replica, self.y = Replica(A0), torch.empty_like(y)
        self.x, self.point, self.image = (torch.empty_like(y) for _ in range(3))
        self.status, self.better = (torch.zeros(len(y), dtype=torch.int8, device=y.device) for _ in range(2))
        self.iterations = torch.zeros(len(y), dtype=torch.int32, device=y.device)
        self.best = y.new_empty(len(y))
        self.curve = y.new_empty(self.solver.max_iter, len(y))
        self.memory = _memory(self.solver, y)
        self.network: Any = model.residual if self.adaptive else None
        self.mismatch: Any = None  # a FusedMismatch, of an adaptive model
        self.state: dict[str, Tensor] = {}
        self.starts: tuple[Written, ...] = ()
        if self.adaptive:
            self._make_state(y)
        self.launcher = Launcher(self._prologue, self._iteration, self.status, self.solver)

    def _make_state(self, y: Tensor) -> None:
        self.shared = self.config.theta_scope == "batch"
        self.mismatch = self.plan.mismatch(self.network)
        # The samples of a shared theta all weigh in its gradient, those that have stopped too.
        self.mismatch.status = None if self.shared else self.status
        first = initial(y, self.network.start(1 if self.shared else len(y)))
        self.state = {name: torch.empty_like(value) for name, value in first.items() if name != "count"}
        rows = {name: value for name, value in self.state.items() if len(value) == len(y)}
        self.kept = {name: torch.empty_like(value) for name, value in rows.items()}
        self.kept_count = torch.zeros_like(self.iterations)
        self.starts = tuple(Written.now(value) for value in self.network.start_values.values())

    def fits(self, A0: ForwardModel) -> bool:
        """Whether this loop can solve with another forward model, and theta still starts in the same memory."""
        if self.replica.kind != kind_of(A0):
            return False
        values = () if self.network is None else tuple(self.network.start_values.values())
        return all(a.memory.data_ptr() == b.data_ptr() for a, b in zip(self.starts, values, strict=True))

    @property
    def bytes(self) -> int:
        """Bytes that this loop holds."""
        own = [self.y, self.x, self.point, self.image, self.curve, *self.memory.values(), *self.state.values()]
        own += [*self.replica.tensors, *(self.kept.values() if self.adaptive else ())]
        return sum(t.numel() * t.itemsize for t in own) + self.scratch.bytes() + self.launcher.bytes

    @torch.no_grad()
    def solve(self, model: Model, y: Tensor, A0: ForwardModel) -> Solution:
        """Solve one batch; the host does not wait for the device."""
        with self.lock, _arena.own(self.scratch):
            stream = torch.cuda.current_stream(y.device) if y.device.type == "cuda" else None
            if stream is not None and self.done is not None:
                stream.wait_event(self.done)  # another stream may still be at work in this memory
            self.y.copy_(y)
            self.replica.load(A0)
            self.launcher.run()
            solution = self._solution(model, A0)
            if stream is not None:
                self.done = torch.cuda.Event()
                self.done.record(stream)
        return solution

    def _solution(self, model: Model, A0: ForwardModel) -> Solution:
        aux = {"point": self.point.clone()}
        if self.adaptive:
            aux |= {name: self.kept.get(name, value).clone() for name, value in self.state.items()}
            aux["count"] = self.kept_count.to(torch.int64)
        found = Solution(
            self.image.clone(), self.status.clone(), self.iterations.to(torch.int64), self.curve.clone(), aux=aux
        )
        return model.finish(found, A0)

    def _prologue(self) -> None:
        """x = z = y, theta at its start, no past."""
        for tensor in (self.x, self.point, self.image):
            tensor.copy_(self.y)
        for tensor in (self.status, self.better, self.iterations):
            tensor.zero_()
        self.best.fill_(float("inf"))
        self.curve.fill_(float("nan"))
        for tensor in self.memory.values():
            tensor.zero_()
        if self.adaptive:
            first = initial(self.y, self.network.start(1 if self.shared else len(self.y)))
            for name, tensor in self.state.items():
                tensor.copy_(first[name])
            for name, tensor in self.kept.items():
                tensor.copy_(first[name])
            self.kept_count.zero_()

    def _iteration(self) -> None:
        """One evaluation and what follows it, in place; samples that have stopped are passed over."""
        image = self._adaptive_image() if self.adaptive else self._plain_image()
        self._advance(image)
        if self.adaptive:
            rows = [(self.state[name], kept) for name, kept in self.kept.items()] + [(self.iterations, self.kept_count)]
            tensors = [(a.data_ptr(), b.data_ptr(), a[0].numel() * a.itemsize) for a, b in rows]
            _native.invoke("keep_rows_cuda", tensors, len(self.y), self.better.data_ptr(), _native.where(self.y))

    def _plain_image(self) -> Tensor:
        x, A0 = self.x, self.replica.model
        if not self.direct:
            x = torch.add(x, A0.A_adjoint(A0.A(x) - self.y), alpha=-self.plan.step)
        return self.plan.apply_prox((x,), self.status)

    def _adaptive_image(self) -> Tensor:
        config = self.config
        self.mismatch.forget()  # a graph must hold all that depends on theta or on the forward model
        theta, moments = theta_of(self.state), moments_of(self.state)
        point = self._z_steps(theta)
        alive = self._theta_steps(theta, moments) if config.theta_solver.name == "adamw" and theta else []
        images = (point, self.y) if config.feed_y else (point,)
        image = self.plan.apply_prox(images, self.status)
        if config.offset == "residual":
            image.add_(self.y)
        if self.launcher.side is not None:
            self.launcher.side.join()
        alive.clear()
        return image

    def _theta_steps(self, theta: Theta, moments: tuple[Theta, Theta]) -> list[Any]:
        """The steps of theta in place, beside what is launched next; returns what must live until they are done.

        What autograd has recorded on one stream is differentiated there, so its gradients stay on the main branch.
        """
        inner, side, alive = self.config.theta_solver, self.launcher.side, []
        beside = nullcontext if side is None else side.branch
        recorded = hasattr(self.mismatch, "features")
        with _arena.scope("theta"):
            for step in range(inner.steps):
                if recorded and step and side is not None:
                    side.join()
                with nullcontext() if recorded else beside():
                    found = self.mismatch.gradients(
                        theta, self.state["z"], self.y, self.replica.model, self._scale, self.config.gamma, "theta"
                    ).theta
                alive += [found, getattr(self.mismatch, "features", None)]
                self.mismatch.forget()
                with beside():
                    adamw_on_device(inner, step, found, (theta, *moments), self.iterations, self.mismatch.status)
        return alive

    @property
    def _scale(self) -> float:
        """The derivative of a mean of squares: 2 over the values of a sample, or of the batch for its scope."""
        return 2.0 / (self.y.numel() if self.shared else self.y[0].numel())

    def _z_steps(self, theta: Theta) -> Tensor:
        """The steps of z in place; returns the point of the proximal network."""
        inner, z = self.config.z_solver, self.state["z"]
        point = _arena.take("point", tuple(z.shape), z.dtype, z.device)
        start = 0 if self.config.offset == "none" else self.y.data_ptr()
        for step in range(inner.steps):
            towards = self.mismatch.gradients(
                theta, z, self.y, self.replica.model, self._scale, self.config.gamma, "z"
            ).z.contiguous()
            last = step == inner.steps - 1
            _native.invoke(
                "z_point_cuda", len(z), z[0].numel(), self._scale * self.config.lam, 1 - inner.lr * inner.weight_decay,
                inner.lr, inner.eps, self.plan.step, towards.data_ptr(), 0, self.x.data_ptr(), start,
                self.status.data_ptr(), _native.where(z), z.data_ptr(), point.data_ptr() if last else 0,
            )
        return point

    def _advance(self, image: Tensor) -> None:
        """Residuals, stops, the best so far, the next point."""
        batch, length, solver = len(self.x), self.x[0].numel(), self.solver
        restart = solver.restart
        if restart is None:
            restart = RESTART if solver.name == "anderson" and solver.beta is None else 0.0
        beta = 1.0 if solver.name == "picard" and solver.beta is None else solver.beta
        rule = (
            solver.name, solver.m, beta, solver.ridge, solver.relative, restart, solver.drop, solver.tol,
            solver.max_iter, self.keep,
        )
        memory = [self.memory[name].data_ptr() if name in self.memory else 0
                  for name in ("X", "F", "gram", "mean", "beta", "least")]
        size = _native.invoke("fixed_point_step_cuda_scratch", batch, length)
        scratch = _arena.take("fixed point", (size,), torch.float64, self.x.device)
        image = image.contiguous()
        _native.invoke(
            "fixed_point_step_cuda", (batch, length), rule,
            (*memory, self.best.data_ptr(), self.status.data_ptr(), self.iterations.data_ptr()), image.data_ptr(),
            _native.where(self.x), scratch.data_ptr(), self.x.data_ptr(),
            tuple(t.data_ptr() for t in (self.curve, self.better, self.point, self.image)),
        )


def _memory(config: FixedPointConfig, y: Tensor) -> dict[str, Tensor]:
    """What the fixed-point solver remembers."""
    if config.name != "anderson":
        return {}
    batch, length = len(y), y[0].numel()
    memory = {name: y.new_empty(batch, config.m, length) for name in ("X", "F")}
    memory["gram"] = y.new_empty(batch, config.m, config.m)
    if config.beta is None:
        memory |= {"mean": y.new_empty(batch, length), "beta": y.new_empty(batch)}
    return memory | {"least": y.new_empty(batch)}


__all__ = ["DeviceLoop", "reason_against_loop"]
