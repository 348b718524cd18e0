"""`segkit export` as a function: traces, writes, proves, and leaves either a whole file or none."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from segkit.engine.notify import tell
from segkit.export.cases import cases_of_files, cases_of_validation, image_files
from segkit.export.int8 import calibrate_onnx, calibrate_openvino, check_int8
from segkit.export.parts import Part, Request, dtype_of, parts_of
from segkit.export.program import program_of
from segkit.export.proof import Case, Comparison, Proof, megabytes, synthetic_cases
from segkit.export.sessions import open_run
from segkit.export.stages import Stages
from segkit.export.writers import FORMATS, check_packages, write_onnx
from segkit.files import DataError, need_writable, write_whole
from segkit.models.bases import Network
from segkit.registry import ConfigError, did_you_mean
from segkit.runners.ensemble import runner_of

PROOF_IMAGES = 50
"""Validation images that an export is proved on at most."""

CALIBRATION_IMAGES = 100
"""Images that int8 is calibrated with at most."""


@dataclass(frozen=True)
class Job:
    """An export.

    Attributes:
        to: one of FORMATS.
        out: the file to write; of several graphs NAME.encoder.onnx and NAME.decoder.onnx.
        request: what the graphs do.
        calibration: folder of the images that int8 is calibrated with.
        images: folder of the images for the proof; None for the validation set.
        force: whether a file is kept whose labels differ, and an older one is replaced.
        place: the checkpoint, for messages.
    """

    to: str
    out: Path
    request: Request
    calibration: str | None = None
    images: str | None = None
    force: bool = False
    place: str = "the model"


def check_format(name: str, precision: str) -> None:
    """Raises a ConfigError where a format is unknown, or has no such precision, or its package is missing."""
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS) or f"; it can be {', '.join(FORMATS)}"
        raise ConfigError(f"--to {name}: is no format{hint}")
    if precision not in FORMATS[name].precisions:
        if precision == "int8":
            check_int8(name)
        raise ConfigError(
            f"--to {name}: is not written in {precision}; it can be {', '.join(FORMATS[name].precisions)}"
        )
    check_packages(name)
    if precision == "int8":
        check_int8(name)


def export_model(model: Network, job: Job, say: Callable[[str], None] = tell) -> tuple[list[Path], Proof]:
    """Exports a model, and proves the file.

    Args:
        model: of load_model, in evaluation mode.
        job: what is written.
        say: takes a line of text as each stage begins, with the seconds since the start; default: standard error.

    Returns:
        The files of the graphs; and the proof, which lies beside the first as FILE.proof.json.

    Raises:
        ConfigError, DataError: nothing was written; the message says why.
    """
    precision = job.request.precision
    check_format(job.to, precision)
    parts = parts_of(model, job.request, dtype_of(runner_of(model), model))
    names = [_named(job.out, part) for part in parts]
    for name in names:
        need_writable(name, "choose another --out")
        if name.exists() and not job.force:
            raise ConfigError(f"{name}: is there already; replace it by --force, or choose another --out")
    if precision == "int8" and len(parts) > 1:
        raise ConfigError(f"{job.place}: a click model has no --int8; its graphs take clicks beside images")
    stages = Stages(say)
    stages.begin("reading the images of the proof")
    cases, source = _cases(model, parts[0], job)
    names[0].parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=names[0].parent, prefix=".export.") as folder:
        drafts = [Path(folder) / name.name for name in names]
        for part, draft in zip(parts, drafts):
            _write(model, part, draft, job, stages)
        proof = _prove(parts, drafts, (cases, source), job, model.num_classes, stages)
        if proof.is_refused and not job.force:
            raise ConfigError(
                f"{names[0]}: not kept, since {100 * (proof.equal_labels or 0):.3f} % of its labels equal the "
                f"network's ({proof.sentence()}); keep it by --force, or export it with --size H W"
            )
        for file in Path(folder).iterdir():
            _move(file, names[0].parent / file.name)
    write_whole(names[0].with_name(names[0].name + ".proof.json"), proof.text())
    return names, proof


def _named(out: Path, part: Part) -> Path:
    return out.with_name(f"{out.stem}.{part.name}{out.suffix}") if part.name else out


def _move(source: Path, target: Path) -> None:
    """Renames a finished file or folder, over an older one."""
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)


def _write(model: Network, part: Part, path: Path, job: Job, stages: Stages) -> None:
    calibration: list[Case] = []
    if job.calibration is not None:  # before the minutes that follow, since a file may be broken
        files = image_files(job.calibration, "--int8")
        calibration = list(islice(cases_of_files(model, part.info, files), CALIBRATION_IMAGES))
    stages.begin(f"tracing the {part.name or 'network'}")
    program = program_of(part, job.place)
    stages.begin(f"converting to {job.to}")
    if job.request.precision != "int8":
        FORMATS[job.to].write(part, program, path, job.place)
        return
    middle = path.with_name("float32.onnx")
    write_onnx(part, program, middle, job.place)
    stages.begin(f"calibrating with {len(calibration)} images of {job.calibration}")
    calibrate = calibrate_onnx if job.to == "onnx" else calibrate_openvino
    calibrate(middle, path, part, calibration)
    middle.unlink()


def _cases(model: Network, part: Part, job: Job) -> tuple[list[Case], str]:
    """The images of the proof, and a word for where they come from."""
    info = part.info
    if job.images is not None:
        files = image_files(job.images, "--images")[:PROOF_IMAGES]
        return list(cases_of_files(model, info, files)), job.images
    found = cases_of_validation(model, info, PROOF_IMAGES)
    return (found, "section val") if found else (list(synthetic_cases(info)), "seeded noise")


def _prove(
    parts: Sequence[Part],
    drafts: Sequence[Path],
    given: tuple[list[Case], str],
    job: Job,
    classes: int,
    stages: Stages,
) -> Proof:
    cases, source = given
    precision = job.request.precision
    if not FORMATS[job.to].runs_here:
        note = f"not run here: {job.to} needs its own device; compare a few images there before you rely on it"
        return Proof(source=source, megabytes=megabytes(drafts), precision=precision, note=note)
    threads = torch.get_num_threads()
    stages.begin(f"checking that {job.to} opens the file")
    try:
        runs = [open_run(job.to, draft, threads) for draft in drafts]
        comparison = Comparison(parts, runs, classes)
        for number, case in enumerate(cases, 1):
            stages.compare(case, number, len(cases))
            comparison.add(case)
    except (ConfigError, DataError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        way_out = (
            "export it in another format" if job.request.size else "export it with --size H W, or in another format"
        )
        raise ConfigError(f"{job.place}: the exported graph does not run in {job.to} ({reason}); {way_out}") from error
    files = list(drafts[0].parent.iterdir())
    proof = comparison.proof(source, files, job.to)
    stages.begin("measuring the time of both")
    return dataclasses.replace(proof, milliseconds=comparison.milliseconds(cases[0].image))
