"""`aafast run`: reconstruct a SEG-Y survey."""

from __future__ import annotations

import argparse
import sys

from ._answer import Answer
from ._options import pair, positive


def register(commands: argparse._SubParsersAction) -> None:
    """Add `run`."""
    parser = commands.add_parser(
        "run",
        help="reconstruct a post-stack SEG-Y survey",
        description="Reconstruct the reflectivity of a post-stack SEG-Y survey, 2D or 3D, and write it under "
                    "the same headers. The output appears under its name only when it is complete.",
    )
    parser.add_argument("input", help="SEG-Y file")
    parser.add_argument("output", help="SEG-Y file to write")
    parser.add_argument("--wavelet", default="auto", metavar="auto|ricker:HZ|FILE",
                        help="nominal wavelet: estimated from the data (auto), a Ricker of HZ, or a text "
                             "file of one or two columns (default: auto)")
    parser.add_argument("--model", default="deconv", metavar="NAME|DIR", help="model (default: deconv)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--report", metavar="FILE.html", help="also write a report, one HTML file")
    parser.add_argument("--keep-text-header", action="store_true",
                        help="do not add the run's parameters to blank lines of the text header")
    parser.add_argument("--skip-bad", action="store_true",
                        help="pass traces with NaN or Inf through unchanged instead of refusing the file")
    parser.add_argument("--phase", choices=("constant", "zero", "auto"), default="constant",
                        help="of the estimated wavelet: the constant phase of the spikiest result, zero, or auto: "
                             "zero, constant or minimum phase, by kurtosis")
    parser.add_argument("--well", metavar="FILE.las@TRACE[:MS]",
                        help="give the estimated wavelet the phase of the tie to a well at a trace (from 1, in file "
                             "order), whose logs begin near MS of two-way time if that is known")
    parser.add_argument("--no-calibrate", action="store_true",
                        help="take a given wavelet as it is; else the model corrects it once for the survey")
    parser.add_argument("--wavelet-windows", type=pair, metavar="TxA",
                        help="estimate the wavelet in T windows of time and A areas; between them it varies smoothly")
    parser.add_argument("--corrected-wavelets", metavar="FILE.npz",
                        help="also write the wavelets that the model found, and how they differ from the nominal ones")
    parser.add_argument("--polarity", choices=("normal", "reverse"), default="normal",
                        help="normal (SEG): an increase of impedance is a peak")
    parser.add_argument("--sample-interval", type=float, metavar="MS", help="instead of the header's")
    parser.add_argument("--patch", type=pair, metavar="TxX", help="samples x traces solved at once")
    parser.add_argument("--overlap", type=pair, metavar="TxX", help="what neighbouring patches share")
    parser.add_argument("--batch", type=positive, metavar="N", help="patches solved together")
    parser.add_argument("--misfit", metavar="FILE", help="also write the data misfit d - W r, as a survey")
    parser.add_argument("--memory", metavar="SIZE", help="of all processes together, such as 2GB")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes of this machine (default: 1)")
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT",
                        help="give the work to a Dask cluster that sees the same files")
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier run of this output left")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.survey.run` and print what it did."""
    given = {name: getattr(arguments, name) for name in ("patch", "overlap", "batch", "workers", "memory", "misfit",
                                                          "wavelet_windows", "corrected_wavelets", "well")}
    try:
        result = _run(arguments, {name: value for name, value in given.items() if value is not None})
    except BaseException:
        _tell_of_job(arguments.output)
        raise
    if not arguments.quiet:
        print(result.summary())
    return Answer(result.as_dict())


def _run(arguments: argparse.Namespace, given: dict):
    from ..survey import run

    return run(
        arguments.input,
        arguments.output,
        wavelet=arguments.wavelet,
        model=arguments.model,
        device=arguments.device,
        report=arguments.report,
        calibrate=not arguments.no_calibrate,
        keep_text_header=arguments.keep_text_header,
        skip_bad=arguments.skip_bad,
        phase=arguments.phase,
        polarity=1 if arguments.polarity == "normal" else -1,
        sample_interval=arguments.sample_interval,
        scheduler=arguments.scheduler,
        restart=arguments.restart,
        progress=not arguments.quiet,
        **given,
    )


def _tell_of_job(output: str) -> None:
    """Say that the same command goes on, where blocks are done."""
    from ..survey.job import count_done

    done = count_done(output)
    if done:
        print(f"aafast: note: {done} blocks are done; the same command goes on from there", file=sys.stderr)
