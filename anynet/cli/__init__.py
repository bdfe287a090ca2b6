"""The command line: ``anynet COMMAND``, each command in a module of its name."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from anynet import __version__
from anynet.cli.config import defaults
from anynet.errors import AnynetError, DataError, UsageError, did_you_mean, unknown

FAILURE = 1
USAGE_ERROR = 2
DATA_ERROR = 3
INTERRUPTED = 130
# An error ends with the first of these that it is one of.
_EXIT_CODES: dict[type[BaseException], int] = {
    UsageError: USAGE_ERROR,
    DataError: DATA_ERROR,
    AnynetError: FAILURE,
    OSError: FAILURE,
    MemoryError: FAILURE,
    KeyboardInterrupt: INTERRUPTED,
}
_EXIT_CODES_HELP = (
    "Exit codes: 0 done, 1 failed (diverged, could not write, or a check did not hold), 2 wrong usage, 3 wrong data, "
    "130 interrupted."
)

_DATA_HELP = (
    "mnist or circles, which come with anynet; table.csv with a header; data.npz holding x and y (and x_test, y_test); "
    "x.npy,y.npy, where a pattern as 'x-*.npy' stands for many; or images,labels in the IDX format, plain or gzipped"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what goes wrong, and every warning, is one line on stderr."""
    _open_what_is_closed()
    parsed = _parse(sys.argv[1:] if arguments is None else arguments)
    command = importlib.import_module(f"anynet.cli.{parsed.command}")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda text, *_, **__: _say(parsed.command, f"warning: {text}")
            code = int(command.run(parsed))
            sys.stdout.flush()
            return code
    except tuple(_EXIT_CODES) as error:
        # Whoever has stopped reading wants to read no more.
        if not isinstance(error, BrokenPipeError):
            _say(parsed.command, _in_words(error))
        _give_up_what_is_unwritten()
        return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))


def _open_what_is_closed() -> None:
    """Somebody may have closed stdin, stdout or stderr, or a terminal may not be able to show a class name."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # This takes the number that is free, so that no other file is taken for it.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")


def _give_up_what_is_unwritten() -> None:
    """Where stdout takes no more, keep Python from trying once again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(command: str, what: str) -> None:
    print(f"anynet {command}: {' '.join(what.split())}", file=sys.stderr)


def _in_words(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and not isinstance(error, AnynetError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    return str(error)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser, commands = _parsers()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        parser.error(unknown("command", arguments[0], commands))
    parsed, left = parser.parse_known_args(arguments)
    if left:
        command = commands[parsed.command]
        name = left[0].partition("=")[0]
        options = [option for action in command._actions for option in action.option_strings]
        is_option = name.startswith("-")
        command.error(
            f"unknown option {name!r}{did_you_mean(name, options)}" if is_option else f"one argument too many: {name!r}"
        )
    return parsed


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the command line, and that of each command."""
    parser = _Parser(
        prog="anynet",
        description="Train neural networks on NumPy, CuPy, PyTorch or JAX with one implementation of the maths.",
        epilog=f"Start with `anynet train mnist`. `anynet COMMAND --help` explains each command. {_EXIT_CODES_HELP}",
    )
    parser.add_argument("--version", action="version", version=f"anynet {__version__}")
    commands: Any = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_backends(commands)
    _add_bench(commands)
    _add_parity(commands)
    _add_gradcheck(commands)
    return parser, commands.choices


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network on data, and keep it in a run folder",
        description="Train a fully connected network and keep it in a run folder: config.toml, env.json, "
        "metrics.jsonl, model.safetensors and, where matplotlib is installed, curves.png.",
        epilog=f"Without options, `anynet train` trains 784-128-64-10 on mnist. {_EXIT_CODES_HELP}",
        argument_default=argparse.SUPPRESS,
    )
    default = defaults()
    _add_network(parser)
    _add_backend(parser)
    parser.add_argument(
        "--precision",
        metavar="P",
        help="how matrices of float32 are multiplied: float32 or, with CuPy, tf32, which rounds to 10 bits first "
        "(default float32)",
    )
    parser.add_argument("--epochs", metavar="N", type=int, help=f"times through the data (default {default['epochs']})")
    parser.add_argument(
        "--lr",
        metavar="X",
        type=float,
        help="learning rate of SGD at the start; it falls in a straight line to 0 at the end of the run "
        f"(default {default['lr']})",
    )
    parser.add_argument("--momentum", metavar="X", type=float, help=f"of SGD (default {default['momentum']})")
    parser.add_argument("--seed", metavar="N", type=int, help="of weights, order and split (default 0)")
    parser.add_argument(
        "--validation",
        metavar="F",
        type=float,
        help="share of the training data held out and measured after each epoch (default: 0 where the data bring "
        "a test part, which is then measured, else 0.2)",
    )
    parser.add_argument(
        "--patience",
        metavar="N",
        type=int,
        help="stop when the loss of the part that is measured has not improved for N epochs, and keep the best weights",
    )
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
        "--debug", action="store_true", default=False, help="look after each step whether the loss is finite"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", default=False, help="write what TensorBoard shows into the run folder too"
    )
    parser.add_argument("--out", metavar="DIR", help="the run folder (default runs/DATA-N, the first N that is free)")
    parser.add_argument("--overwrite", action="store_true", help="replace a run that is already in DIR")
    parser.add_argument("--config", metavar="FILE", help="a run's config.toml, to run it again; options given here win")
    _add_json(parser)


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="?", metavar="DATA", help=f"{_DATA_HELP} (default mnist)")
    parser.add_argument("--target", metavar="COLUMN", help="the CSV file's column to predict: class names or numbers")
    parser.add_argument("--hidden", metavar="SIZES", type=_sizes, help="sizes of the hidden layers (default 128,64)")
    parser.add_argument("--activation", metavar="NAME", help="relu, leaky_relu, sigmoid or tanh (default relu)")
    size = defaults()["batch_size"]
    parser.add_argument("--batch-size", metavar="N", type=int, help=f"samples a step (default {size})")
    parser.add_argument("--dtype", metavar="D", help="float32 or float64 (default float32)")
    parser.add_argument(
        "--max-classes",
        metavar="N",
        type=int,
        help="how many classes the target may name; more whole numbers are values to predict, more names an error "
        "(default 1000, but 20 different numbers in a CSV file)",
    )
    _add_max_bytes(parser)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure a trained network on data",
        description="Print the loss, and the accuracy or R squared, of a trained network on data, or on their test "
        "part if they have one.",
        epilog=_EXIT_CODES_HELP,
    )
    _add_run(parser)
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    parser.add_argument("--target", metavar="COLUMN", help="of a CSV file (default: the column it was trained on)")
    _add_max_bytes(parser)
    _add_backend(parser, default="auto")
    _add_json(parser)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="print what a trained network says of data",
        description="Print one line of CSV for each sample: the class and its probability, or the predicted values.",
        epilog=_EXIT_CODES_HELP,
    )
    _add_run(parser)
    parser.add_argument("data", metavar="FILE", help="as DATA of `anynet train`; targets in it are left aside")
    _add_max_bytes(parser)
    _add_backend(parser, default="auto")
    _add_json(parser)


def _add_backends(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "backends",
        help="list which backends can be used here, or why not",
        description="List each backend with its library's version and devices, or why it cannot be used and what "
        "to install.",
    )
    _add_json(parser)


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="find out which backend trains a network fastest here",
        description="Train a network on each backend that can be used here, in turns, and say which is fastest on "
        "this machine for this network and these data.",
        epilog=_EXIT_CODES_HELP,
        argument_default=argparse.SUPPRESS,
    )
    _add_network(parser)
    parser.add_argument("--backends", metavar="A,B,...", default="", help="default: all that can be used here")
    parser.add_argument("--seconds", metavar="S", type=float, default=10.0, help="how long about (default %(default)s)")
    _add_json(parser)


def _add_parity(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "parity",
        help="check that backends agree with each other",
        description="For each layer, loss and optimizer, the largest difference of output, gradient and update from "
        "the first backend named, and of a whole training curve, in float64 and float32.",
        epilog=_EXIT_CODES_HELP,
    )
    parser.add_argument("--backends", metavar="A,B,...", help="default: numpy and every other that can be used here")
    _add_json(parser)


def _add_gradcheck(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "gradcheck",
        help="check every gradient against numerical differences",
        description="Compare the gradients of every layer and loss with central differences in float64.",
        epilog=_EXIT_CODES_HELP,
    )
    _add_backend(parser, default="auto")
    _add_json(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", help="a run folder, or a model.safetensors")


def _add_max_bytes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-bytes",
        metavar="N",
        type=int,
        help="how many bytes a compressed file may unpack to (default: 10 times its own, but at least 256 MiB)",
    )


def _add_backend(parser: argparse.ArgumentParser, **default: str) -> None:
    parser.add_argument(
        "--backend",
        metavar="B",
        help="numpy, cupy, torch, jax or strict, with a device as in cupy:1; or auto, which is CuPy where a CUDA GPU "
        "can be used and else NumPy (default auto)",
        **default,  # type: ignore[arg-type]
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", default=False, help="print the result as JSON on stdout")


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",") if size.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers such as 128,64, but got {text!r}") from None
