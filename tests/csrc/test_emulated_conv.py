"""The wide convolution on tensor cores, run thread by thread on the CPU, and the tensor cores' own emulation."""

import re
import shutil

import pytest
import torch
from torch.nn import functional as F
from wide_kernels import (
    ARITHMETICS,
    GELU,
    GRADIENT,
    HEADER,
    PLAIN,
    address,
    call,
    gelu_gradient,
    library,
    oracle,
    places,
    random_case,
    round_tf32,
    run,
)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
DEVICES = SM_80, SM_90 = (0, 1)
# Relative to the largest value. fp16 rounds operands and results to 11 bits; the approximation of GELU adds 4e-4.
TOLERANCE = {"half": 2e-3, "tf32": 1e-3, "single": 3e-6}


ONE_HALO = 40_000  # bytes that hold the weights of 16 channels in fp16 and one halo a group, not two


@pytest.fixture(autouse=True)
def _orders(monkeypatch):
    monkeypatch.setenv("EMULATED_CUDA_SEED", "0")
    monkeypatch.setenv("EMULATED_CUDA_SMS", "3")


def check(case, device=SM_90, functions=None):
    y, sums = run(case, device, functions)
    want_y, want_sums = oracle(case)
    tolerance = TOLERANCE[case.arithmetic]
    for got, want in ((y, want_y), (sums.double().sum(1), want_sums)):
        error = (got.double() - want).abs().max()
        assert error <= tolerance * want.abs().max(), (error, want.abs().max())


@pytest.mark.parametrize("read", [GELU, GRADIENT, PLAIN])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("size", [(8, 8), (13, 21), (20, 9)], ids=str)
def test_matches_the_oracle(arithmetic, read, size):
    check(random_case(arithmetic, 2, *size, 16, read, sets=2), SM_90)


@pytest.mark.parametrize(
    ("arithmetic", "channels", "read", "device"),
    [
        *((arithmetic, channels, GELU, SM_80) for arithmetic in ARITHMETICS for channels in (32, 48)),
        ("half", 64, GELU, SM_90),
        ("half", 64, GRADIENT, SM_80),
        ("tf32", 64, GRADIENT, SM_90),
        ("tf32", 64, GELU, SM_80),
        ("single", 64, GELU, SM_90),
        ("single", 64, PLAIN, SM_80),
    ],
)
def test_every_number_of_channels(arithmetic, channels, read, device):
    check(random_case(arithmetic, 1, 17, 18, channels, read, sets=1), device)


@pytest.mark.parametrize("arithmetic", ["half", "tf32"])
def test_tiles_in_turn_and_blocks_of_one_sample(arithmetic, monkeypatch):
    """More tiles than groups, on one multiprocessor and on many: the same bits."""
    case = random_case(arithmetic, 1, 40, 50, 16 if arithmetic == "half" else 48, GRADIENT, sets=1)
    found = []
    for processors in ("1", "100"):
        monkeypatch.setenv("EMULATED_CUDA_SMS", processors)
        found.append(run(case))
        monkeypatch.setenv("EMULATED_CUDA_SEED", "5")
    check(case)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_a_device_with_little_shared_memory(monkeypatch):
    case = random_case("half", 1, 40, 50, 16, GRADIENT, sets=1)
    want = run(case)
    monkeypatch.setenv("EMULATED_CUDA_SHARED", str(ONE_HALO))
    plan = torch.zeros(3, dtype=torch.int32)
    call(library(), "wide_plan_of", 0, 16, ONE_HALO, address(plan))
    assert plan[1] == 1
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(run(case), want, strict=True))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_sample_does_not_depend_on_its_batch_nor_on_the_device(arithmetic):
    case = random_case(arithmetic, 3, 12, 19, 16, GELU, sets=3)
    together = run(case, SM_90)
    for b in range(3):
        for mine, all_of_them in zip(run(case.sample(b), SM_80), together, strict=True):
            assert torch.equal(mine[0], all_of_them[b])


def test_a_sample_that_has_stopped_is_left_alone():
    case = random_case("half", 3, 9, 10, 16, GELU, sets=1)
    going = run(case)
    case.status = torch.tensor([0, 1, 0], dtype=torch.int8)
    case.x[1] = torch.nan
    for stopped, want in zip(run(case), going, strict=True):
        assert stopped[1].isnan().all() and torch.equal(stopped[::2], want[::2])


def test_pairs_that_no_stack_has_are_refused():
    case = random_case("half", 1, 8, 8, 16, GELU, sets=1)
    case.write = 0
    with pytest.raises(RuntimeError, match="no stack pairs"):
        run(case)
    with pytest.raises(RuntimeError, match="too little shared memory"):
        call(library(), "wide_plan_of", 0, 64, 64 * 1024, address(torch.empty(3, dtype=torch.int32)))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("channels", [16, 32, 48, 64])
def test_packed_weights_have_a_place_each(arithmetic, channels):
    found = places(arithmetic, channels).flatten()
    assert torch.equal(found.sort().values, torch.arange(9 * channels * channels))


@pytest.mark.parametrize(("limit", "groups"), [(227 * 1024, 3), (163 * 1024, 2)])
def test_shared_memory_fits_its_devices(limit, groups):
    plan = torch.zeros(3, dtype=torch.int32)
    for arithmetic in range(3):
        for channels in (16, 32, 48, 64):
            call(library(), "wide_plan_of", arithmetic, channels, limit, address(plan))
            assert 0 < plan[2] <= limit and plan[0] >= groups
            if (arithmetic, channels) == (0, 64):
                assert plan[:2].tolist() == [groups, 2]


# Every barrier of the kernel and every wait for a copy, removed, has to show.
GUARDS = list(re.finditer(r"__syncthreads\(\);|named_barrier\(.*\);|wait_copies<\d>\(\);", HEADER.read_text()))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda found: f"{found.group()[:-1]}-at-{found.start()}")
@pytest.mark.first_of_many
def test_a_missing_barrier_is_caught(guard, monkeypatch):
    source = HEADER.read_text()
    broken = library(source[: guard.start()] + ";" + source[guard.end() :])
    monkeypatch.setenv("EMULATED_CUDA_SMS", "1")
    cases = [
        (random_case("half", 1, 40, 40, 16, GELU, sets=1), 163 * 1024),  # two halos a group
        (random_case("tf32", 1, 20, 50, 48, GELU, sets=1), 163 * 1024),  # one, and weights in parts
        (random_case("half", 1, 40, 40, 16, GELU, sets=1), ONE_HALO),
    ]

    def is_right(case, shared, seed):
        monkeypatch.setenv("EMULATED_CUDA_SEED", str(seed))
        monkeypatch.setenv("EMULATED_CUDA_SHARED", str(shared))
        try:
            check(case, SM_80, broken)
        except AssertionError:
            return False
        return True

    assert len(GUARDS) == 8
    assert not all(is_right(*case, seed) for case in cases for seed in range(3))


def test_gelu_is_as_precise_as_it_says():
    x = torch.cat([torch.linspace(-9, 9, 90001), torch.tensor([-6e4, 6e4, 0.0])])
    found = [torch.empty_like(x) for _ in range(4)]
    library().gelu_values(len(x), *map(address, (x, *found)))
    wide = x.double()
    wants = [F.gelu(wide), gelu_gradient(wide)]
    for got, want, limit in zip(found, [*wants, *wants], (1.9e-4, 2.7e-4, 6e-7, 6e-7), strict=True):
        error = ((got.double() - want).abs() / want.abs().clamp(min=1)).max()
        assert error <= limit, error
    poison = torch.full_like(x, torch.nan)
    library().gelu_values(len(x), *map(address, (poison, *found)))
    assert found[0].isnan().all() and found[2].isnan().all() and found[3].isnan().all()


def test_tensor_cores_multiply_matrices():
    generator = torch.Generator().manual_seed(1)
    for half, depth in ((1, 16), (0, 8)):
        a, b = (torch.randn(rows, depth, generator=generator) for rows in (16, 8))
        a, b = (a.half(), b.half()) if half else (a, b)
        d, zeros = torch.full((16, 8), torch.nan), torch.full((32, 4), torch.nan)
        call(library(), "tensor_product", half, *map(address, (a, b, d, zeros)))
        cut = (a, b) if half else ((t.view(torch.int32) & ~0x1FFF).view(torch.float32) for t in (a, b))
        a, b = (t.double() for t in cut)
        assert torch.allclose(d.double(), a @ b.T, rtol=1e-6, atol=1e-6)
        assert (zeros == 0).all()


def test_tensor_cores_transpose_matrices():
    matrix = torch.arange(256).view(16, 16).to(torch.int16)
    words = torch.empty(4, 32, dtype=torch.int32)
    call(library(), "tensor_transposition", address(matrix), address(words))
    pairs = words.view(torch.int16).view(4, 8, 4, 2)  # [matrix, column, lane of four, row of two]
    for index, (rows, columns) in enumerate(((0, 0), (8, 0), (0, 8), (8, 8))):
        block = matrix[rows : rows + 8, columns : columns + 8]
        assert torch.equal(pairs[index].reshape(8, 8), block.T)


def test_copies_land_when_they_are_waited_for():
    source, seen = torch.arange(8.0), torch.zeros(3, 4)
    call(library(), "copy_landing", address(source), address(seen), 64, 32)
    assert torch.equal(seen[0], source[:4]) and torch.equal(seen[2], source[4:])
    assert seen[1].isnan().all()


@pytest.mark.parametrize(
    ("barrier", "size", "words"),
    [
        (96, 32, "threads wait for others that never come"),
        (0, 16, "writes past its dynamic shared memory"),
        (0, 49 * 1024, "more dynamic shared memory"),
    ],
)
def test_misuse_is_reported(barrier, size, words):
    source, seen = torch.arange(8.0), torch.zeros(3, 4)
    with pytest.raises(RuntimeError, match=words):
        call(library(), "copy_landing", address(source), address(seen), barrier, size)


def test_rounding_to_tf32_keeps_eleven_bits():
    values = torch.tensor([1.0, 1 + 2**-11, 1 + 2**-12, -1 - 3 * 2**-11])
    assert torch.equal(round_tf32(values), torch.tensor([1.0, 1 + 2**-10, 1.0, -1 - 2**-9]))
