"""Run by a fresh interpreter under TRITON_INTERPRET=1: the Triton stack and seeds against autograd in float64."""

from __future__ import annotations

import sys
import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from aafast.kernels import conv_weight
from aafast.kernels.conv_stack import Gradients, TritonStack, refusal
from aafast.kernels.loss_seeds import additive_seeds, haze_seeds

# Largest difference over the largest wanted value, tensor by tensor.
TOLERANCE = {"single": 3e-6, "tf32": 3e-6, "half": 4e-3}  # the interpreter multiplies tf32 as float32
GUARD = 256  # bytes before and after every buffer that must stay as they are
RUN = 40  # pixels of a part of a weight's gradient: small images have several, too


class Case(NamedTuple):
    """One stack, its image and batch."""

    channels: list[int]
    normed: list[bool]
    arithmetic: str
    size: tuple[int, int] = (9, 15)
    batch: int = 2
    shared: bool = False  # one set of weights for all samples
    bias: bool = False
    images: tuple[int, ...] = ()  # channels of each image; the last is shared by the batch where there are several
    groups: int = 4
    loss_scale: float = 1.0


CASES = [
    Case([2, 16, 16, 1], [False, True], "single", images=(1, 1)),
    Case([1, 16, 16, 3], [True, True], "single", (8, 8), 1, shared=True, bias=True, groups=8),
    Case([3, 24, 2], [True], "single", (17, 8), bias=True, groups=3),
    Case([1, 16, 8, 1], [True, False], "tf32", (8, 9), shared=True, groups=1, bias=True),
    Case([2, 16, 16, 1], [False, True], "half", (11, 13), loss_scale=2.0**20, images=(1, 1)),
    Case([1, 16, 16, 3], [True, True], "half", (10, 9), shared=True, bias=True, loss_scale=2.0**20),
    Case([8, 16, 8], [True], "half", (8, 8), 1, loss_scale=2.0**20),
    Case([1, 48, 64, 1], [True, True], "half", (8, 10), 1, loss_scale=2.0**20),
]


class Weights(NamedTuple):
    """Weights of a stack in float64, each [S, ...]; None where a layer has none."""

    weight: list[Tensor]
    bias: list[Tensor | None]
    norm_weight: list[Tensor | None]
    norm_bias: list[Tensor | None]

    def leaves(self) -> list[Tensor]:
        return [tensor for part in self for tensor in part if tensor is not None]


class Buffer:
    """Bytes that start as NaN of every float type, with guards around them."""

    def __init__(self, *size: int) -> None:
        count = torch.Size(size).numel()
        self.whole = torch.full((count + 2 * GUARD,), 255, dtype=torch.uint8)
        self.bytes = self.whole[GUARD : GUARD + count].view(size)

    def check(self) -> None:
        assert (self.whole[:GUARD] == 255).all() and (self.whole[-GUARD:] == 255).all(), "written past a buffer's end"


def random_weights(case: Case, generator: torch.Generator) -> Weights:
    def normal(*size: int) -> Tensor:
        return torch.randn(1 if case.shared else case.batch, *size, generator=generator, dtype=torch.float64)

    pairs = list(zip(case.channels, case.channels[1:], strict=False))
    hidden = list(zip(case.channels[1:-1], case.normed, strict=True))
    return Weights(
        [normal(outputs, inputs, 3, 3) / (3 * inputs**0.5) for inputs, outputs in pairs],
        [0.3 * normal(outputs) if case.bias else None for _, outputs in pairs],
        [1 + 0.3 * normal(channels) if norm else None for channels, norm in hidden],
        [0.3 * normal(channels) if norm else None for channels, norm in hidden],
    )


def stack(images: list[Tensor], weights: Weights, groups: int, batch: int) -> Tensor:
    """The oracle: plain torch, sample by sample."""

    def row(rows: Tensor | None, b: int) -> Tensor | None:
        return None if rows is None else rows[b if len(rows) > 1 else 0]

    outputs = []
    for b in range(batch):
        x = torch.cat([row(image, b) for image in images])[None]
        for layer, weight in enumerate(weights.weight):
            x = functional.conv2d(x, row(weight, b), row(weights.bias[layer], b), padding=1)
            if layer == len(weights.weight) - 1:
                break
            if weights.norm_weight[layer] is not None:
                norm = row(weights.norm_weight[layer], b), row(weights.norm_bias[layer], b)
                x = functional.group_norm(x, groups, *norm, eps=1e-5)
            x = functional.gelu(x)
        outputs.append(x)
    return torch.cat(outputs)


class Problem:
    """One case with its inputs in float32 and what it must give."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.case, (height, width) = case, case.size
        counts = case.images or (case.channels[0],)
        shared = [len(counts) > 1 and i == len(counts) - 1 for i in range(len(counts))]
        self.images = [
            torch.randn(1 if alone else case.batch, count, height, width, generator=generator)
            for count, alone in zip(counts, shared, strict=True)
        ]
        exact = random_weights(case, generator)
        self.weights = Weights(*([None if t is None else t.float() for t in part] for part in exact))
        # Of a mean's size: float16 holds it only with the loss scale.
        self.d_out = torch.randn(case.batch, case.channels[-1], height, width, generator=generator) / 2.0**20
        self.stack = TritonStack(case.channels, case.normed, case.groups, case.arithmetic)

    def wanted(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The output, the gradient in the inputs, the gradients in the weights of each sample, in float64."""
        batch = self.case.batch
        weights = Weights(
            *(
                [None if t is None else t.double().expand(batch, *t.shape[1:]).clone().requires_grad_() for t in part]
                for part in self.weights
            )
        )
        images = [i.double().expand(batch, *i.shape[1:]).clone().requires_grad_() for i in self.images]
        out = stack(images, weights, self.case.groups, batch)
        found = torch.autograd.grad(out, [*images, *weights.leaves()], self.d_out.double())
        return out.detach(), torch.cat(found[: len(images)], 1), list(found[len(images) :])

    def run(
        self, samples: list[int] | None = None, status: Tensor | None = None, saves: bool = True
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The same by the kernels, for some of the samples."""
        pick = list(range(self.case.batch)) if samples is None else samples

        def rows(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or len(tensor) == 1 else tensor[pick].contiguous()

        case, batch, (height, width) = self.case, len(pick), self.case.size
        images = [rows(image) for image in self.images]
        weights = Weights(*([rows(tensor) for tensor in part] for part in self.weights))
        packed = Buffer(len(weights.weight[0]), self.stack.packed_bytes(True))
        self.stack.pack(weights.weight, True, packed.bytes)
        given = images, packed.bytes, *weights[1:]

        saved = Buffer(batch, self.stack.saved_bytes(height, width))
        scratch = [Buffer(self.stack.workspace_bytes(height, width, batch, back)) for back in (False, True)]
        out = torch.full((batch, case.channels[-1], height, width), torch.nan)
        self.stack.forward(*given, out, saved.bytes if saves else None, scratch[0].bytes, status)
        d_in = torch.full((batch, case.channels[0], height, width), torch.nan)
        found = Gradients(
            *([None if t is None else torch.full((batch, *t.shape[1:]), torch.nan) for t in part] for part in weights)
        )
        if saves:
            d_out = self.d_out[pick].contiguous()
            self.stack.backward(
                *given, d_out, saved.bytes, scratch[1].bytes, case.loss_scale, status, d_in, found
            )
        for buffer in (packed, saved, *scratch):
            buffer.check()
        return out, d_in, [tensor for part in found for tensor in part if tensor is not None]


def check(name: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    assert got.shape == want.shape, name
    error = float((got.double() - want).abs().max() / want.abs().max())
    assert error <= tolerance, f"{name}: error {error:.2e} above {tolerance:.0e}"


def check_case(case: Case) -> None:
    problem = Problem(case)
    tolerance = TOLERANCE[case.arithmetic]
    (out, d_in, found), (true_out, true_in, true) = problem.run(), problem.wanted()
    check("out", out, true_out, tolerance)
    check("d_in", d_in, true_in, tolerance)
    for index, (mine, want) in enumerate(zip(found, true, strict=True)):
        check(f"gradient {index}", mine, want, tolerance)
    assert torch.equal(problem.run(saves=False)[0], out), "what is kept changes the output"
    alone = problem.run([case.batch - 1])
    assert torch.equal(alone[0][0], out[-1]) and torch.equal(alone[1][0], d_in[-1]), "a sample depends on its batch"
    assert all(torch.equal(one[0], all_[-1]) for one, all_ in zip(alone[2], found, strict=True))


def check_status() -> None:
    for case in (CASES[0], CASES[4]):
        problem = Problem(case._replace(size=(8, 8), batch=3))
        every = problem.run()
        some = problem.run(status=torch.tensor([0, 1, 0], dtype=torch.int8))
        for mine, all_ in zip([*some[:2], *some[2]], [*every[:2], *every[2]], strict=True):
            assert mine[1].isnan().all(), "a stopped sample was written"
            assert torch.equal(mine[::2], all_[::2]), "a running sample was changed"


def check_parts() -> None:
    """Gradients are given where they are asked for, alone or together, with the same bits."""
    problem = Problem(CASES[5])
    case, weights, stack = problem.case, problem.weights, problem.stack
    _, d_in, _ = problem.run()
    size = *case.size, case.batch
    packed = stack.pack(weights.weight, True)
    saved = Buffer(case.batch, stack.saved_bytes(*case.size)).bytes
    scratch = [Buffer(stack.workspace_bytes(*size, back)).bytes for back in (False, True)]
    given = problem.images, packed, *weights[1:]
    stack.forward(*given, torch.empty_like(problem.d_out), saved, scratch[0])
    alone = torch.full_like(d_in, torch.nan)
    stack.backward(*given, problem.d_out, saved, scratch[1], case.loss_scale, None, alone)
    assert torch.equal(alone, d_in), "the gradient in the inputs depends on what else is asked for"


def check_refusals() -> None:
    assert refusal([1, 16, 1], [True], 4) is None and refusal([8, 48, 24, 8], [True, False], 3) is None
    for channels, normed, groups in (
        ([1, 1], [], 1), ([1, 16, 1], [], 1), ([9, 16, 1], [False], 1), ([1, 65, 1], [False], 1),
        ([1, 16, 0], [False], 1), ([1, 16, 1], [True], 5), ([1, 16, 1], [True], 0),
    ):
        assert refusal(channels, normed, groups), (channels, normed, groups)
    for channels, arithmetic in (([1, 16, 1], "double"), ([1, 80, 1], "half")):
        try:
            TritonStack(channels, [True], 4, arithmetic)
        except ValueError as error:
            assert "got" in str(error)
        else:
            raise AssertionError("not refused")


def check_seeds() -> None:
    generator = torch.Generator().manual_seed(1)
    scale, gamma = 0.3, 0.7
    for channels, f_channels, with_linear in ((3, 1, False), (2, 2, True)):
        size = (2, channels, 21, 61)
        nominal, y = (torch.randn(size, generator=generator) for _ in range(2))
        f, linear = (torch.randn(2, f_channels, 21, 61, generator=generator) for _ in range(2))
        leaves = [nominal.double().requires_grad_(), f.double().requires_grad_()]
        correction = leaves[1] + linear.double() if with_linear else leaves[1]
        error = leaves[0] + correction - y
        # The pull is on y_hat - nominal, so nominal's own share of it is none.
        loss = scale / 2 * ((error**2).sum() + gamma * (correction.expand(size) ** 2).sum())
        true = torch.autograd.grad(loss, leaves)
        d_nominal, d_f = torch.full(size, torch.nan), torch.full_like(f, torch.nan)
        status = torch.tensor([0, 3], dtype=torch.int8)
        given = scale, gamma, nominal, f, y, d_nominal, d_f, linear if with_linear else None
        additive_seeds(*given, status)
        assert d_nominal[1].isnan().all() and d_f[1].isnan().all()
        additive_seeds(*given)
        check("additive d_nominal", d_nominal, true[0], 1e-6)
        check("additive d_f", d_f, true[1], 1e-6)
    size = (2, 3, 20, 19)
    nominal, light, logit, y = (torch.randn(size, generator=generator) for _ in range(4))
    logit[0, 0, 0, :4] = torch.tensor([-200.0, 200.0, -30.0, 30.0])
    leaves = [tensor.double().requires_grad_() for tensor in (nominal, light, logit)]
    t, rest = torch.sigmoid(leaves[2]), torch.sigmoid(-leaves[2])
    y_hat = leaves[0] * t + leaves[1] * rest
    loss = scale / 2 * (((y_hat - y) ** 2).sum() + gamma * ((y_hat - leaves[0]) ** 2).sum())
    true = torch.autograd.grad(loss, leaves)
    found = [torch.full(size, torch.nan) for _ in range(3)]
    haze_seeds(scale, gamma, nominal, light, logit, y, *found, status=torch.tensor([0, 1], dtype=torch.int8))
    assert all(tensor[1].isnan().all() for tensor in found)
    haze_seeds(scale, gamma, nominal, light, logit, y, *found)
    for name, mine, want in zip(("d_nominal", "d_light", "d_logit"), found, true, strict=True):
        check(f"haze {name}", mine, want, 1e-6)


def main() -> None:
    # The interpreter computes lanes that a mask hides; numpy then warns of what is never stored.
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    conv_weight.RUN = RUN
    for case in CASES:
        check_case(case)
        print(case, "ok", flush=True)
    for other in (check_status, check_parts, check_refusals, check_seeds):
        other()
        print(other.__name__, "ok", flush=True)
    print("all ok")


if __name__ == "__main__":
    sys.exit(main())
