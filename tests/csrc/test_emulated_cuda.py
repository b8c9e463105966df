"""The logic of the CUDA kernels without a GPU: their sources run thread by thread on the CPU."""

import re

import pytest
import torch
from native_builds import CSRC, emulated_module
from op_cases import MIXES, TOLERANCE, Z_SHAPES, Mix, check_mix, check_z, mix_inputs, z_inputs

from aafast.errors import BackendError
from aafast.ops import anderson_mix, z_step

DTYPES = (torch.float32, torch.float64)
WITHOUT_CLUSTERS, WITH_CLUSTERS = DEVICES = (0, 1)
KERNEL, SOLVE = CSRC / "cuda" / "anderson_mix.cu", CSRC / "cuda" / "mixing.cuh"


@pytest.fixture(autouse=True)
def _poisoned():
    torch.use_deterministic_algorithms(True)
    assert torch.ones(1).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def on_cuda(op):
    return lambda *args: op(*args, backend="cuda")


@pytest.mark.parametrize("shape", Z_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_z_step_matches_the_oracle(emulated, use_device, dtype, shape):
    use_device(emulated, WITH_CLUSTERS)
    check_z(on_cuda(z_step), *z_inputs(shape, dtype), TOLERANCE["z_step", dtype])


@pytest.mark.parametrize("case", MIXES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_anderson_mix_matches_the_oracle(emulated, use_device, device, dtype, case):
    for seed in range(3):
        use_device(emulated, device, seed)
        check_mix(
            on_cuda(anderson_mix), case, mix_inputs(case, dtype), TOLERANCE["anderson_mix on a gpu", dtype]
        )


@pytest.mark.parametrize("device", DEVICES)
def test_a_sample_does_not_depend_on_its_batch_or_on_the_order_of_warps(emulated, use_device, device):
    case = Mix(3, 5, 5000, 1, 5, 1e-3, 0.7, True)
    inputs = mix_inputs(case, torch.float32)
    use_device(emulated, device)
    alone = [on_cuda(anderson_mix)(*(t[i : i + 1] for t in inputs), *case.numbers) for i in range(3)]
    use_device(emulated, device, seed=7)
    for k, together in enumerate(on_cuda(anderson_mix)(*inputs, *case.numbers)):
        assert torch.equal(together, torch.cat([outputs[k] for outputs in alone]))


def test_a_singular_system_picks_the_newest_row(emulated, use_device):
    use_device(emulated, WITH_CLUSTERS)
    X = torch.randn(2, 3, 10)
    x, _, alpha, _ = on_cuda(anderson_mix)(X, X, torch.zeros(2, 3, 3), 1, 3, 0.0, 1.0, False)
    assert torch.equal(alpha, torch.tensor([[0.0, 1.0, 0.0]]).expand(2, 3)) and torch.equal(x, X[:, 1])


def test_a_ruined_sample_does_not_touch_its_neighbours(emulated, use_device):
    use_device(emulated, WITH_CLUSTERS)
    case = Mix(3, 4, 5000, 1, 4, 1e-3, 1.0, True)
    inputs = mix_inputs(case, torch.float32)
    clean = on_cuda(anderson_mix)(*inputs, *case.numbers)
    inputs[1][1, 1, 5] = torch.nan
    ruined = on_cuda(anderson_mix)(*inputs, *case.numbers)
    assert ruined[0][1].isnan().all() and ruined[2][1].isnan().all()
    for mine, want in zip(ruined, clean, strict=True):
        assert torch.equal(mine[::2], want[::2])


@pytest.mark.parametrize("device", DEVICES)
def test_writes_stay_inside_their_tensors(emulated, device):
    batch, m, length, fence = 2, 5, 5000, 64
    case = Mix(batch, m, length, 2, 4, 1e-3, 1.0, True)
    X, F, gram = mix_inputs(case, torch.float32)
    sizes = (batch * length, batch * m * m, batch * m, batch * 2)
    outputs = [torch.full((size + 2 * fence,), 7.0) for size in sizes]
    scratch = torch.full((emulated.anderson_mix_cuda_scratch(batch, m, length) + 2 * fence,), 7.0).double()
    inside = [tensor[fence:-fence].data_ptr() for tensor in (scratch, *outputs)]
    addresses = [tensor.data_ptr() for tensor in (X, F, gram)]
    emulated.anderson_mix_cuda_float32(*addresses, batch, m, length, *case.numbers, device, 0, *inside)
    for tensor in (scratch, *outputs):
        assert (tensor[:fence] == 7).all() and (tensor[-fence:] == 7).all()
        assert device == WITHOUT_CLUSTERS or not (tensor[fence:-fence] == 7).all()


# A tool that finds races must find planted ones: each barrier of the kernel, removed, has to show.
PATTERNS = {KERNEL: r"__syncthreads\(\);|cluster_barrier\(\);", SOLVE: r"__syncwarp\(\);(?=\s+return true)"}
BARRIERS = [(path, found) for path, words in PATTERNS.items() for found in re.finditer(words, path.read_text())]


@pytest.mark.parametrize("place", BARRIERS, ids=lambda place: f"{place[1].group()[:-3]}-at-{place[1].start()}")
@pytest.mark.first_of_many
def test_a_missing_barrier_is_caught(use_device, place):
    path, barrier = place
    source = path.read_text()
    module = emulated_module({path.name: source[: barrier.start()] + source[barrier.end() :]})
    case = Mix(2, 5, 5000, 2, 5, 1e-3, 1.0, True)
    inputs = mix_inputs(case, torch.float32)

    def is_right(seed):
        use_device(module, WITH_CLUSTERS, seed)
        try:
            check_mix(on_cuda(anderson_mix), case, inputs, TOLERANCE["anderson_mix on a gpu", torch.float32])
        except AssertionError:
            return False
        return True

    assert len(BARRIERS) == 5
    assert not all(is_right(seed) for seed in range(4))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("if (lane == 3) __syncwarp();", "lanes of one warp wait in different places"),
        ("if (warp == 1) cluster_barrier();", "threads wait for others that never come"),
    ],
)
def test_threads_that_wait_for_ever_are_reported(use_device, broken, words):
    source = KERNEL.read_text().replace("__syncthreads();", broken + " __syncthreads();", 1)
    use_device(emulated_module({KERNEL.name: source}), WITH_CLUSTERS)
    case = Mix(1, 2, 40, 1, 2, 1e-3, 1.0, True)
    with pytest.raises(BackendError, match=words):
        on_cuda(anderson_mix)(*mix_inputs(case, torch.float32), *case.numbers)
