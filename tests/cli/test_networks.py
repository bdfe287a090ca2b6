"""`--network`, `--optimizer` and the like: any network on images, tables and sequences."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from cli.commands import anynet, assert_one_clear_line, output_of
from PIL import Image

from anynet import Model, nn
from anynet.cli.optimizer import OPTIMIZERS

SHORT = ("--backend", BACKEND, "--epochs", "2", "--out", "run", "--overwrite")
CONV = 'Conv2d(4, 3, padding="same"), ReLU(), GlobalAvgPool()'


def save_images(shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (60, *shape)).astype(dtype)
    np.savez("data.npz", x=x, y=generator.integers(0, 2, 60))


def layers(run: str = "run") -> list[Any]:
    return list(Model.load(Path(run, "model.safetensors"), backend=BACKEND).network.layers)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_images_get_an_axis_for_their_channel_if_the_network_wants_one(dtype: Any) -> None:
    save_images((6, 5), dtype)
    assert anynet("train", "data.npz", "--network", CONV, *SHORT) == 0
    reshape, rescale, *inner = layers()
    assert reshape == nn.Reshape((6, 5, 1))
    assert rescale.scale == 1 / 255 if dtype == np.uint8 else len(rescale.scale) == 1
    assert nn.Sequential(*inner) == nn.Sequential(
        nn.Conv2d(4, 3, padding="same"), nn.ReLU(), nn.GlobalAvgPool(), nn.Linear(2)
    )
    assert anynet("predict", "run", "data.npz") == 0


def test_sequences_are_standardised_by_feature() -> None:
    save_images((6, 5), np.float32)
    assert anynet("train", "data.npz", "--network", "GRU(4)", *SHORT) == 0
    rescale, *inner = layers()
    assert (len(rescale.scale), inner) == (5, [nn.GRU(4), nn.Linear(2)])


def test_padding_is_known_by_the_numbers_in_the_file_not_by_those_that_are_standardised() -> None:
    x = np.random.default_rng(0).normal(5, 1, (60, 6, 2))
    x[::2, 3:] = 0
    np.savez("data.npz", x=x, y=np.arange(60) % 2)
    assert anynet("train", "data.npz", "--network", "Masking(GRU(4)), ReLU()", *SHORT) == 0
    masking, *rest = layers()
    assert isinstance(masking, nn.Masking)
    assert isinstance(masking[0], nn.Rescale)
    assert [*masking[1:], *rest] == [nn.GRU(4), nn.ReLU(), nn.Linear(2)]


def test_indices_stay_as_they_are() -> None:
    np.savez("data.npz", x=np.random.default_rng(0).integers(0, 9, (60, 4)), y=np.arange(60) % 2)
    assert anynet("train", "data.npz", "--network", "Embedding(9, 4), Flatten()", *SHORT) == 0
    assert layers() == [nn.Embedding(9, 4), nn.Flatten(), nn.Linear(2)]


def test_a_text_is_kept_and_runs_again_to_the_same_weights() -> None:
    save_images((6, 5))
    options = ("--optimizer", "adamw", "--schedule", "cosine", "--dropout", "0.2", "--weight-decay", "0.1")
    assert anynet("train", "data.npz", "--network", CONV, *options, *SHORT) == 0
    kept = tomllib.loads(Path("run/config.toml").read_text())
    assert (kept["network"], kept["optimizer"], kept["lr"], kept["dropout"]) == (CONV, "adamw", 0.001, 0.2)
    assert nn.Dropout(0.2) in layers()
    assert Model.load("run/model.safetensors", backend=BACKEND).optimizer == nn.AdamW(
        nn.CosineDecay(0.001, 2), weight_decay=0.1
    )
    assert anynet("train", "--config", "run/config.toml", "--out", "again") == 0
    assert Path("run/model.safetensors").read_bytes() == Path("again/model.safetensors").read_bytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, capsys: Any) -> None:
    options = ("--optimizer", optimizer, "--lr", "0.02", "--schedule", "one_cycle", "--batch-size", "16")
    result = output_of(capsys, "train", "circles", *options, *SHORT, "--epochs", "20", "--json")
    assert json.loads(result)["validation_accuracy"] > 0.7


def test_a_folder_of_images_is_trained_on_measured_and_predicted(capsys: Any) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for number, name in enumerate(("dark", "light")):
            Path(f"pets/{part}/{name}").mkdir(parents=True)
            for i in range(20):
                pixels = generator.integers(100 * number, 100 * number + 100, (8 + i % 2, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(f"pets/{part}/{name}/{i}.png")
    assert anynet("train", "pets", "--network", CONV, *SHORT) == 3
    assert_one_clear_line(capsys, "scale all to one size with --image-size")
    options = ("--image-size", "8", "--network", CONV, *SHORT, "--epochs", "20", "--batch-size", "8")
    assert json.loads(output_of(capsys, "train", "pets", *options, "--json"))["test_accuracy"] > 0.9
    assert json.loads(output_of(capsys, "evaluate", "run", "pets", "--json"))["accuracy"] > 0.9
    assert output_of(capsys, "predict", "run", "pets/test/dark").splitlines()[1].startswith("dark,")


def test_images_are_no_rows_of_a_table(capsys: Any) -> None:
    Path("pets").mkdir()
    Image.new("L", (6, 5)).save("pets/1.png")
    save_images((30,))
    assert anynet("train", "data.npz", *SHORT) == 0
    capsys.readouterr()
    assert anynet("predict", "run", "pets") == 3
    assert "the network takes samples of shape (30,), but x has samples of shape (5, 6)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--network", "Conv2d(4, 3), Liner(3)"), "unknown layer 'Liner': did you mean 'Linear'"),
        (("--network", "Conv2d(4, 3)"), r"it ends in samples of shape (4, 3, 4), but the output layer takes rows"),
        (("--network", "Conv1d(4, 9), Flatten()"), "the network does not fit samples of shape (6, 5)"),
        (
            ("--network", "Upsample(1000000000), Flatten()"),
            "make hidden layers (--hidden, --network) or batches smaller",
        ),
        (("--network", "cnn", "--hidden", "9"), "hidden is an option of --network mlp"),
        (("--optimizer", "adma"), "unknown optimizer 'adma': did you mean 'adam'"),
        (("--optimizer", "adam", "--momentum", "0.5"), "momentum is an option of --optimizer sgd"),
        (("--schedule", "cosin"), "unknown schedule 'cosin': did you mean 'cosine'"),
        (("--dropout", "1"), "dropout must be a share from 0 to below 1"),
        (("--image-size", "8,8,3"), "image_size must be a size, or a height and a width"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_run_begins(options: tuple[str, ...], words: str, capsys: Any) -> None:
    save_images((6, 5))
    assert anynet("train", "data.npz", *options, *SHORT[:-1]) == 2
    assert_one_clear_line(capsys, words)
    assert not Path("run").exists()


def test_channels_that_come_first_are_noticed(capsys: Any) -> None:
    save_images((3, 6, 5))
    assert anynet("train", "data.npz", "--network", CONV, *SHORT) == 0
    assert "look like images with their channels first" in capsys.readouterr().err
