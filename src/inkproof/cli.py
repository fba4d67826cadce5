"""The commands: arguments and printing. The work is done elsewhere.

Results go to stdout, progress to stderr. :mod:`inkproof.entry` calls this and gives exit codes.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from inkproof.bench import BenchResult
    from inkproof.data import Dataset, Split
    from inkproof.model import Model
    from inkproof.results import ModelResult, StudyResult
    from inkproof.statistics import Estimate
    from inkproof.study import Study

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train small image classifiers on ordinary CPU cores, and say what the evidence supports.",
    epilog="Example: inkproof run",
)

StudyArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY]", help="A study's TOML file; without it the built-in notebook."
    ),
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="mnist, or a path: a folder of IDX files, a folder of class folders, .npz or .csv.",
    ),
]
_LIMIT_OPTIONS = {  # of serve: a limit's name -> the option that sets it
    "body_bytes": "--max-bytes",
    "pixels": "--max-pixels",
    "concurrency": "--max-requests",
    "large": "--max-large",
    "waiting_bytes": "--max-waiting-bytes",
    "connections": "--max-connections",
    "upload_seconds": "--max-upload-seconds",
    "request_seconds": "--max-request-seconds",
}
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Format(StrEnum):
    """The forms of a report."""

    html = "html"
    markdown = "markdown"
    jekyll = "jekyll"


class PageFormat(StrEnum):
    """The forms of what was read."""

    text = "text"
    json = "json"
    csv = "csv"


class ModelFormat(StrEnum):
    """The other programs' forms of a model's file; each value is the file's ending."""

    keras = "keras"
    onnx = "onnx"


def _version(wanted: bool) -> None:
    if wanted:
        from inkproof import __version__

        typer.echo(f"inkproof {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: inkproof run my.toml --seeds 10 --epochs 15")
def run(
    study: StudyArgument = None,
    seeds: Annotated[int | None, typer.Option(help="Use the seeds 0 to N-1.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each run.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Runs side by side; they share the cores. Changes no result."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder of the results; without it runs/<name of the study>."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do complete runs again, too.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace runs of other settings.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Run on other data; see inkproof data --help."),
    ] = None,
) -> None:
    """Run a study: train all its models with all its seeds, compare them, write the report.

    A study that was interrupted goes on where it stopped. Runs of other settings, finished or
    begun, are not replaced unasked. INKPROOF_THREADS sets the number of cores.
    """
    from inkproof.progress import StudyProgress
    from inkproof.study import run_study

    plan = _study(study).changed(seeds=seeds, epochs=epochs, source=data)
    if data is None:
        plan.check_source()
    folder = out or Path("runs") / plan.name
    with StudyProgress() as progress:
        try:
            result = run_study(
                plan, folder, jobs=jobs, fresh=fresh, replace=replace, on_event=progress
            )
        except KeyboardInterrupt:
            progress.__exit__(None, None, None)
            _interrupted(folder, "without --fresh " if fresh else "")
    _print_study(result)
    typer.echo(f"\nReport:  {_write_reports(folder)}")
    typer.echo(f"Results: {folder / 'results.json'}")


@app.command(epilog="Example: inkproof data mnist --figure mnist.png")
def data(
    source: SourceArgument,
    figure: Annotated[
        Path | None,
        typer.Option(help="Write a figure of the class counts here."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a data set holds and what is wrong with it."""
    import inkproof
    from inkproof.data import describe
    from inkproof.wording import classes_counted

    dataset = inkproof.load(source)
    about = describe(dataset)
    if figure is not None:
        from inkproof import figures

        counts = {"train": about.train_counts, "test": about.test_counts}
        figures.save(figures.class_counts(counts, list(dataset.class_names)), figure)
    if as_json:
        _print_json(about)
        return
    height, width, channels = dataset.train.image_shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    typer.echo(
        f"{_safe(about.name)}: {height}x{width} {kind}, {classes_counted(len(dataset.class_names))}"
    )
    for split in (dataset.train, dataset.test):
        shape = split.pixels.shape if channels == 1 else split.images.shape
        typer.echo(
            f"{split.role:>5}: images {shape} {split.images.dtype}, labels {split.labels.shape}"
        )
    typer.echo(f"licence: {_safe(about.licence)}\n")
    rows = [
        [_safe(name), f"{train:,}", f"{test:,}"]
        for name, train, test in zip(
            dataset.class_names, about.train_counts, about.test_counts, strict=True
        )
    ]
    rows.append(["total", f"{len(dataset.train):,}", f"{len(dataset.test):,}"])
    _print_table(["class", "train", "test"], rows)
    typer.echo()
    for finding in about.findings:
        typer.echo(f"{finding.code} {finding.status}: {_safe(finding.explanation)}")
    if figure is not None:
        typer.echo(f"\nFigure: {figure}")


@app.command(epilog="Example: inkproof train --model 500x2 --seed 3 --out my.safetensors")
def train(
    study: StudyArgument = None,
    model: Annotated[
        str | None,
        typer.Option(help="Which of the study's models; without it the first."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes hold-out, order and initial weights.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="How many epochs.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--data", metavar="SOURCE", help="Train on other data."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The model's file.")] = Path("model.safetensors"),
) -> None:
    """Train one model of a study with one seed, and save it.

    A training that was interrupted goes on from the checkpoint beside the model's file.
    """
    import dataclasses

    from inkproof.errors import UnknownNameError
    from inkproof.progress import StudyProgress
    from inkproof.study import train_one

    plan = _study(study).changed(epochs=epochs, source=source)
    if source is None:
        plan.check_source()
    names = [m.name for m in plan.models]
    name = model or names[0]
    if name not in names:
        raise UnknownNameError("model", name, names, where=plan.origin)
    plan = dataclasses.replace(
        plan, seeds=(seed,), models=tuple(m for m in plan.models if m.name == name)
    )
    if out.is_dir():
        _usage(f"--out must be a file's name, got the folder {_safe(str(out))}")
    checkpoint = out.with_name(f"{out.name}.{name}-seed-{seed}.checkpoint")
    with StudyProgress() as progress:
        try:
            trained, evaluation = train_one(plan, checkpoint=checkpoint, on_event=progress)
        except KeyboardInterrupt:
            progress.__exit__(None, None, None)
            _interrupted(checkpoint)
    trained.save(out)
    checkpoint.unlink(missing_ok=True)
    typer.echo(f"test accuracy {_percent(evaluation.accuracy)}, test loss {_loss(evaluation.loss)}")
    typer.echo(f"Model: {out}")


@app.command(epilog="Example: inkproof evaluate runs/notebook/500x2/seed-0/model.safetensors mnist")
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model's file.")],
    source: SourceArgument,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on the test images of a data set."""
    import inkproof

    found = inkproof.Model.load(model)
    dataset = inkproof.load(source)
    _check_fits(found, model, dataset.test)
    _tell_of_source(dataset)
    result = inkproof.evaluate(found, dataset.test)
    if as_json:
        _print_json(
            {
                "n": result.n,
                "accuracy": result.accuracy,
                "loss": result.loss,
                "confusion": result.confusion.tolist(),
                "mistakes": result.mistake_records(),
            }
        )
        return
    typer.echo(f"{result.n:,} test images")
    typer.echo(f"accuracy {_percent(result.accuracy)}")
    typer.echo(f"loss     {_loss(result.loss)}\n")
    names = [_safe(name, 12) for name in result.class_names]
    typer.echo("true class down, predicted across:")
    _print_table(
        ["", *names],
        [
            [name, *(f"{n}" for n in row)]
            for name, row in zip(names, result.confusion.tolist(), strict=True)
        ],
    )
    records = result.mistake_records()
    typer.echo(f"\n{len(records):,} mistakes, the surest first:")
    _print_table(
        ["image", "target", "predicted", "probability"],
        [
            [f"{m.index}", names[m.label], names[m.predicted], f"{m.probability:.4f}"]
            for m in records[:10]
        ],
    )


@app.command(epilog="Example: inkproof compare runs/notebook/500x2 runs/notebook/512x3")
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A model's folder in a study's.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one's.")],
    margin: Annotated[
        float, typer.Option(help="Points of accuracy within which a difference counts as none.")
    ] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """Compare two models over the seeds that both have."""
    import inkproof
    from inkproof.errors import ConfigurationError, DataError, UnknownNameError
    from inkproof.study import load_study_result

    if not 0 < margin < 100:
        raise ConfigurationError(f"--margin must be between 0 and 100 points, got {margin:g}")
    runs, labels, prints = [], None, []
    for path in (a, b):
        folder = path.resolve()
        loaded = load_study_result(folder.parent)
        names = [model.name for model in loaded.result.models]
        if folder.name not in names:
            raise UnknownNameError("model", folder.name, names, where=str(path.parent))
        runs.append({s: p for (m, s), p in loaded.probabilities.items() if m == folder.name})
        labels = loaded.dataset.test.labels
        prints.append(loaded.dataset.fingerprint)
    if prints[0] != prints[1]:
        raise DataError(f"{a} and {b} were tested on different data and cannot be compared")
    name_a, name_b = a.resolve().name, b.resolve().name
    if name_a == name_b:
        name_a, name_b = (
            f"{a.resolve().parent.name}/{name_a}",
            f"{b.resolve().parent.name}/{name_b}",
        )
    assert labels is not None  # noqa: S101 - the loop ran twice
    result = inkproof.compare(name_a, runs[0], name_b, runs[1], labels, margin=margin / 100)
    if as_json:
        _print_json(result)
        return
    _print_table(
        ["seed", f"only {name_a} right", f"only {name_b} right", "McNemar p"],
        [
            [f"{p.seed}", f"{p.only_a_right}", f"{p.only_b_right}", _p_value(p.p_mcnemar)]
            for p in result.pairs
        ],
    )
    typer.echo("(each pair: these two networks only)\n")
    typer.echo(result.explanation)
    if result.outlook:
        typer.echo(result.outlook)


@app.command(epilog="Example: inkproof diagnose history.csv --figure fit.png")
def diagnose(
    history: Annotated[
        Path, typer.Argument(metavar="HISTORY", help="A CSV table with Keras' columns.")
    ],
    validation_images: Annotated[
        int | None,
        typer.Option(min=1, help="How many images the validation accuracy rests on."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the curves here; of several models, numbered.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say from a training history whether it overfitted, stopped too early, or diverged.

    The table may hold several runs: rows of one "model" and one "seed" make a history, where it
    has such columns.
    """
    from inkproof.diagnosis import diagnose as diagnose_one
    from inkproof.diagnosis import diagnose_runs
    from inkproof.errors import DataError, StorageError
    from inkproof.history import histories_from_csv

    try:
        models = histories_from_csv(history)
    except OSError as error:
        raise StorageError(f"{history}: cannot be read: {error.strerror}") from error
    if not models:
        raise DataError(f"{history}: expected at least one epoch, got none")
    found = {
        name: diagnose_one(runs[0], name=name, validation_images=validation_images)
        if len(runs) == 1
        else diagnose_runs(runs, name=name, validation_images=validation_images)
        for name, runs in models.items()
    }
    drawn = []
    if figure is not None:
        from inkproof import figures

        for number, (name, runs) in enumerate(models.items(), start=1):
            path = figure
            if len(models) > 1:
                path = figure.with_name(f"{figure.stem}-{number}{figure.suffix}")
            drawn.append(figures.save(figures.fit([run.columns() for run in runs], name), path))
    if as_json:
        _print_json(found)
        return
    for place, findings in enumerate(found.values()):
        if place:
            typer.echo()
        for finding in findings:
            typer.echo(f"{finding.code} {finding.status}: {_safe(finding.explanation, 1000)}")
    for path in drawn:
        typer.echo(f"\nFigure: {path}")


@app.command(epilog="Example: inkproof predict digit.jpg another.png --show seen")
def predict(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE]...", help="Pictures with one digit each, of any size."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="A model's file; without it the shipped one. A model of other classes takes "
            "pictures of its own size as they are."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Take test images of a data set instead of pictures: those that --index names.",
        ),
    ] = None,
    index: Annotated[
        list[int] | None,
        typer.Option(help="Which test image of --data, from 0; may be given several times."),
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the 28x28 images that the model saw there; of files that are there, only "
            "earlier ones of these are replaced.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which digit each picture shows, how sure that is, and what comes next."""
    from inkproof.photo.commands import predict_pictures, takes_digits

    if index and source is None:
        _usage("--index picks test images of --data, which is not given")
    if images and source is not None:
        _usage("name either pictures, or --data and --index, got both")
    if not images and not index:
        _usage("name an image, or --data and --index")
    if source is not None or not takes_digits(model):
        if show is not None:
            _usage("--show goes with pictures and a model that reads digits")
        _predict_raw(images or [], model, source, index or [], as_json)
        return
    raise typer.Exit(predict_pictures(images or [], model, show=show, as_json=as_json))


@app.command(epilog="Example: inkproof read page.jpg --format csv --annotate seen")
def read(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Pages or forms.")],
    model: Annotated[
        Path | None, typer.Option(help="A model's file; without it the shipped one.")
    ] = None,
    form: Annotated[
        PageFormat, typer.Option("--format", help="Text: the digits line by line.")
    ] = PageFormat.text,
    annotate: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write each photo there with what was read drawn in; of files that are there, "
            "only earlier ones of these are replaced.",
        ),
    ] = None,
) -> None:
    """Read all digits of photographed pages, in reading order.

    Pages must be upright, tilted by at most 15 degrees; a photo's EXIF orientation is heeded.
    """
    from inkproof.photo.commands import read_photos

    raise typer.Exit(read_photos(photos, model, form=form.value, annotate=annotate))


@app.command(epilog="Example: inkproof serve --port 8080 --runs runs")
def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes any free one.")] = 8000,
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A folder of runs to choose models from; without it runs, if any."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="A model's file to begin with; without it the one in the package."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name of this machine; may be repeated."),
    ] = None,
    max_bytes: Annotated[int, typer.Option(help="Bytes of one request.")] = 10_000_000,
    max_pixels: Annotated[int, typer.Option(help="Pixels of one picture.")] = 40_000_000,
    max_requests: Annotated[
        int, typer.Option(help="Requests worked on or waiting; more get a 503.")
    ] = 64,
    max_large: Annotated[
        int, typer.Option(help="Pictures over a quarter megapixel worked on at once.")
    ] = 2,
    max_waiting_bytes: Annotated[
        int, typer.Option(help="Bytes of all requests together that have come in or wait.")
    ] = 100_000_000,
    max_connections: Annotated[int, typer.Option(help="Open connections.")] = 500,
    max_upload_seconds: Annotated[
        float, typer.Option(help="Until a header, and then its body, has come in.")
    ] = 20.0,
    max_request_seconds: Annotated[
        float, typer.Option(help="From a request's last byte to its answer.")
    ] = 20.0,
) -> None:
    """Open a page to draw digits on, and a JSON API that reads pictures.

    Ctrl-C stops it. The API is described at /docs.
    """
    from inkproof.errors import ConfigurationError
    from inkproof.serve import Limits, run_server
    from inkproof.serve.names import is_local

    try:
        limits = Limits(
            body_bytes=max_bytes,
            pixels=max_pixels,
            concurrency=max_requests,
            large=max_large,
            waiting_bytes=max_waiting_bytes,
            connections=max_connections,
            upload_seconds=max_upload_seconds,
            request_seconds=max_request_seconds,
        )
    except ConfigurationError as error:
        field, rest = str(error).removeprefix("limits.").split(" ", 1)
        raise ConfigurationError(f"{_LIMIT_OPTIONS[field]} {rest}") from error
    if not is_local(host):
        typer.echo(
            f"inkproof: warning: {_safe(host)} is not this machine alone: whoever reaches it over "
            "the network can use this server, without a password",
            err=True,
        )

    def ready(address: str) -> None:
        typer.echo(f"Inkproof reads digits at {address} (Ctrl-C stops it)")
        sys.stdout.flush()

    run_server(
        host=host,
        port=port,
        runs=runs or (Path("runs") if Path("runs").is_dir() else None),
        model=model,
        limits=limits,
        names=tuple(allow_host or ()),
        on_ready=ready,
    )
    typer.echo("inkproof: stopped", err=True)


@app.command(epilog="Example: inkproof export model.safetensors --to onnx")
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model's file.")],
    to: Annotated[ModelFormat, typer.Option(help="Whose file to write.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The file; without it a new one, of the model's name."),
    ] = None,
) -> None:
    """Write a model as a file of Keras or ONNX.

    What reads it gives it raw images, 0 to 255: scaling is inside.
    """
    import inkproof
    from inkproof.interop import write_keras, write_onnx

    write = write_keras if to is ModelFormat.keras else write_onnx
    target = out or _beside(model, f".{to}")
    write(inkproof.Model.load(model), target)
    typer.echo(f"Model: {target}")


@app.command(
    name="import",
    epilog="Example: inkproof import mine.keras --scale 1/255 --input-shape 28,28,1",
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .keras file of Keras 3.")],
    scale: Annotated[
        str | None,
        typer.Option(
            help="What pixels were multiplied by before they came to Keras, such as 1/255; where "
            "the file does not begin with a Rescaling layer."
        ),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="H,W,C", help="The images' shape, where the file takes them flattened."
        ),
    ] = None,
    offset: Annotated[
        float, typer.Option(help="What was added to pixels after --scale, such as -1.")
    ] = 0.0,
    class_names: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="The classes' names, in their order.")
    ] = None,
    from_logits: Annotated[
        bool,
        typer.Option("--from-logits", help="The last layer gives logits: put a softmax behind it."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="The model's file; without it a new one, FILE with .safetensors."),
    ] = None,
) -> None:
    """Make a model of a Keras file: evaluate, predict, read and serve then take it."""
    from inkproof.interop import read_keras

    try:
        above, _, below = (scale or "").partition("/")
        factor = None if scale is None else float(above) / float(below or 1)
    except (OverflowError, ValueError, ZeroDivisionError):
        _usage(f"--scale must be a number such as 1/255, got {_safe(str(scale), 40)}")
    try:
        shape = None if input_shape is None else [int(axis) for axis in input_shape.split(",")]
    except ValueError:
        _usage(f"--input-shape must be as 28,28,1, got {_safe(str(input_shape), 40)}")
    target = out or _beside(file, ".safetensors")
    model = read_keras(
        file,
        scale=factor,
        offset=offset,
        input_shape=shape,
        class_names=None if class_names is None else class_names.split(","),
        from_logits=from_logits,
    )
    model.save(target)
    typer.echo(model.summary())
    typer.echo(f"Model: {target}")


@app.command(name="bench", epilog="Example: inkproof bench --threads 1")
def bench_command(
    threads: Annotated[
        int | None, typer.Option(min=1, help="That share the work; as many as training takes.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="For each network.")] = 3.0,
    as_json: JsonOption = False,
) -> None:
    """Measure what this machine's cores can do at best, and how near the engine comes to that."""
    from inkproof.bench import bench

    result = bench(threads=threads, seconds=seconds)
    if as_json:
        _print_json(result)
    else:
        _print_bench(result)


@app.command(epilog="Example: inkproof report runs/notebook --format jekyll --out site")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder.")],
    form: Annotated[Format, typer.Option("--format", help="The report's form.")] = Format.html,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write; without it the study's folder."),
    ] = None,
) -> None:
    """Write the report of a finished study again, or in another form."""
    for path in _write_report(folder, (form.value,), out or folder):
        typer.echo(path)


# --- Printing -------------------------------------------------------------------------------------


def _print_study(result: StudyResult) -> None:
    rows = [
        [
            model.name,
            f"{model.parameters:,}",
            _percent(model.test_accuracy),
            _loss(model.test_loss),
            _lowest(model),
            f"{_median([s for run in model.runs for s in run.epoch_seconds]):.2f}",
        ]
        for model in result.models
    ]
    typer.echo()
    _print_table(
        ["model", "parameters", "test accuracy", "test loss", "lowest val_loss", "s/epoch"], rows
    )
    count = len(result.models[0].runs)
    typer.echo(
        f"(mean of {count} run{'s' * (count > 1)}, 95 % interval over {_varied(result)}; "
        f"epoch of the lowest val_loss: median, range)\n"
    )
    if result.ranking is not None:
        typer.echo(result.ranking.explanation)
    for comparison in result.comparisons:
        typer.echo(comparison.explanation)
        if comparison.outlook:
            typer.echo(comparison.outlook)
    for model in result.models:
        further = [part.findings for part in (model.trust, model.robustness) if part is not None]
        for finding in [*model.findings, *itertools.chain.from_iterable(further)]:
            if finding.status == "failed":
                typer.echo(f"{finding.code} {finding.explanation}")


def _varied(result: StudyResult) -> str:
    """Say what varies in the table's intervals."""
    over = {e.over for model in result.models for e in (model.test_accuracy, model.test_loss)}
    if over == {"runs"}:
        return "runs"
    if len(result.models[0].runs) == 1:
        return "images"
    return (
        "images, since the runs tied" if over == {"images"} else "runs, over images where they tied"
    )


def _print_bench(result: BenchResult) -> None:
    from inkproof.bench import EPOCH_IMAGES

    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    typer.echo(f"{_safe(result.processor)}, engine variant {result.isa}, {threads}\n")
    _print_table(
        ["at best", "1 thread", threads],
        [
            *(
                [
                    f"multiply-adds in {best.precision}, GFLOP/s",
                    f"{best.one / 1e9:.0f}",
                    f"{best.all / 1e9:.0f}",
                ]
                for best in result.multiply_adds
            ),
            *(
                [f"{what} {_size(rate.size)} each, GB/s", f"{one / 1e9:.0f}", f"{all_ / 1e9:.0f}"]
                for rate in result.memory
                for what, one, all_ in (
                    ("reading", rate.read, rate.read_all),
                    ("updating", rate.update, rate.update_all),
                )
            ),
        ],
    )
    for network in result.networks:
        typer.echo(
            f"\n{network.name}, batches of {network.batch_size}, {network.precision}:\n"
            f"{network.epoch_seconds:.2f} s an epoch of {EPOCH_IMAGES:,} images, "
            f"{network.of_ceiling:.0%} of the multiply-adds"
        )
        _print_table(
            ["layer", "of the time", "GFLOP/s", "of the best"],
            [
                [
                    layer.name,
                    f"{layer.of_time:.0%}",
                    f"{layer.rate / 1e9:.0f}" if layer.rate else "",
                    f"{layer.of_ceiling:.0%}" if layer.rate else "",
                ]
                for layer in network.layers
            ]
            + [["the rest", f"{1 - sum(layer.of_time for layer in network.layers):.0%}", "", ""]],
        )
    typer.echo(
        "\nForward, backward and update count together, factors of zero too: on MNIST the first "
        "dense layer\nleaves zeros out, and may come out above what the cores can do. A first "
        "convolution does the maximum\npooling after it, and has its time."
    )
    if len(result.multiply_adds) > 1:
        typer.echo(
            "Shares of a network in bfloat16 are of that rate, though some of its products stay "
            "float32."
        )


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _lowest(model: ModelResult) -> str:
    epochs = []
    for run in model.runs:
        losses = run.history.get("val_loss") or []
        if losses:
            epochs.append(losses.index(min(losses)) + 1)
    if not epochs:
        return "-"
    middle = f"epoch {_median(epochs):g}"
    return middle if min(epochs) == max(epochs) else f"{middle} ({min(epochs)}-{max(epochs)})"


def _median(values: Sequence[float]) -> float:
    import statistics

    return statistics.median(values)


def _percent(estimate: Estimate) -> str:
    value = f"{estimate.value * 100:.2f} %"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{estimate.low * 100:.2f}, {estimate.high * 100:.2f}]"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _loss(estimate: Estimate) -> str:
    value = f"{estimate.value:.4f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print columns: the first one flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def _safe(text: str, most: int = 300) -> str:
    from inkproof.wording import printable

    return printable(text, most)


def _print_json(value: object) -> None:
    from pydantic_core import to_jsonable_python

    def plain(other: object) -> object:
        import numpy as np

        return other.tolist() if isinstance(other, np.ndarray | np.generic) else str(other)

    # JSON has no word for what is not finite but null.
    content = to_jsonable_python(value, fallback=plain, inf_nan_mode="null")
    typer.echo(json.dumps(content, indent=1, allow_nan=False))


# --- Helpers --------------------------------------------------------------------------------------


def _study(name: str | None) -> Study:
    from inkproof.study_file import BUILT_IN, Study

    if name is None or (name in BUILT_IN and not Path(name).exists()):
        return Study.built_in(name or BUILT_IN[0])
    return Study.from_file(name)


def _write_report(folder: Path, forms: tuple[str, ...], out: Path) -> list[Path]:
    from inkproof.report import write_report
    from inkproof.study import load_study_result

    loaded = load_study_result(folder)
    _tell_of_source(loaded.dataset)
    return write_report(
        loaded.result,
        out,
        dataset=loaded.dataset,
        probabilities=loaded.probabilities,
        formats=forms,
    )


def _write_reports(folder: Path) -> Path:
    """Write the page, and beside it, in a process of its own, the text: both draw for long.

    Gives the page.
    """
    import subprocess

    arguments = ["report", "--format", "markdown", "--", str(folder)]
    with subprocess.Popen(  # noqa: S603 - this program itself
        [sys.executable, "-P", "-m", "inkproof", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as other:
        try:
            (page,) = _write_report(folder, ("html",), folder)
            is_written = other.wait() == 0
        except BaseException:
            other.kill()
            raise
    if not is_written:  # it told nobody why
        _write_report(folder, ("markdown",), folder)
    return page


def _predict_raw(
    images: list[Path], model: Path | None, source: str | None, index: list[int], as_json: bool
) -> None:
    """Give the class probabilities of images that are as the model takes them."""
    import numpy as np

    import inkproof
    from inkproof.data import read_image
    from inkproof.errors import ConfigurationError
    from inkproof.photo.reader import SHIPPED

    model = model or SHIPPED
    found = inkproof.Model.load(model)
    height, width, channels = _image_shape(found, model)
    named: list[tuple[str, Any]] = []
    for path in images:
        pixels = read_image(path, channels=channels)
        if pixels.shape != (height, width, channels):
            raise ConfigurationError(
                f"{path}: expected an image of {width}x{height} pixels, as the model takes, "
                f"got {pixels.shape[1]}x{pixels.shape[0]}"
            )
        named.append((str(path), pixels))
    if source is not None:
        dataset = inkproof.load(source)
        test = dataset.test
        _check_images(found, model, test)  # the classes' names are shown, both
        _tell_of_source(dataset)
        for row in index:
            if not 0 <= row < len(test):
                raise ConfigurationError(f"--index must be 0 to {len(test) - 1}, got {row}")
            target = test.class_names[test.labels[row]]
            named.append((f"test image {row} (target {target})", test.images[row]))
    probabilities = found.predict(np.stack([pixels for _, pixels in named]))
    records = []
    for (name, _), p in zip(named, probabilities, strict=True):
        first, *others = np.argsort(-p, kind="stable")[:2]  # one class alone has no runner-up
        second = others[0] if others else None
        records.append(
            {
                "image": name,
                "predicted": found.class_names[first],
                "probability": float(p[first]),
                "runner_up": None if second is None else found.class_names[second],
                "probabilities": [float(value) for value in p],
            }
        )
        if not as_json:
            line = f"{_safe(name, 200)}: {_safe(found.class_names[first])} ({p[first]:.2%})"
            if second is not None:
                line += f", then {_safe(found.class_names[second])} ({p[second]:.2%})"
            typer.echo(line)
    if as_json:
        _print_json(records)


def _image_shape(model: Model, path: Path) -> tuple[int, int, int]:
    from inkproof.errors import ModelError

    if len(model.input_shape) != 3:
        raise ModelError(f"{path}: this model takes vectors, not images")
    height, width, channels = model.input_shape
    return height, width, channels


def _check_fits(model: Model, path: Path, split: Split) -> None:
    """Refuse a split of other images or other classes than the model's."""
    from inkproof.errors import ModelError
    from inkproof.evaluation import check_class_names
    from inkproof.wording import classes_counted

    _check_images(model, path, split)
    if split.num_classes != model.num_classes:
        raise ModelError(
            f"{path}: the model tells {classes_counted(model.num_classes)} apart, "
            f"the data have {split.num_classes}"
        )
    check_class_names(model.class_names, split.class_names, where=str(path))


def _check_images(model: Model, path: Path, split: Split) -> None:
    from inkproof.errors import ModelError

    if _image_shape(model, path) != split.image_shape:
        raise ModelError(
            f"{path}: the model takes images {model.input_shape}, the data have {split.image_shape}"
        )


def _tell_of_source(dataset: Dataset) -> None:
    """Say on stderr what was not read, and which test images are not the source's own."""
    from inkproof.data import check_source

    for finding in check_source(dataset):
        if finding.status == "failed":
            typer.echo(f"inkproof: {finding.code} {_safe(finding.explanation)}", err=True)


def _beside(path: Path, ending: str) -> Path:
    """Give the name with another ending; a file that somebody has must be named to be replaced."""
    from inkproof.errors import StorageError

    target = path.with_suffix(ending)
    if target.exists():
        raise StorageError(f"{target}: is there already; replace it with --out {target}")
    return target


def _interrupted(kept: Path, but: str = "") -> NoReturn:
    from inkproof.errors import Cancelled

    if not kept.exists():
        raise Cancelled("interrupted")
    raise Cancelled(
        f"interrupted; finished epochs are kept in {kept}, the same command {but}goes on"
    )


def _usage(message: str) -> NoReturn:
    typer.echo(f"inkproof: usage: {message}; see --help", err=True)
    raise typer.Exit(2)
