"""Bulk captioning: every image of a source in exactly one row, whatever is killed in between.

A job's folder holds `job.json` (which model), `plan/` (which image belongs to which part), `captions/` (a Parquet file
a part) and, at the end, `summary.json`. A part's file is whole or not there, and its name follows from the plan alone:
who goes on with the job does what has no file. Images that the source has gained since become new parts.
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout
from tqdm import tqdm

from medcap_tf.cluster import rows
from medcap_tf.cluster.engine import Resources, connected
from medcap_tf.cluster.sources import Unit, find_units, parts_of
from medcap_tf.cluster.storage import Folder, is_local
from medcap_tf.cluster.worker import CaptionWorker, Model, Part
from medcap_tf.errors import InputError
from medcap_tf.run_folder import RunFolder
from medcap_tf.serving.files import find_version

PART_SIZE = 1000  # images: a minute or two of a processor's work, which a kill costs at most
_PARTS_PER_WORKER = 4  # at least, so that all end at about the same time
_SMALLEST = 16  # a batch


def caption_all(
    model: Model,
    source: str,
    out: str,
    resources: Resources,
    part_size: int = PART_SIZE,
    as_csv: bool = False,
    worker: type[CaptionWorker] = CaptionWorker,
) -> dict[str, Any]:
    """Caption what the job's folder does not hold yet; returns what `summary.json` says.

    Args:
        model: a run or an export, by a path that all machines know.
        source: see `sources.find_units`.
        out: the job's folder, or its address.
        resources: of Ray.
        part_size: images a file of the output, at most.
        as_csv: write `captions.csv` too.
        worker: what captions; another one stands in for the model where the rest is measured.

    Raises:
        InputError: nothing to caption, another model's folder, no room for a worker.
    """
    began = time.perf_counter()
    folder = Folder(out)
    identity = {"model": str(model.path), "digest": model_digest(model.path), "settings": dict(model.settings),
                "explain": model.explain}  # fmt: skip
    units = find_units(source)
    with _locked(out):
        _check_same(folder, identity)
        with connected(resources) as workers:
            folder.write_json("job.json", identity)
            parts = _plan(folder, units, part_size, workers)
            done = set(folder.names("captions"))
            waiting = [part for part in parts if part.file.rpartition("/")[2] not in done]
            new = _run(partial(worker, model, resources, folder), waiting, resources, workers)
        folder.remove_unfinished("captions")
        summary = {**_summary(folder), "new": new, "seconds": round(time.perf_counter() - began, 1)}
        folder.write_json("summary.json", summary)
        if as_csv:
            _write_csv(folder)
    return summary


@contextmanager
def _locked(out: str) -> Iterator[None]:
    """Two drivers would plan the same images twice. Object stores know no locks."""
    if not is_local(out):
        yield
        return
    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    Path(out).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(out) / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"--out {out}: another job is writing there; wait for its end, or choose another") from None


def model_digest(path: Path) -> str:
    """What tells one model's files from another's, wherever they lie."""
    version = find_version(path)
    run = RunFolder(path)
    if version is not None:
        files = [version / "saved_model.pb", *sorted((version / "variables").glob("*"))]
    else:
        run.read_config()  # raises InputError where this is no run either
        files = [run.config, run.vocabulary, run.concepts, run.retrieval, *sorted(run.best.glob("*.h5"))]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _check_same(folder: Folder, identity: Mapping[str, Any]) -> None:
    before = folder.read_json("job.json")
    if before is None:
        return
    changed = [key for key in ("digest", "settings", "explain") if before.get(key) != identity[key]]
    if changed:
        raise InputError(
            f"{folder.address}: holds captions of {before['model']}, and the {', '.join(changed)} of what is given now "
            "differ; choose another --out"
        )


def _plan(folder: Folder, units: Sequence[Unit], part_size: int, workers: int) -> list[Part]:
    """The parts so far, and new ones for units that none of them has; written before anything is captioned."""
    parts = _read_plan(folder)
    known = {unit[:2] for part in parts for unit in part.units}
    new = [unit for unit in units if unit[:2] not in known]
    if not new:
        return parts
    images = sum(max(1, unit.rows) for unit in new)
    size = min(part_size, max(_SMALLEST, images // (_PARTS_PER_WORKER * workers)))
    added = [Part(number, own) for number, own in enumerate(parts_of(new, size), len(parts))]
    lines = [{"part": part.number, **unit._asdict()} for part in added for unit in part.units]
    table = pa.Table.from_pylist(lines)
    folder.write_table(f"plan/plan-{len(folder.names('plan')):04d}.parquet", table)
    return [*parts, *added]


def _read_plan(folder: Folder) -> list[Part]:
    parts: dict[int, Part] = {}
    for name in folder.names("plan"):
        with folder.open_parquet(f"plan/{name}") as file:
            for batch in file.iter_batches():
                for number, *unit in zip(*(column.to_pylist() for column in batch.columns)):
                    parts.setdefault(number, Part(number, [])).units.append(Unit(*unit))
    return list(parts.values())


def _run(worker: partial[CaptionWorker], parts: Sequence[Part], resources: Resources, workers: int) -> int:
    """Have the parts captioned; returns how many images there were in them."""
    if not parts:
        return 0
    import ray

    from medcap_tf.cluster.pool import run_tasks

    actor = ray.remote(worker.func).options(**resources.of_worker)
    done = run_tasks(lambda: actor.remote(*worker.args), parts, workers, str)
    new = 0
    bar = tqdm(total=sum(max(0, u.rows) for p in parts for u in p.units), desc="caption", unit="image", mininterval=1.0)
    with bar:
        for _, facts in done:
            new += facts["images"]
            bar.total = max(bar.total, new)
            bar.update(facts["images"])
    return new


def _summary(folder: Folder) -> dict[str, Any]:
    """Rows and failures of the whole job, and what each worker did, from the footers of all parts."""
    images, reasons = 0, Counter[str]()
    workers: dict[str, dict[str, float]] = {}
    for facts in map(rows.facts_of, _footers(folder)):
        images += facts["images"]
        reasons.update(facts["failures"])
        own = workers.setdefault(facts["worker"], {"images": 0, "seconds": 0.0, "start_seconds": facts["started"]})
        own["images"] += facts["images"]
        own["seconds"] = round(own["seconds"] + facts["seconds"], 3)
        own["start_seconds"] = min(own["start_seconds"], facts["started"])
    for own in workers.values():
        own["images_per_second"] = round(own["images"] / max(own["seconds"], 1e-9), 3)
    failed = reasons.total()
    return {"images": images, "captioned": images - failed, "failed": failed, "failures": rows.most_common(reasons),
            "workers": workers}  # fmt: skip


def _footers(folder: Folder) -> Iterator[Any]:
    for name in folder.names("captions"):
        try:
            with folder.open_parquet(f"captions/{name}") as file:
                yield file.schema_arrow.metadata
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{folder.address}/captions/{name}: cannot be read ({error}); remove it and go on"
            ) from error


def _write_csv(folder: Folder) -> None:
    """`captions.csv`: the columns that are text or a number, in the order of the plan."""
    with folder.writing("captions.csv") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(rows.TEXT_COLUMNS)
        for name in folder.names("captions"):
            with folder.open_parquet(f"captions/{name}") as part:
                for batch in part.iter_batches(columns=list(rows.TEXT_COLUMNS)):
                    for row in batch.to_pylist():
                        writer.writerow([_cell(row[column]) for column in rows.TEXT_COLUMNS])
        text.detach()


def _cell(value: Any) -> Any:
    return ";".join(value) if isinstance(value, list) else value


def end_line(summary: Mapping[str, Any], out: str) -> str:
    """One line for people."""
    line = f"{out}: {summary['images']} rows, {summary['new']} of them new, in {summary['seconds']:.0f} s"
    if summary["failed"]:
        reason, count = next(iter(summary["failures"].items()))
        line += f"; {summary['failed']} images could not be read (see the column `error`; {count} times: {reason})"
    return line
