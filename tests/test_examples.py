"""The lessons print the numbers that were worked out on paper, on every array library that can be used here."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from anynet.backends import BACKENDS

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))

Run = Callable[..., str]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    # Dataclasses look their module up.
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run an example in an empty folder; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> str:
        load(name).main(arguments)
        return capsys.readouterr().out

    return run


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def shown(printed: str, name: str) -> list[str]:
    """What follows `name` and at least two spaces at the start of a line."""
    return re.findall(rf"^{re.escape(name)}  +(.+)$", printed, re.MULTILINE)


def test_the_forward_pass_by_hand_gives_the_numbers_on_paper(run: Run, backend_name: str) -> None:
    printed = run("forward_by_hand", "--backend", backend_name)
    assert printed.splitlines()[0] == "z1: 0.5, z2: 1.8, Prediction: 1.536, MSE: 0.215296"


def test_one_update_of_the_forward_pass_by_hand_lowers_the_loss(run: Run, backend_name: str) -> None:
    last = run("forward_by_hand", "--backend", backend_name).splitlines()[-1]
    after, before = re.fullmatch(r"Prediction: 1\.657577, MSE: ([\d.]+), which was ([\d.]+)", last).groups()
    assert float(after) < float(before) == 0.215296


def test_the_sigmoid_neuron_gives_the_numbers_on_paper(run: Run, backend_name: str) -> None:
    first = run("sigmoid_neuron", "--backend", backend_name).splitlines()[0]
    assert first == "z: 0.96, sigmoid(z): 0.7231218, squared error: 0.0766615"


def test_the_sigmoid_neuron_moves_with_its_inputs(run: Run) -> None:
    arguments = ("--inputs", "0,1,2", "--weights=-1,2,3", "--bias", "-8", "--target", "0.5")
    assert run("sigmoid_neuron", *arguments).startswith("z: 0, sigmoid(z): 0.5000000, squared error: 0.0000000")


def test_the_sigmoid_neuron_wants_as_many_weights_as_inputs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("sigmoid_neuron", "--inputs", "1,2,3")
    assert "3 inputs need as many weights, but there are 2" in capsys.readouterr().err


def test_the_sigmoid_neuron_has_the_gradients_that_differences_give(run: Run, backend_name: str) -> None:
    printed = run("sigmoid_neuron", "--backend", backend_name)
    rows = [list(map(float, shown(printed, name)[0].split())) for name in ("w1", "w2", "b")]
    assert all(difference < 1e-9 for _, _, difference in rows)
    assert [analytic for analytic, _, _ in rows] == [-0.05543563, -0.08869700, -0.11087125]
    assert float(re.search(r"worst relative error (\S+)", printed).group(1)) < 1e-7


def test_naive_sigmoid_and_logarithm_overflow_where_ours_do_not(run: Run, backend_name: str) -> None:
    printed = run("sigmoid_neuron", "--backend", backend_name)
    table = [line.split() for line in printed.partition("BCEWithLogitsLoss\n")[2].splitlines()]
    by_input = {(int(z), int(target)): list(map(float, numbers)) for z, target, *numbers in table}
    inf = float("inf")
    assert by_input[-710, 1][0] == inf
    assert by_input[37, 0][2] == inf
    assert by_input[37, 1][2] != by_input[37, 1][2]
    assert all(abs(number) < inf for numbers in by_input.values() for number in numbers[3:])
    assert by_input[1000, 0][3:] == [1.0, 34.54, 1000.0]
    assert by_input[-1000, 1][3:] == [0.0, 34.54, 1000.0]


def test_training_by_hand_gives_every_number_on_paper(run: Run, backend_name: str) -> None:
    printed = run("train_by_hand", "--backend", backend_name)
    for name, on_paper in {
        "pre-activations z = W_in x + b_in": ["[6, 7, -1]"],
        "h = ReLU(z)": ["[6, 7, 0]"],
        "prediction y = W_out h + b_out": ["21"],
        "loss = (y - target)^2 / 2": ["162"],
        "dL/dy": ["18"],
        "dW_out": ["[108, 126, 0]"],
        "db_out": ["18"],
        "dz before the ReLU has its say": ["[18, 36, 54]"],
        "dW_in": ["[[18, 36], [36, 72], [0, 0]]"],
        "db_in": ["[18, 36, 0]"],
        "W_in": ["[[0.82, 1.64], [-3.36, 3.28], [1, -1]]"],
        "b_in": ["[0.82, 1.64, 0]"],
        "W_out": ["[-0.08, 0.74, 3]"],
        "b_out": ["0.82"],
    }.items():
        assert shown(printed, name) == on_paper, name
    assert "Neuron 3 puts out 0, so it gets no gradient" in printed


def test_training_by_hand_gives_the_ten_epochs_on_paper(run: Run, backend_name: str) -> None:
    printed = run("train_by_hand", "--backend", backend_name)
    rows = re.findall(r"^ +(\d)  +(\d+\.\d{4})  +(\d+\.\d{4})$", printed, re.MULTILINE)
    assert [int(epoch) for epoch, _, _ in rows] == list(range(10))
    losses = "162.0000 0.5080 0.1182 0.0282 0.0068 0.0017 0.0004 0.0001 0.0000 0.0000"
    predictions = "21.0000 4.0080 3.4862 3.2376 3.1167 3.0575 3.0283 3.0140 3.0069 3.0034"
    assert [loss for _, loss, _ in rows] == losses.split()
    assert [prediction for _, _, prediction in rows] == predictions.split()


def test_linear_layers_without_activation_collapse_into_one(run: Run, backend_name: str) -> None:
    printed = run("train_by_hand", "--backend", backend_name)
    assert shown(printed, "W_new") == ["[-2, 7]"]
    assert shown(printed, "b_new") == ["6"]
    assert shown(printed, "outputs of the two layers") == shown(printed, "outputs of W_new x + b_new") != []
    assert shown(printed, "outputs with the ReLU between") != shown(printed, "outputs of the two layers")


@pytest.mark.host
def test_the_circles_reach_what_four_splits_measured_and_mini_batches_get_further(run: Run, backend_name: str) -> None:
    printed = run("two_circles", "--backend", backend_name, "--out", "picture.png")
    assert re.findall(r"^epoch +(\d+)  loss 0\.\d{4}$", printed, re.MULTILINE) == [str(100 * i) for i in range(1, 11)]
    result = r"training loss (0\.\d{3}), test accuracy (0\.\d{3})"
    splits = [tuple(map(float, pair)) for pair in re.findall(rf"split \d, seed 42:  {result}", printed)]
    assert [loss for loss, _ in splits] == pytest.approx([0.541, 0.551, 0.539, 0.539], abs=0.0015)
    assert all(0.74 <= accuracy <= 0.77 for _, accuracy in splits)
    further = [tuple(map(float, pair)) for pair in re.findall(rf"epochs, batch .*  {result}", printed)]
    assert len(further) == 3
    assert all(loss < 0.45 and accuracy > 0.77 for loss, accuracy in further)
    assert is_picture(Path("picture.png"))


def accuracy_on_mnist(run: Run, backend: str, batch_size: int) -> float:
    printed = run("mnist", "--backend", backend, "--batch-size", str(batch_size), "--out", "picture.png")
    assert is_picture(Path("picture.png"))
    return float(re.search(r"^test accuracy: (0\.\d{4})$", printed, re.MULTILINE).group(1))


@pytest.mark.host
def test_mnist_reaches_the_measured_accuracy(run: Run, backend_name: str) -> None:
    assert accuracy_on_mnist(run, backend_name, 128) == pytest.approx(0.958, abs=0.006)


@pytest.mark.host
@pytest.mark.parametrize(("batch_size", "measured"), [(32, 0.974), (64, 0.969)])
def test_mnist_gets_further_in_smaller_batches(run: Run, batch_size: int, measured: float) -> None:
    assert accuracy_on_mnist(run, "numpy", batch_size) == pytest.approx(measured, abs=0.006)


@pytest.mark.host
def test_mnist_lets_the_reader_see_the_epochs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    load("mnist").main(["--epochs", "2", "--batch-size", "1024", "--out", str(tmp_path / "picture.png")])
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epoch 1/2: loss ")
    assert second.startswith("epoch 2/2: loss ")


def test_parity_holds_every_backend_to_the_first(run: Run, backend_name: str) -> None:
    printed = run("parity", "--backend", backend_name, "--epochs", "10", "--out", "picture.png")
    compared = rf"^<backend (\w+) on .*, largest difference from {backend_name} (\S+)$"
    differences = re.findall(compared, printed, re.MULTILINE)
    missing = re.findall(r"^missing: backend '(\w+)' cannot be used here: .+$", printed, re.MULTILINE)
    assert {backend_name, *missing, *(name for name, _ in differences)} == {*BACKENDS}
    assert all(float(difference) < 1e-9 for _, difference in differences)
    assert is_picture(Path("picture.png"))


def measured(printed: str, name: str) -> float:
    """The number after `name` and a colon."""
    return float(re.search(rf"{name}: ([\d.]+)", printed).group(1))


def test_few_images_teach_the_cnn_more_than_it_could_guess(run: Run, backend_name: str) -> None:
    few = ("--epochs", "1", "--samples", "3000", "--out", "picture.png")
    assert measured(run("cnn_on_mnist", "--backend", backend_name, *few), "test accuracy") == pytest.approx(
        0.83, abs=0.05
    )
    assert is_picture(Path("picture.png"))


@pytest.mark.host
def test_the_transformer_adds_numbers_that_it_has_never_seen(run: Run) -> None:
    printed = run("transformer_adds_numbers", "--out", "picture.png")
    assert measured(printed, "right sums, of 2000 never seen") > 0.95
    assert is_picture(Path("picture.png"))


# A pretended GPU takes ten minutes for it, since each row of the attention has a block of 256 threads.
@pytest.mark.backends("numpy", "torch", "jax", "strict")
def test_few_sums_teach_the_transformer_the_first_digit(run: Run, backend_name: str) -> None:
    few = ("--epochs", "1", "--samples", "3000", "--out", "picture.png")
    printed = run("transformer_adds_numbers", "--backend", backend_name, *few)
    assert float(re.search(r"thousands ([\d.]+)", printed).group(1)) == pytest.approx(0.72, abs=0.06)


@pytest.mark.host
def test_the_forecast_is_almost_as_good_as_the_noise_lets_it_be(run: Run) -> None:
    printed = run("forecast", "--out", "picture.png")
    errors = {name: float(shown(printed, f"  {name}")[0]) for name in ("LSTM", "least squares", "as two days ago")}
    assert errors == pytest.approx({"LSTM": 0.11, "least squares": 0.31, "as two days ago": 0.66}, abs=0.015)
    assert is_picture(Path("picture.png"))


# JAX takes most of a minute to compile forty steps of time, and a pretended GPU three to run them.
@pytest.mark.backends("numpy", "torch", "strict")
def test_two_epochs_of_the_forecast_are_the_same_on_every_library(run: Run, backend_name: str) -> None:
    printed = run("forecast", "--backend", backend_name, "--weeks", "12", "--epochs", "2")
    assert float(shown(printed, "  LSTM")[0]) == pytest.approx(0.616, abs=0.005)


def test_the_custom_layer_fits_what_others_cannot(run: Run, backend_name: str) -> None:
    printed = run("custom_layer", "--backend", backend_name, "--epochs", "20", "--out", "picture.png")
    assert float(re.search(r"worst relative error (\S+)", printed).group(1)) < 1e-7
    line, tanh, bumps = (float(shown(printed, f"  {name}")[0].split(",")[0]) for name in ("line", "tanh", "bumps"))
    assert bumps < min(line, tanh) / 2
    assert is_picture(Path("picture.png"))


# A pretended GPU takes minutes for it.
@pytest.mark.backends("numpy", "torch", "jax", "strict")
def test_the_autoencoder_draws_digits_of_two_numbers(run: Run, backend_name: str) -> None:
    few = ("--epochs", "4", "--samples", "6000", "--out", "picture.png")
    printed = run("autoencoder", "--backend", backend_name, *few)
    distances = [float(shown(printed, f"  {name}")[0]) for name in ("autoencoder", "the mean image, always")]
    assert distances == pytest.approx([0.243, 0.26], abs=0.005)
    assert is_picture(Path("picture.png"))


@pytest.mark.reads_values
@pytest.mark.backends("numpy", "torch")
def test_the_grid_search_finds_the_same_network_whatever_library_the_digits_are_in(run: Run, backend_name: str) -> None:
    printed = run("grid_search", "--backend", backend_name, "--out", "picture.png")
    assert "best: {'dropout': 0.2, 'hidden_layer_sizes': (64, 64)}; test accuracy: 0.962" in printed
    assert is_picture(Path("picture.png"))


DRAWN = {
    "two_circles": 2,
    "mnist": 3,
    "parity": 2,
    "grid_search": 2,
    "cnn_on_mnist": 4,
    "transformer_adds_numbers": 2,
    "forecast": 2,
}


@pytest.mark.parametrize(("name", "drawn"), DRAWN.items())
def test_without_matplotlib_one_line_says_what_is_missing(
    name: str, drawn: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    load(name).draw(str(tmp_path / "picture.png"), *[None] * drawn)
    assert capsys.readouterr().out == "The picture needs matplotlib: pip install matplotlib\n"
    assert not (tmp_path / "picture.png").exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_example_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = load(name)
    with pytest.raises(SystemExit) as exit:
        module.main(["--help"])
    printed = capsys.readouterr().out
    assert exit.value.code == 0
    assert module.__doc__.splitlines()[0] in printed
    assert "--backend" in printed
