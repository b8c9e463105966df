"""Curves: rows that come back as they were, events, and a bar on a terminal alone."""

import io
import sys

import pytest

from aafast.errors import MissingDependency
from aafast.training import read_curve, train
from aafast.training.curves import CURVE, EVENTS, Curve
from aafast.training.progress import Progress

from .plans import plan, silent


def test_rows_come_back_to_the_bit_and_later_ones_are_dropped(tmp_path):
    curve = Curve(tmp_path, 0)
    for step in range(1, 6):
        curve.add({"step": step, "loss": 1 / 3 / step, "learning_rate": 0.1, "gradient_norm": 1.0, "seconds": 0.5})
    curve.flush()
    assert [row["loss"] for row in read_curve(tmp_path)] == [1 / 3 / step for step in range(1, 6)]
    with open(tmp_path / CURVE, "a") as file:
        file.write("6,0.1,0.0")  # a line that a kill cut off
    assert len(read_curve(tmp_path)) == 5
    Curve(tmp_path, 3)
    assert [row["step"] for row in read_curve(tmp_path)] == [1, 2, 3]
    assert read_curve(tmp_path / "nowhere") == []


def test_events_say_what_the_rows_say(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(plan(), out=tmp_path, tensorboard=True, log=silent)
    events = EventAccumulator(str(tmp_path / EVENTS)).Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == pytest.approx({row["step"]: row["loss"] for row in read_curve(tmp_path) if row["step"]})
    assert [event.step for event in events.Scalars("psnr_db")] == [0, 6, 12]


def test_events_without_their_package_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependency, match=r"aafast\[tensorboard\]"):
        train(plan(), out=tmp_path, tensorboard=True, log=silent)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream, show, drawn", [(Terminal, True, True), (io.StringIO, True, False),
                                                 (Terminal, False, False)])  # fmt: skip
def test_a_bar_is_drawn_on_a_terminal_alone(stream, show, drawn, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", stream())
    bar, said = Progress(10, 4, show), []
    bar.advance(0.25)
    bar.say(said.append, "a line")
    bar.close()
    assert said == ["a line"] and ("/10" in sys.stderr.getvalue()) == drawn
    monkeypatch.setitem(sys.modules, "tqdm", None)
    Progress(10, 4, show).advance(0.25)
