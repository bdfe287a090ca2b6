"""Options that several commands share."""

from __future__ import annotations

import argparse

from anynet.cli.config import FIELDS, option_of

NETWORK = (
    "target",
    "network",
    "hidden",
    "activation",
    "dropout",
    "augment",
    "batch_size",
    "dtype",
    "max_classes",
    "max_bytes",
)


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add options of `TrainConfig` to a parser; if it suppresses defaults, only options that are given are set."""
    for name in names:
        option, default = option_of(name), FIELDS[name].default
        is_told = default is not None
        text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=option.metavar,
            type=option.parse,
            default=default if parser.argument_default is None else parser.argument_default,
            help=f"{option.help} (default {text})" if is_told else option.help,
        )


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="?", metavar="DATA", help=option_of("data").help)


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", help="a run folder, or a model.safetensors")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", default=False, help="print the result as JSON on stdout")
