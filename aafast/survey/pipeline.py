"""The main job: a survey goes in, its reconstruction comes out under the same headers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .. import __version__
from ..errors import FileError, InputError, describe, require
from .blocks import Block, cut_sections
from .calibrate import calibrate_with
from .executor import Executor, ProcessExecutor, SerialExecutor
from .files import AtomicFile, check_room, check_target
from .job import Job, load_arrays, open_job
from .memory import parse_size, share_out
from .outcome import RunResult, Tally, describe_run, header_lines
from .plan import Plan
from .prepare import (
    CALIBRATED,
    SurveyPlan,
    estimate_nominal,
    has_plan,
    has_wavelet,
    load_calibrated,
    load_plan,
    load_wavelet,
    look_at,
    measure_survey,
    save_wavelet,
)
from .progress import StopWatch, trace_bar
from .qc import QcPiece, SurveyQc, assemble, load_qc, plan_qc, save_plan
from .section import BATCH, PATCH, Solve, check_batch, plan_section
from .settings import Settings
from .shown import choose_shown, join_shown
from .solver import SolverSpec
from .store import Source, Target, open_source, open_target
from .stores import through_segy
from .wavelet import Wavelet
from .wavelet_field import check_windows, estimate_field, load_field, save_field
from .wavelet_file import parse_wavelet
from .wavelet_volume import locate, write_volume
from .wells import parse_well, tie_nominal
from .worker import Context


@through_segy
def run(
    input: str | Path,
    output: str | Path,
    wavelet: str = "auto",
    model: str = "deconv",
    device: str | None = None,
    report: str | Path | None = None,
    keep_text_header: bool = False,
    skip_bad: bool = False,
    patch: tuple[int, int] = PATCH,
    overlap: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    batch: int = BATCH,
    phase: str = "constant",
    polarity: int = 1,
    sample_interval: float | None = None,
    solve: Solve | None = None,
    progress: bool = True,
    memory: str | int | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    restart: bool = False,
    misfit: str | Path | None = None,
    wavelet_windows: tuple[int, int] = (1, 1),
    corrected_wavelets: str | Path | None = None,
    well: str | None = None,
    calibrate: bool = True,
) -> RunResult:
    """Reconstruct the reflectivity of a post-stack survey of any size and write it under the same headers.

    Each 2D line, or inline of a 3D survey, is solved as `reconstruct_section` does, block by block; the answer does
    not depend on memory, batch, workers or restarts. Dead traces and, with `skip_bad`, traces with NaN or Inf keep
    their bytes. The output appears under its name only when it is complete. Until then everything lies in
    `OUTPUT.aafast-job` beside it, and the same call after a kill goes on from there.

    input, output: SEG-Y files or MDIO stores. wavelet: "auto", "ricker:HZ" or a file. model: name or folder, or
    "identity", which passes the data through. device: "cpu" or "cuda". report: HTML file to write. patch, overlap,
    halo: samples, traces; see `reconstruct_section`. batch: patches per call. phase: of the automatic wavelet,
    "constant", "zero" or "auto" (see `estimate_wavelet`). polarity: 1 or -1. sample_interval: ms, in place of the
    header's. solve: called instead of the model, (y [B, 1, T, X], A0) -> Solution. progress: show a bar. memory: of
    all processes, such as "2GB". workers: processes, or with a scheduler the tasks under way at once. scheduler:
    address of a Dask scheduler whose workers see the same files. restart: throw away what an earlier run has left.
    misfit: survey to write the residual d - W r to. wavelet_windows: of the automatic wavelet, number of windows in
    time and of areas in which it is estimated; between them it varies smoothly. corrected_wavelets: .npz to write
    the wavelets that the model found to, with their places and how they differ from the nominal ones. well:
    "FILE.las@TRACE" or "FILE.las@TRACE:MS", which gives the automatic wavelet the phase of its tie (see `wells`).
    calibrate: let the model correct a wavelet that is not automatic, once for the survey (see `calibrate_wavelet`).
    Raises FileError, FormatError, InputError, CheckpointError, BackendError, MissingDependency.
    """
    clock = StopWatch()
    check_batch(batch)
    if workers < 1:
        raise InputError(describe("workers", workers, "1 or more", "Choose another number"))
    settings = Settings(patch, overlap, halo, batch, phase, polarity, keep_text_header, skip_bad, workers,
                        parse_size(memory), scheduler, report is not None, wavelet_windows, well, calibrate)
    with ExitStack() as stack:
        source = open_source(input, sample_interval)
        stack.callback(source.close)
        paths = _check_paths(source.layout.path, {
            "output": output, "report": report, "misfit": misfit, "corrected wavelets": corrected_wavelets})
        volume = page = None
        if corrected_wavelets is not None:
            volume = stack.enter_context(AtomicFile(paths["corrected wavelets"], what="corrected wavelets"))
        if report is not None:
            require("matplotlib", extra="report")
            page = stack.enter_context(
                AtomicFile(paths["report"], (source.layout.path,), room=1 << 22, what="report"))
        given = parse_wavelet(wavelet, source.layout.interval, source.layout.samples, polarity=polarity)
        if wavelet_windows != (1, 1) or well is not None:
            _check_automatic(given, wavelet_windows, well, source)
        task = _Task(source, settings, SolverSpec(os.fspath(model), device, solve), paths, given, clock)
        job = stack.enter_context(open_job(paths["output"], task.facts(wavelet), restart))
        with _kept_if_begun(job):
            outcome, pieces = task.run(job, progress)
            outcome.report = None if page is None else page.path
            if volume is not None and not task.write_wavelets(job, volume):
                outcome.warnings.append(f"the model corrects no wavelet: {volume.path.name} was not written")
            if page is not None:
                from .maps import survey_pictures
                from .report import survey_report, write_page

                with clock("report"):
                    shown = join_shown(task.shown, source.geometry, task.plan(task.shown[0]), pieces)
                    pictures = survey_pictures(task.assemble(job), source.geometry)
                    write_page(page, survey_report(outcome, source.text, *shown, pictures))
            outcome.seconds = clock.seconds()
            job.finish()
    return outcome


def _check_paths(source: Path, paths: dict[str, str | Path | None]) -> dict[str, Path]:
    """Real paths of what will be written: none of them the input, and none twice."""
    found: dict[str, Path] = {}
    for what, path in paths.items():
        if path is None:
            continue
        real = Path(os.path.realpath(path))
        check_target(real, (source,), what)
        for other, taken in found.items():
            if real == taken:
                raise InputError(describe(f"{what} {path}", f"the same file as the {other}", "another file",
                                          "Choose another name"))
        found[what] = real
    return found


def _check_automatic(given: Wavelet | None, windows: tuple[int, int], well: str | None, source: Source) -> None:
    """What only an estimated wavelet can have: windows, or the phase of a well tie, one of the two."""
    what = "well" if well is not None else "windows of the wavelet"
    if given is not None:
        raise InputError(describe(what, f"the wavelet {given.source} with it", "the wavelet auto, which is estimated",
                                  "Leave out one of the two"))
    if well is not None and windows != (1, 1):
        raise InputError(describe(what, "windows of the wavelet with it", "one wavelet, that of the well's tie",
                                  "Leave out one of the two"))
    check_windows(windows, source.layout.samples, source.layout.traces)


@contextmanager
def _kept_if_begun(job: Job) -> Iterator[None]:
    """Leave a job that has blocks done to a later run, and remove one that has none."""
    try:
        yield
    except BaseException:
        if not job.done:
            job.remove()
        raise


class _Task:
    """One run: what it is given, then what it finds out, in the order of the methods. shown: traces of the report."""

    def __init__(
        self, source: Source, settings: Settings, spec: SolverSpec, paths: dict[str, Path], given: Wavelet | None,
        clock: StopWatch,
    ) -> None:  # fmt: skip
        self.source, self.settings, self.spec, self.paths, self.clock = source, settings, spec, paths, clock
        self.layout, self._given = source.layout, given
        self._well = None if settings.well is None else parse_well(settings.well, source.layout.interval)
        self._sizes = [section.traces.size for section in source.geometry.sections]
        self._plans = {
            size: plan_section((self.layout.samples, size), settings.patch, settings.overlap, settings.halo)
            for size in sorted(set(self._sizes))
        }
        self._solve = spec.load()  # what is wrong with a model or a device shows here
        self.shown: tuple[int, int, int] = (0, 0, 0)
        self.blocks: list[Block] = []

    def plan(self, section: int) -> Plan:
        """The patches of a section."""
        return self._plans[self._sizes[section]]

    def facts(self, wavelet: str) -> dict[str, str]:
        """What the job is begun with."""
        return self.settings.facts(self.source, self.spec, self._given, wavelet, self.paths.get("misfit"))

    def run(self, job: Job, progress: bool) -> tuple[RunResult, list[dict]]:
        """All of it but the report; gives what blocks left of the shown traces as well."""
        targets = self._begin(job)
        with self.clock("scan"):
            if not has_plan(job.folder):
                measure_survey(self.source, self.source.geometry, job.folder, self.settings.skip_bad)
            survey = load_plan(job.folder)
        if self.settings.reports:
            save_plan(job.folder, plan_qc(self.layout, self.source.geometry), self.source.geometry)
        self._prepare(job, targets)
        with self.clock("wavelet"):
            if has_wavelet(job.folder):
                nominal = load_wavelet(job.folder)
            else:
                nominal = self._given or estimate_nominal(
                    self.source, survey, self.settings.phase, self.settings.polarity)
                if self._well is not None:
                    nominal = tie_nominal(self.source, nominal, self._well)
                if self.settings.wavelet_windows != (1, 1):
                    save_field(job.folder, estimate_field(
                        self.source, survey, self.settings.wavelet_windows, nominal, self.settings.phase,
                        self.settings.polarity))
                self._calibrate(job, survey, nominal)
                save_wavelet(job.folder, nominal)
        context, blocks = self._cut(job, survey, targets)
        resumed = self._work(job, context, blocks, survey, progress)
        outcome, pieces = self._finish(job, survey, nominal, targets, blocks)
        outcome.resumed = resumed
        return outcome, pieces

    def _calibrate(self, job: Job, survey: SurveyPlan, nominal: Wavelet) -> None:
        """Leave what a given wavelet is calibrated to in the job; an estimated one has the data's spectrum already."""
        network = self.spec.calibration() if self._given is not None and self.settings.calibrate else None
        if network is not None:
            images, masks = look_at(self.source, survey)
            save_wavelet(job.folder, calibrate_with(network, nominal, images, masks, self.settings.patch), CALIBRATED)

    def assemble(self, job: Job) -> SurveyQc:
        """What all blocks left for the report's maps."""
        held = (load_arrays(job.piece(number)) for number in sorted(job.done))
        return assemble(load_qc(job.folder)[0], (QcPiece.from_arrays(arrays) for arrays in held))

    def write_wavelets(self, job: Job, page: AtomicFile) -> int:
        """Write the wavelets that the model found; returns their number."""
        nominal, field = load_wavelet(job.folder).samples, load_field(job.folder)
        survey = load_plan(job.folder)

        def rows() -> Iterator[dict]:
            for block in self.blocks:
                piece = load_arrays(job.piece(block.number))
                if "wavelets" in piece and piece["patches"].size:
                    patches = [self.plan(block.section)[n] for n in piece["patches"].tolist()]
                    own = nominal if field is None else field.of(int(survey.offsets[block.section]), patches)
                    yield locate(block.section, patches, piece["wavelets"], own, self.source.geometry, self.layout)

        return write_volume(page, rows(), self.layout.interval, self.source.geometry.sections[0].axis)

    def _begin(self, job: Job) -> dict[str, Target]:
        """The targets, by name; the misfit's comes first, so that the output's name is the last to appear."""
        targets: dict[str, Target] = {
            name: open_target(self.layout, self.paths[name], job.path(f"{name}{self.paths[name].suffix}"))
            for name in ("misfit", "output") if name in self.paths
        }
        if not job.resumed:
            check_room(self.paths["output"], sum(target.room for target in targets.values()), "output")
        return targets

    def _prepare(self, job: Job, targets: dict[str, Target]) -> None:
        """Copies with all headers, unless an earlier run has made them, or has already given them their names."""
        for name, target in targets.items():
            if target.partial.exists() or not job.done:
                with self.clock("copy"):
                    target.prepare()
            elif f"committing {name}" not in job.facts or not target.path.exists():
                raise FileError(describe(f"job {job.folder}", f"no {target.partial.name} in it",
                                         "the samples that its ledger tells of", "Start anew with --restart"))

    def _cut(self, job: Job, survey: SurveyPlan, targets: dict[str, Target]) -> tuple[Context, list[Block]]:
        """The blocks, as an earlier run has cut them if there was one, and what the workers are told."""
        settings = self.settings
        widest = self._plans[max(self._plans)].trace
        share = share_out(settings.memory, settings.processes, self.layout.samples, widest)
        columns = job.facts.get("columns")
        if columns is None or not job.done:
            every = sum(len(self._plans[size].trace.starts) for size in self._sizes)
            columns = settings.narrowed(share.columns, every)
            job.ledger.add(columns=columns)
        blocks = cut_sections(self._sizes, [self._plans[size].trace for size in self._sizes], columns)
        self.blocks, self.shown = blocks, choose_shown(survey)
        context = Context(
            source=self.source,
            target=targets["output"],
            misfit=targets.get("misfit"),
            folder=job.folder,
            solver=self.spec,
            patch=settings.patch,
            overlap=settings.overlap,
            halo=settings.halo,
            batch=settings.batch,
            shown=self.shown if settings.reports else None,
            threads=settings.threads,
            solver_bytes=share.solver,
        )
        return context, blocks

    def _executor(self, context: Context, advance) -> Executor:
        settings = self.settings
        if settings.scheduler is not None:
            from .cluster import DaskExecutor

            return DaskExecutor(context, settings.scheduler, settings.workers)
        if settings.workers > 1:
            return ProcessExecutor(context, settings.workers)
        return SerialExecutor(context, self._solve, advance)

    def _work(self, job: Job, context: Context, blocks: list[Block], survey: SurveyPlan, progress: bool) -> int:
        """Have the blocks done that are not; returns the number of those that were."""
        done = job.done
        todo = [block for block in blocks if block.number not in done]
        if not todo:
            return len(done)
        live = [int(survey.live[survey.section(b.section)][b.first:b.stop].sum()) for b in blocks]
        begin, serial = len(job.ledger.records), self.settings.processes == 1
        with trace_bar(sum(live), progress) as advance, self.clock("work"):
            advance(sum(live[number] for number in done), 1, 1)

            def begun(block: Block, process: int | None) -> None:
                job.ledger.add(sync=False, begun=block.number, by=process)

            def finish(block: Block, record: dict) -> None:
                job.ledger.add(**record)
                if not serial:
                    advance(live[block.number], 1, 1)

            executor = self._executor(context, lambda block, n, every: advance(live[block.number], n, every))
            executor.run(todo, begun, finish)
        self._count_seconds(job.ledger.records[begin:], min(self.settings.workers, len(todo)))
        return len(done)

    def _count_seconds(self, records: list[dict], workers: int) -> None:
        """Split the time of the work into stages, as a worker's solving thread saw them.

        The rest is the writing of the last block or, with several workers, what these took to start and to end.
        """
        records = [record for record in records if "done" in record]
        whole = self.clock.take("work")
        names = {"read": "stood read", "write": "stood write", "gain": "gain", "solve": "solve", "residual": "residual"}
        stages = {name: sum(r.get(entry, 0.0) for r in records) / workers for name, entry in names.items()}
        rest = whole - sum(stages.values())
        stages["write" if workers == 1 else "workers"] = stages["write"] * (workers == 1) + max(0.0, rest)
        scale = min(1.0, whole / max(sum(stages.values()), 1e-9))  # the records are rounded
        self.clock.add({name: value * scale for name, value in stages.items()})
        for name in ("read", "solve", "write"):
            self.clock.busy[name] = sum(r.get(name, 0.0) for r in records)

    def _finish(
        self, job: Job, survey: SurveyPlan, nominal: Wavelet, targets: dict[str, Target], blocks: list[Block]
    ) -> tuple[RunResult, list[dict]]:
        """Put together what the blocks left, finish the output and give it its name."""
        highest, widest = (max(plan.patch[k] for plan in self._plans.values()) for k in (0, 1))
        tally = Tally((highest, widest))
        pieces = []
        for block in blocks:
            piece = load_arrays(job.piece(block.number))
            tally.add(piece)
            if "x" in piece:
                pieces.append(piece)
        calibrated = load_calibrated(job.folder)
        parameters = describe_run(__version__, nominal, calibrated, tally, self.spec.model, self.spec.device or "cpu",
                                  self.settings.batch)
        lines = [] if self.settings.keep_text_header else header_lines(parameters)
        with self.clock("write"):
            for name, target in targets.items():
                if target.partial.exists():
                    job.ledger.add(True, **{f"committing {name}": True})
                    notes = target.commit(lines)
                    job.ledger.add(True, **{f"committed {name}": {"scale": target.scale, "notes": notes}})
        last = job.facts.get("committed output", {"scale": 1.0, "notes": ["an earlier run gave the output its name"]})
        live = int(survey.live.sum())
        layout, geometry = self.layout, self.source.geometry
        outcome = RunResult(
            output=targets["output"].path,
            report=None,
            layout=layout,
            wavelet=nominal,
            calibrated=calibrated,
            kind=geometry.kind,
            sections=len(geometry.sections),
            live=live,
            dead=survey.live.size - live - len(survey.bad),
            skipped=survey.bad,
            backend=tally.backend,
            iterations=tally.iterations,
            status=tally.status,
            residuals=tally.residuals,
            wavelets=tally.wavelets,
            misfit=tally.misfit,
            scale=last["scale"],
            parameters=parameters,
            seconds=self.clock.seconds(),
            busy=dict(self.clock.busy),
            blocks=len(blocks),
            warnings=[*layout.warnings, *geometry.notes, *nominal.notes, *tally.warnings(), *last["notes"]],
        )
        return outcome, pieces
