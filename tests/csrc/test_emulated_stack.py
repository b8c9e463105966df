"""Whole stacks of convolutions on a CUDA device, forward and backward, run thread by thread on the CPU."""

import re

import pytest
import torch
from cuda_stacks import oracle, random_stack, run
from native_builds import CSRC, emulated_module

SM_80, SM_90 = 0, 1
# Relative in the 2-norm, with three hidden layers: activations in fp16, their gradients too, GELU by polynomials.
TOLERANCE = {"half": 4e-3, "tf32": 2e-3, "single": 1e-5}
DEEP = ((3, 16, 16, 16, 2), (False, True, True), 4)
FLAT = ((1, 32, 3), (True,), 2)
PLAIN = ((2, 16, 16, 1), (False, False), 1)
WIDE = ((2, 64, 64, 1), (False, True), 4)
LONG = ((1, 48, 48, 48, 1), (False, True, True), 3)


@pytest.fixture(autouse=True)
def _orders(monkeypatch):
    monkeypatch.setenv("EMULATED_CUDA_SEED", "0")
    monkeypatch.setenv("EMULATED_CUDA_SMS", "3")


def check(result, want, tolerance):
    assert len(result.tensors()) == len(want.tensors())
    for got, expected in zip(result.tensors(), want.tensors(), strict=True):
        error = (got.double() - expected).norm() / expected.norm()
        assert error <= tolerance, (tuple(got.shape), error)


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("arithmetic", TOLERANCE)
def test_forward_and_backward_match_autograd(emulated, arithmetic, sets):
    stack = random_stack(*DEEP, 2, (13, 18), sets, biased=True)
    check(run(emulated, stack, arithmetic), oracle(stack), TOLERANCE[arithmetic])


@pytest.mark.parametrize(
    ("shape", "arithmetic", "size", "device"),
    [
        (FLAT, "half", (9, 20), SM_80),
        (FLAT, "single", (8, 8), SM_90),
        (PLAIN, "half", (11, 8), SM_90),
        (PLAIN, "single", (8, 17), SM_80),
        (WIDE, "half", (10, 12), SM_90),
        (WIDE, "tf32", (9, 9), SM_80),
        (WIDE, "single", (8, 9), SM_90),
        (LONG, "half", (9, 11), SM_80),
    ],
)
def test_other_shapes_and_devices(emulated, shape, arithmetic, size, device):
    stack = random_stack(*shape, 1, size, 1, biased=shape is PLAIN)
    check(run(emulated, stack, arithmetic, device), oracle(stack), TOLERANCE[arithmetic])


@pytest.mark.parametrize("arithmetic", TOLERANCE)
def test_what_is_kept_does_not_change_the_output(emulated, arithmetic):
    stack = random_stack(*DEEP, 2, (9, 10), 1, biased=False)
    kept = run(emulated, stack, arithmetic, want_weights=False)
    assert torch.equal(run(emulated, stack, arithmetic, saves=False).out, kept.out)
    full = run(emulated, stack, arithmetic)
    assert torch.equal(full.d_in, kept.d_in)
    without = run(emulated, stack, arithmetic, want_d_in=False)
    for mine, want in zip(without.tensors()[1:], full.tensors()[2:], strict=True):
        assert torch.equal(mine, want)


@pytest.mark.parametrize("arithmetic", ["half", "single"])
@pytest.mark.parametrize("sets", [1, 3])
def test_a_sample_does_not_depend_on_its_batch(emulated, monkeypatch, arithmetic, sets):
    stack = random_stack(*DEEP, 3, (9, 11), sets, biased=True)
    together = run(emulated, stack, arithmetic)
    monkeypatch.setenv("EMULATED_CUDA_SEED", "4")
    monkeypatch.setenv("EMULATED_CUDA_SMS", "40")
    alone = run(emulated, stack.sample(1), arithmetic, SM_80)
    for mine, all_of_them in zip(alone.tensors(), together.tensors(), strict=True):
        assert torch.equal(mine[0], all_of_them[1])


def test_a_sample_that_has_stopped_is_left_alone(emulated):
    stack = random_stack(*DEEP, 3, (8, 9), 3, biased=True)
    going = run(emulated, stack, "half")
    stack.images[1], stack.d_out[1] = torch.nan, torch.nan
    stopped = run(emulated, stack, "half", status=torch.tensor([0, 3, 0], dtype=torch.int8))
    for mine, want in zip(stopped.tensors(), going.tensors(), strict=True):
        assert mine[1].isnan().all() and torch.equal(mine[::2], want[::2])


def test_a_loss_scale_keeps_small_gradients(emulated):
    stack = random_stack(*DEEP, 1, (9, 10), 1, biased=True)
    scaled = run(emulated, stack, "half")
    stack.d_out *= 2.0**-24
    small = run(emulated, stack, "half", loss_scale=2.0**24)
    for mine, want in zip(small.tensors()[1:], scaled.tensors()[1:], strict=True):
        assert torch.equal(mine * 2.0**24, want)
    lost = run(emulated, stack, "half").d_in * 2.0**24
    assert (lost - scaled.d_in).norm() > 0.1 * scaled.d_in.norm()


FINISH = CSRC / "cuda" / "finish_norm.cu"
BARRIERS = list(re.finditer(r"__syncthreads\(\);", FINISH.read_text()))


@pytest.mark.parametrize("barrier", BARRIERS, ids=lambda found: f"at-{found.start()}")
@pytest.mark.first_of_many
def test_a_missing_barrier_of_group_norm_is_caught(monkeypatch, barrier):
    source = FINISH.read_text()
    module = emulated_module({FINISH.name: source[: barrier.start()] + source[barrier.end() :]})
    stack = random_stack(*DEEP, 1, (9, 10), 1, biased=False)
    want = oracle(stack)

    def is_right(seed):
        monkeypatch.setenv("EMULATED_CUDA_SEED", str(seed))
        try:
            check(run(module, stack, "single"), want, TOLERANCE["single"])
        except AssertionError:
            return False
        return True

    assert len(BARRIERS) == 2
    assert not all(is_right(seed) for seed in range(3))


@pytest.mark.parametrize(
    ("channels", "normed", "groups", "arithmetic", "words"),
    [
        ((1, 24, 1), (True,), 4, "half", "16, 32, 48 or 64"),
        ((1, 16, 32, 1), (True, True), 4, "half", "the same number"),
        ((9, 16, 1), (True,), 4, "half", "1 to 8 planes"),
        ((1, 16, 1), (True,), 5, "half", "groups do not divide"),
        ((1, 16, 1), (), 4, "half", "two convolutions"),
        ((1, 16, 1), (True,), 4, "double", "half, tf32 or single"),
    ],
)
def test_what_it_cannot_take_is_refused(emulated, channels, normed, groups, arithmetic, words):
    with pytest.raises(ValueError, match=words):
        emulated.CudaStack(list(channels), list(normed), groups, arithmetic)
