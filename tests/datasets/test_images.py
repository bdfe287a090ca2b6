"""Folders of images: what is read, in which order and form, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anynet.datasets import load
from anynet.errors import DataError

pytestmark = pytest.mark.host


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, pixels: Any, **options: Any) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(name, **options)


def test_a_folder_is_a_class_and_images_are_in_the_order_of_their_names() -> None:
    for number, name in enumerate(("pets/dog/b.png", "pets/dog/a.png", "pets/cat/c.PNG")):
        save(name, np.full((2, 3), number))
    Path("pets/dog/.DS_Store").touch()
    Path("pets/cat/Thumbs.db").touch()
    data = load("pets")
    assert (data.name, data.classes, data.y.tolist()) == ("pets", ("cat", "dog"), [0, 1, 1])
    assert data.x.shape == (3, 2, 3)
    assert data.x.dtype == np.uint8
    assert data.x[:, 0, 0].tolist() == [2, 1, 0]


def test_train_and_test_are_parts_with_the_same_classes() -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            save(f"pets/{part}/{name}/1.png", np.zeros((2, 2)))
    data = load("pets")
    assert (len(data.x), len(data.x_test), data.y_test.tolist(), data.classes) == (2, 2, [0, 1], ("cat", "dog"))
    save("pets/test/cow/1.png", np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"unknown class 'cow'.*known: cat, dog"):
        load("pets")


def test_one_image_in_colours_makes_all_so() -> None:
    save("some/1.png", [[7, 7]])
    assert load("some").x.shape == (1, 1, 2)
    save("some/2.png", [[[1, 2, 3], [4, 5, 6]]])
    data = load("some")
    assert data.x.tolist() == [[[[7, 7, 7], [7, 7, 7]]], [[[1, 2, 3], [4, 5, 6]]]]
    assert data.y is None
    assert load("some", channels=1).x.shape == (2, 1, 2)


def test_images_are_scaled_to_a_size_and_else_must_have_one() -> None:
    save("some/1.png", np.full((4, 6), 9))
    save("some/2.jpg", np.full((5, 6), 9))
    with pytest.raises(DataError, match=r"1.png has 4 x 6 pixels, but some/2.jpg 5 x 6; .*--image-size"):
        load("some")
    assert load("some", image_size=(2, 3)).x.tolist() == [[[9] * 3] * 2] * 2


def test_a_photo_is_turned_as_its_camera_was() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save("some/1.png", [[1, 2, 3]], exif=exif)
    assert load("some").x.tolist() == [[[1], [2], [3]]]


def test_folders_inside_a_class_are_not_left_out_unsaid() -> None:
    save("pets/cat/1.png", [[1]])
    save("pets/cat/more/2.png", [[1]])
    with pytest.raises(DataError, match=r"pets/cat is a class, but holds a folder, more: .* beside each other"):
        load("pets")


def test_what_is_no_folder_of_images_is_refused_by_name() -> None:
    Path("some/cat").mkdir(parents=True)
    with pytest.raises(DataError, match="some/cat holds no images"):
        load("some")
    save("some/cat/1.png", [[1]])
    save("some/2.png", [[1]])
    with pytest.raises(DataError, match=r"some holds folders, which are classes, and beside them images: 2.png"):
        load("some")
    Path("some/2.png").rename("some/cat/notes.txt")
    with pytest.raises(DataError, match=r"some/cat holds notes.txt, which is not named as an image: .png"):
        load("some")
    Path("some/cat/notes.txt").rename("some/cat/2.png")
    Path("some/cat/2.png").write_bytes(Path("some/cat/1.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"some/cat/2.png is damaged or no PNG or JPEG image"):
        load("some")
    Image.fromarray(np.asarray([[4000]], np.uint16)).save("some/cat/2.png")
    with pytest.raises(DataError, match=r"2.png has pixels of mode I"):
        load("some")
    Path("empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        load("empty")


def test_an_image_that_claims_more_than_the_machine_has_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    save("some/1.png", np.zeros((100, 100)))
    monkeypatch.setattr("anynet.datasets.images.machine_memory", lambda: 5000)
    with pytest.raises(DataError, match=r"1 images of shape .100, 100. take 10,000 bytes, more than this machine has"):
        load("some")


def test_without_pillow_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    save("some/1.png", [[1]])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"pip install 'anynet\[images\]'"):
        load("some")
