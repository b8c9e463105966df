"""Finished samples leave and waiting ones enter, and nobody's answer changes by a bit."""

import pytest
import torch

from aafast.config import FIXED_POINT, FixedPointConfig
from aafast.engine.batching import stream
from aafast.errors import InputError
from aafast.solvers import Status, iterate, progress

SIZE = 50
BROKEN = 5  # this sample stops being finite


class Waves:
    """f(x) = s d sin(x + z) + c per sample, z drifting: fast, slow, never converging and broken samples."""

    def __init__(self, count=11, seed=0):
        g = torch.Generator().manual_seed(seed)
        self.d, self.c = (torch.randn(count, SIZE, generator=g) for _ in range(2))
        self.s = torch.linspace(0.05, 5.0, count)[torch.randperm(count, generator=g)][:, None]
        self.calls = []

    def __len__(self):
        return len(self.c)

    def start(self, index):
        x = torch.zeros(len(index), SIZE)
        return x, {"z": torch.zeros_like(x), "count": torch.zeros(len(index), dtype=torch.int64)}

    def step(self, index, x, aux):
        self.calls.append(index.tolist())
        z = aux["z"] + 1e-6 * x.sign()
        image = self.s[index] * self.d[index].tanh() * (x + z).sin() + self.c[index]
        broken = (index == BROKEN)[:, None] & (aux["count"] > 4)[:, None]
        return torch.where(broken, float("inf"), image), {"z": z, "count": aux["count"] + 1}


def alone(work, sample, config, keep):
    index = torch.tensor([sample])
    x0, aux0 = work.start(index)
    return iterate(lambda x, aux: work.step(index, x, aux), x0, aux0, config, keep)


def assert_same(found, expected, row):
    count = int(expected.iterations)
    assert int(found.iterations[row]) == count and int(found.status[row]) == int(expected.status)
    assert torch.equal(found.x[row], expected.x[0])
    curve = found.residuals[:, row]
    torch.testing.assert_close(curve[:count], expected.residuals[:, 0], rtol=0, atol=0, equal_nan=True)
    assert torch.isnan(curve[count:]).all()
    assert found.aux.keys() == expected.aux.keys()
    for name, value in expected.aux.items():
        assert torch.equal(found.aux[name][row], value[0]), name


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("capacity", [1, 3, 7, 11, 50])
@pytest.mark.parametrize("name", FIXED_POINT)
def test_every_sample_gets_the_answer_it_has_alone(name, capacity, keep):
    work = Waves()
    config = FixedPointConfig(name, tol=1e-4, max_iter=14, restart=3.0, drop=30.0)
    found = stream(work, config, capacity, keep)
    streamed = [len(call) for call in work.calls]
    assert max(streamed) == min(capacity, len(work))
    assert set(found.status.tolist()) == {Status.CONVERGED, Status.MAX_ITER, Status.DIVERGED}
    assert len(set(found.iterations.tolist())) > 3
    assert sum(streamed) == int(found.iterations.sum())  # nobody is evaluated after its stop
    for sample in range(len(work)):
        assert_same(found, alone(work, sample, config, keep), sample)


def test_places_are_taken_at_once_in_ascending_slots():
    work = Waves()
    found = stream(work, FixedPointConfig(tol=1e-4, max_iter=25), 4)
    full = [call for call in work.calls if len(call) == 4]
    assert full[0] == [0, 1, 2, 3]
    for before, after in zip(full, full[1:], strict=False):
        for old, new in zip(before, after, strict=True):
            assert new == old or new not in before  # who stays keeps the slot
    waited = sum(len(call) < 4 for call in work.calls)
    assert waited <= int(found.iterations.max())  # only once nobody waits does the batch shrink


def test_rarely_looking_at_the_flags_changes_nothing(monkeypatch):
    work, config = Waves(), FixedPointConfig(tol=1e-4, max_iter=22)
    always = stream(work, config, 4)
    monkeypatch.setitem(progress.POLL, "cpu", 5)
    rarely = stream(work, config, 4)
    for sample in range(len(work)):
        assert_same(rarely, stream_row(always, sample), sample)


def stream_row(solution, row):
    count = int(solution.iterations[row])
    part = slice(row, row + 1)
    return type(solution)(
        solution.x[part],
        solution.status[part],
        solution.iterations[part],
        solution.residuals[:count, part],
        aux={name: value[part] for name, value in solution.aux.items()},
    )


def test_a_batch_that_stops_together_is_handed_on_without_a_copy():
    images = []

    class Kept(Waves):
        def step(self, index, x, aux):
            images.append((index, super().step(index, x, aux)[0]))
            return images[-1][1], aux

    found = stream(Kept(4), FixedPointConfig("picard", tol=0.0, max_iter=3), 9, keep="last")
    assert found.x is images[-1][1]
    assert len({id(index) for index, _ in images}) == 1
    assert found.iterations.tolist() == [3] * 4


def test_bad_input():
    class Empty(Waves):
        def __len__(self):
            return 0

    class Shared(Waves):
        def start(self, index):
            return super().start(index)[0], {"theta": torch.zeros(1, 2)}

    config = FixedPointConfig()
    for work, capacity in ((Empty(), 3), (Waves(), 0), (Shared(), 3)):
        with pytest.raises(InputError):
            stream(work, config, capacity)
