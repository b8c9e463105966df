"""What torch.compile needs to be told of this package; nothing here imports the compiler, which takes a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """Let the tracer call `function` and keep its result: what torch.compiler.assume_constant_result marks.

    Its arguments are constants of the trace too. That decorator itself imports the compiler where it is used.
    """
    setattr(function, "_dynamo_marked_constant", True)  # noqa: B010 - functions have no such attribute
    return function


def leaf(value: Tensor) -> Tensor:
    """A view of `value` that records gradients from here on."""
    return value.detach().requires_grad_()


def gradients(loss: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of `loss` in each of the leaves, zero where it does not depend on one."""
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


@constant
def admit() -> bool:
    """Let `leaf` and `gradients` be traced; called where a trace reaches them, before it does.

    Dynamo does not follow autograd, so they enter its graph as calls. What traces that graph next goes through them,
    down to plain operations of both directions.
    """
    for function in (leaf, gradients):
        torch.compiler.allow_in_graph(function)
    return True
