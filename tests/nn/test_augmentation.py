"""Images are changed at random in training: what each layer makes of them, how often, and where the same."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from anynet import Model, nn
from anynet.errors import ShapeError, UsageError
from anynet.nn import Context, RandomCrop, RandomErasing, RandomHorizontalFlip, RandomTranslation

HEIGHT, WIDTH = 4, 5
# No number is twice in an image, and none is 0.
IMAGES = np.random.default_rng(0).permuted(np.tile(np.arange(1.0, HEIGHT * WIDTH * 2 + 1), (7, 1)), axis=1)
IMAGES = IMAGES.reshape(7, HEIGHT, WIDTH, 2)
MANY = np.broadcast_to(IMAGES[0], (6000, *IMAGES.shape[1:]))
TRAINING = Context(training=True, seed=3, step=np.asarray(5, np.int32))


def windows(image: Any, size: tuple[int, int], padding: tuple[int, int]) -> list[Any]:
    """All windows of an image with zeros around it."""
    wide = np.pad(image, [(n, n) for n in padding] + [(0, 0)])
    places = product(*(range(n - length + 1) for n, length in zip(wide.shape, size, strict=False)))
    return [wide[top : top + size[0], left : left + size[1]] for top, left in places]


def flips(image: Any) -> list[Any]:
    return [image, image[:, ::-1]]


def erasures(image: Any, size: tuple[int, int]) -> list[Any]:
    """The image, and the image with a rectangle of zeros at each place."""
    found = [image]
    for top, left in product(range(HEIGHT - size[0] + 1), range(WIDTH - size[1] + 1)):
        found.append(image.copy())
        found[-1][top : top + size[0], left : left + size[1]] = 0
    return found


# Each layer, all that it may make of an image, and how often it is to make each.
CASES: dict[str, tuple[Any, Any, Any]] = {
    "translation": (RandomTranslation((1, 2)), lambda x: windows(x, (HEIGHT, WIDTH), (1, 2)), [1 / 15] * 15),
    "translation along one axis": (
        RandomTranslation((0, 3)),
        lambda x: windows(x, (HEIGHT, WIDTH), (0, 3)),
        [1 / 7] * 7,
    ),
    "crop": (RandomCrop((2, 3)), lambda x: windows(x, (2, 3), (0, 0)), [1 / 9] * 9),
    "crop with padding": (RandomCrop(4, 1), lambda x: windows(x, (4, 4), (1, 1)), [1 / 12] * 12),
    "flip": (RandomHorizontalFlip(), flips, [0.5, 0.5]),
    "seldom a flip": (RandomHorizontalFlip(0.1), flips, [0.9, 0.1]),
    "always a flip": (RandomHorizontalFlip(1), flips, [0, 1]),
    "never a flip": (RandomHorizontalFlip(0.0), flips, [1, 0]),
    "erasing": (RandomErasing((2, 3)), lambda x: erasures(x, (2, 3)), [0.5, *[0.5 / 9] * 9]),
    "always erasing": (RandomErasing((4, 1), p=1.0), lambda x: erasures(x, (4, 1)), [0, *[1 / 5] * 5]),
}


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_image_becomes_one_of_those_that_it_may_and_each_as_often_as_it_should(name: str) -> None:
    layer, all_of, shares = CASES[name]
    y = layer.forward(np, {}, MANY, TRAINING)[0]
    same = np.stack([(y == one).all(axis=(1, 2, 3)) for one in all_of(MANY[0])], axis=1)
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    np.testing.assert_allclose(same.mean(axis=0), shares, atol=0.025)


def test_each_image_has_a_draw_of_its_own_and_another_in_the_next_step_and_layer(name: str) -> None:
    layer, all_of, shares = CASES[name]
    contexts = (TRAINING, Context(training=True, seed=3, step=np.asarray(6, np.int32)), TRAINING.at(1))
    drawn = []
    for context in contexts:
        y = layer.forward(np, {}, MANY, context)[0]
        drawn.append(np.stack([(y == one).all(axis=(1, 2, 3)) for one in all_of(MANY[0])]).argmax(axis=0))
    by_chance = sum(share * share for share in shares)
    for one, other in ((drawn[0], drawn[1]), (drawn[0], drawn[2]), (drawn[0][1:], drawn[0][:-1])):
        assert (one == other).mean() == pytest.approx(by_chance, abs=0.03)


def test_every_library_draws_the_same(library: Any, name: str) -> None:
    layer = CASES[name][0]
    step = library.given(np.asarray(5, np.int32))

    def forward(x: Any, step: Any) -> Any:
        return layer.forward(library.xp, {}, x, Context(training=True, seed=3, step=step))[0]

    x = IMAGES.astype(library.dtype)
    library.assert_equal(library.call(forward, library.given(x), step), layer.forward(np, {}, x, TRAINING)[0], 0)


def test_a_part_of_a_batch_becomes_what_it_becomes_in_the_whole_batch(name: str) -> None:
    layer = CASES[name][0]
    part = Context(training=True, seed=3, step=TRAINING.step, ranks=2, first_row=3)
    whole = layer.forward(np, {}, IMAGES, TRAINING)[0]
    np.testing.assert_array_equal(layer.forward(np, {}, IMAGES[3:], part)[0], whole[3:])


def test_after_training_images_stay_as_they_are_and_crops_are_of_the_middle(library: Any, name: str) -> None:
    layer = CASES[name][0]
    y = library.call(lambda x: layer.forward(library.xp, {}, x, Context())[0], library.given(IMAGES))
    expected = IMAGES
    if isinstance(layer, RandomCrop):
        around = np.pad(IMAGES, [(0, 0), *((n, n) for n in layer.padding), (0, 0)])
        top, left = ((n - length) // 2 for n, length in zip(around.shape[1:], layer.size, strict=False))
        expected = around[:, top : top + layer.size[0], left : left + layer.size[1]]
    np.testing.assert_array_equal(library.backend.to_numpy(y), expected)


@pytest.mark.filterwarnings("error")
def test_every_backend_trains_with_them_to_the_same_numbers(backend_name: str) -> None:
    layers = (nn.Rescale(0.05), RandomTranslation(1), RandomHorizontalFlip(), RandomErasing(2), RandomCrop(3))

    def losses(backend: str) -> list[float]:
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2))
        model = Model(network, nn.CrossEntropyLoss(), nn.SGD(0.1), backend=backend, dtype="float64")
        x, y = np.concatenate([IMAGES] * 5), np.arange(35) % 2
        return [record["loss"] for record in model.fit(x, y, epochs=3, batch_size=8)]

    np.testing.assert_allclose(losses(backend_name), losses("numpy"), rtol=1e-10)


WRONG: list[tuple[Any, Any, str]] = [
    (UsageError, lambda: RandomTranslation(0.1), "RandomTranslation: pixels must be a whole number, 0 or more, or 2"),
    (UsageError, lambda: RandomTranslation((1, 2, 3)), "pixels must be a whole number, 0 or more, or 2 of them"),
    (UsageError, lambda: RandomHorizontalFlip(1.5), "RandomHorizontalFlip: p must be from 0 to 1, but is 1.5"),
    (UsageError, lambda: RandomErasing(0), "RandomErasing: size must be a whole number, 1 or more"),
    (UsageError, lambda: RandomErasing(2, p=-0.1), "RandomErasing: p must be from 0 to 1"),
    (UsageError, lambda: RandomCrop(3, padding=-1), "RandomCrop: padding must be a whole number, 0 or more"),
    (ShapeError, lambda: RandomErasing(5).parameters((4, 8, 1)), r"size \(5, 5\), but each image has \(4, 8\)"),
    (ShapeError, lambda: RandomCrop(7, 1).parameters((4, 8, 1)), r"but each image with its padding has \(6, 10\)"),
    (
        ShapeError,
        lambda: RandomTranslation(2).parameters((784,)),
        r"needs samples of shape \(height, width, channels\)",
    ),
]


@pytest.mark.parametrize(("error", "make", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_arguments_and_shapes_are_refused(error: Any, make: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
