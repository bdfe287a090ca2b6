"""anynet train"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from anynet.backends import select
from anynet.cli import EXIT_CODES_HELP, INTERRUPTED
from anynet.cli.backends import say_backend
from anynet.cli.config import FIELDS, TrainConfig, resolve
from anynet.cli.data import data_of, split
from anynet.cli.json_output import as_json
from anynet.cli.launcher import communicator, own_device
from anynet.cli.network import check_split, imprecise_columns, in_words, layers_of, network_for
from anynet.cli.optimizer import learning_rate, optimizer_for
from anynet.cli.options import add_data, add_json, add_options
from anynet.cli.run_folder import CHECKPOINTS, CONFIG, MODEL, TENSORBOARD, RunFolder
from anynet.cli.task import Task, measure, task_of
from anynet.datasets import Dataset
from anynet.errors import UsageError
from anynet.model import Checkpoints, Model, atomic_files
from anynet.model.checkpoints import latest
from anynet.nn import Sequential
from anynet.training import Callback, EarlyStopping, Progress, TensorBoard

Part = tuple[Any, Any] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train a network and keep it in a run folder: config.toml, env.json, metrics.jsonl, "
        "model.safetensors and, where matplotlib is installed, curves.png."
    )
    parser.epilog = f"Without options, `anynet train` trains 784-128-64-10 on mnist. {EXIT_CODES_HELP}"
    parser.argument_default = argparse.SUPPRESS
    add_data(parser)
    add_options(parser, *(name for name in FIELDS if name != "data"))
    parser.add_argument(
        "--checkpoint-seconds",
        metavar="S",
        type=float,
        default=60.0,
        help="how often to write what a run that was stopped can go on from (default %(default)s)",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run that was stopped, to the result that it would have had; takes no other options but "
        "--backend, --checkpoint-seconds, --debug and --json",
    )
    parser.add_argument(
        "--debug", action="store_true", default=False, help="check after each step that the loss is finite"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", default=False, help="write what TensorBoard shows into the run folder too"
    )
    parser.add_argument("--out", metavar="DIR", help="the run folder (default runs/DATA-N, the first N that is free)")
    parser.add_argument("--overwrite", action="store_true", help="replace a run that is already in DIR")
    parser.add_argument("--config", metavar="FILE", help="a run's config.toml, to run it again; options given here win")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.tensorboard:
        TensorBoard.library()
    if not arguments.checkpoint_seconds >= 0:
        raise UsageError(f"checkpoint_seconds must be 0 or more, but is {arguments.checkpoint_seconds:g}")
    comm = communicator()
    resumed = Path(arguments.resume) if "resume" in arguments else None
    config = _config_of(resumed, arguments) if resumed else resolve(_or_mnist(vars(arguments)))
    # What is wrong with these options is said before data are read.
    layers_of(config)
    optimizer_for(config, steps=1000)
    config = dataclasses.replace(config, lr=learning_rate(config), backend=say_backend(config.backend))
    backend = select(own_device(config.backend), config.dtype, config.precision)
    path = Path(arguments.out) if "out" in arguments else resumed
    # An error about the folder comes before data are read.
    with comm.together():
        is_written = comm.rank == 0 and path
        folder = RunFolder(path, "", config, "overwrite" in arguments, bool(resumed)) if is_written else None
    data = data_of(config)
    task = task_of(data, config.target, config.max_classes)
    test = None if data.y_test is None else (data.x_test, data.y_test)
    data, held_out = split(data, _validation(config, test), config.seed)
    network = network_for(data.x, task, config)
    for x, y in filter(None, (held_out, test)):
        check_split(network, task, data.x, x, y)
    _say_what_is_trained(network, task, data, held_out, test, config)
    steps = config.epochs * math.ceil(len(data.x) / (config.batch_size * config.accumulate))
    model = Model(network, task.loss, optimizer_for(config, steps), backend=backend, seed=config.seed, comm=comm)
    model.metadata = dict(task._asdict())
    watched = held_out or test
    if config.patience and not watched:
        raise UsageError("patience needs a part of the data to measure: give --validation a share above 0")
    resume = _checkpoint_of(resumed) if resumed else None
    with ExitStack() as stack:
        with comm.together():
            if comm.rank == 0:
                folder = folder or RunFolder(None, data.name, config)
                folder.begin()
                stack.callback(folder.abandon)
        interrupted = _fit(model, task, data, watched, config, folder, resume, arguments)
        with comm.together():
            if folder:
                folder.finish(model, interrupted)
    result = _result(model, task, held_out, test, config, folder)
    print(as_json(result) if arguments.json else _summary(result, interrupted))
    return INTERRUPTED if interrupted else 0


def _config_of(resumed: Path, arguments: argparse.Namespace) -> TrainConfig:
    """The config of a run to resume. Only options that change nothing but rounding may be given again."""
    comm = communicator()
    with comm.together():
        if comm.rank == 0:
            with atomic_files.writing(resumed):
                atomic_files.restore(resumed)
    if not (resumed / CONFIG).is_file():
        raise UsageError(f"{resumed} is no run folder: it has no {CONFIG}")
    if (resumed / MODEL).is_file() and not (resumed / CHECKPOINTS).is_dir():
        raise UsageError(f"{resumed} is finished: there is nothing to go on with")
    allowed = {"backend", "resume", "json", "command", "checkpoint_seconds", "debug", "tensorboard"}
    if others := [name for name in vars(arguments) if name not in allowed]:
        option = others[0].replace("_", "-")
        raise UsageError(f"a run that is resumed has its settings; leave out {option}")
    return resolve({"config": str(resumed / CONFIG), **vars(arguments)})


def _or_mnist(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with mnist as the data if they name neither data nor a target nor a config."""
    return options if {"data", "target", "config"} & options.keys() else {"data": "mnist", **options}


def _validation(config: TrainConfig, test: Part) -> float:
    if config.validation is not None:
        return config.validation
    return 0.2 if test is None else 0.0


def _say_what_is_trained(
    network: Sequential, task: Task, data: Dataset, held_out: Part, test: Part, config: TrainConfig
) -> None:
    parts = [f"{len(data.x)} samples to train on"]
    parts += [f"{len(part[0])} {name}" for part, name in ((held_out, "held out"), (test, "to test on")) if part]
    kind = (
        f"{len(task.classes)} classes" if task.classes else f"{task.outputs} value{'s' * (task.outputs > 1)} to predict"
    )
    print(f"network {in_words(network, config, data.x.shape[1:])}; {kind}; {', '.join(parts)}", file=sys.stderr)
    if config.dtype == "float32" and (blurred := imprecise_columns(network, task)):
        columns = ", ".join(blurred[:5])
        print(
            f"float32 blurs columns that vary little for their size ({columns}); try --dtype float64", file=sys.stderr
        )


def _fit(
    model: Model,
    task: Task,
    data: Dataset,
    watched: Part,
    config: TrainConfig,
    folder: RunFolder | None,
    resume: Path | None,
    arguments: argparse.Namespace,
) -> bool:
    """Train, and return whether Ctrl-C has stopped it; the model then keeps what it has learnt so far.

    Only rank 0 has a folder, and writes.
    """
    validation = (watched[0], task.encode(watched[1])) if watched else None
    targets = task.encode(data.y)
    callbacks: list[Callback] = [EarlyStopping(patience=config.patience)] if config.patience else []
    checkpoints = None
    if folder:
        callbacks += [folder, Progress()]
        callbacks += [TensorBoard(folder.writing / TENSORBOARD)] if arguments.tensorboard else []
        checkpoints = Checkpoints(folder.checkpoints, every_seconds=arguments.checkpoint_seconds)
    try:
        model.fit(
            data.x,
            targets,
            epochs=config.epochs,
            batch_size=config.batch_size,
            accumulate=config.accumulate,
            validation_data=validation,
            callbacks=callbacks,
            checkpoints=checkpoints,
            resume=resume,
            debug=arguments.debug,
        )
    except KeyboardInterrupt:
        if model.input_shape is None:
            raise
        return True
    return False


def _checkpoint_of(run: Path) -> Path | None:
    """The checkpoint to resume from; None, with a message, if the run stopped before it wrote one."""
    found = latest(run / CHECKPOINTS)
    if found is None:
        print(f"{run} has no checkpoint yet, so it begins anew", file=sys.stderr)
    return found


def _result(
    model: Model, task: Task, held_out: Part, test: Part, config: TrainConfig, folder: RunFolder | None
) -> dict[str, Any]:
    run = str(folder.path) if folder else ""
    result: dict[str, Any] = {"run": run, "backend": config.backend, "epochs": model.epoch}
    for name, part in (("validation", held_out), ("test", test)):
        if part:
            result |= {f"{name}_{key}": value for key, value in measure(model, task, *part).items()}
    if folder and folder.history:
        seconds = sum(record["seconds"] for record in folder.history)
        samples = sum(record["seconds"] * record["samples_per_second"] for record in folder.history)
        if seconds > 0:
            result["samples_per_second"] = samples / seconds
    return result


def _summary(result: dict[str, Any], interrupted: bool) -> str:
    lines = (
        [
            f"interrupted after {result['epochs']} whole epochs; what was learnt is kept; "
            f"go on with anynet train --resume {result['run']}"
        ]
        if interrupted
        else []
    )
    for key, value in result.items():
        if key.startswith(("validation_", "test_")):
            lines.append(f"{key.replace('_', ' ')}: {value:.4f}")
    if "samples_per_second" in result:
        lines.append(f"speed: {result['samples_per_second']:,.0f} samples a second")
    lines.append(f"run: {result['run']} (model in {MODEL})")
    return "\n".join(lines)
