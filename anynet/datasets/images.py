"""Folders of PNG and JPEG images, a folder for each class."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets.dataset import Dataset
from anynet.datasets.reading import machine_memory, reading
from anynet.errors import DataError, listed, unknown

SUFFIXES = (".png", ".jpg", ".jpeg")
PARTS = {"train", "test"}
# Names that file managers leave behind.
_OTHERS = ("thumbs.db", "desktop.ini")
# Pillow's modes of one byte a colour.
_GREY = {"1", "L", "LA"}
_COLOURS = {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"}


def read_images(
    folder: str | Path,
    classes: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Dataset:
    """Read a folder of images: a folder for each class, in two folders ``train`` and ``test`` or in none.

    A folder without folders gives x alone. Images are turned as their EXIF says; transparency is left aside.

    Parameters
    ----------
    folder : str or Path
        With files named ``.png``, ``.jpg`` or ``.jpeg``.
    classes : sequence of str, optional
        The class names, if they are already known; by default the names of the folders, sorted.
    size : tuple of int, optional
        The height and width that every image is scaled to; by default all have one size.
    channels : int, optional
        1 for grey, 3 for red, green and blue; by default 3 if one image has colours.

    Returns
    -------
    Dataset
        x of uint8, of shape (images, height, width) or (images, height, width, 3).

    Raises
    ------
    DataError
        When Pillow is not installed, sizes differ, a file is damaged or no image, or a folder is no class.
    """
    folder = Path(folder)
    parts = {part: folder / part for part in sorted(PARTS)} if set(_folders(folder)) == PARTS else {"train": folder}
    named = {part: _named(path) for part, path in parts.items()}
    if classes is None and any(label for label, _ in named["train"]):
        classes = sorted({label for label, _ in named["train"] if label})
    files = [path for part in named.values() for _, path in part]
    shape = _shape(files, size, channels)
    images = {part: _read([path for _, path in found], shape) for part, found in named.items()}
    labels = {part: _labels(found, classes, folder) for part, found in named.items()}
    name = folder.resolve().name or "images"
    known = None if labels["train"] is None or classes is None else tuple(classes)
    return Dataset(name, images["train"], labels["train"], images.get("test"), labels.get("test"), classes=known)


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from None


def _named(folder: Path) -> list[tuple[str | None, Path]]:
    """The images of a folder in the order of their names, each with the name of its class, if there are classes."""
    classes = _folders(folder)
    alone: list[tuple[str | None, Path]] = [(None, path) for path in _images(folder)]
    if classes and alone:
        raise DataError(f"{folder} holds folders, which are classes, and beside them images: {alone[0][1].name}")
    of_classes: list[tuple[str | None, Path]] = [(name, path) for name in classes for path in _images(folder / name)]
    found = of_classes or alone
    for name in classes:
        if inside := _folders(folder / name):
            words = "is a class, but holds a folder"
            raise DataError(f"{folder / name} {words}, {inside[0]}: put the folders of all classes beside each other")
        if not any(label == name for label, _ in found):
            raise DataError(f"{folder / name} holds no images")
    if not found:
        raise DataError(f"{folder} holds no images, and no folders of images, named {listed(SUFFIXES)}")
    return found


def _images(folder: Path) -> list[Path]:
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir())
    names = [name for name in names if not name.startswith(".") and name.lower() not in _OTHERS]
    if others := [name for name in names if not name.lower().endswith(SUFFIXES)]:
        raise DataError(f"{folder} holds {others[0]}, which is not named as an image: {listed(SUFFIXES)}")
    return [folder / name for name in names]


def _shape(files: list[Path], size: tuple[int, int] | None, channels: int | None) -> tuple[int, ...]:
    """The shape of every image, from the headers alone; a DataError if they do not fit each other, or into memory."""
    sizes: dict[tuple[int, int], Path] = {}
    modes: set[str] = set()
    for path in files if size is None or channels is None else ():
        with _opened(path) as image:
            sizes.setdefault(_size(image), path)
            modes.add(image.mode)
    if size is None and len(sizes) > 1:
        ((height, width), first), ((other_height, other_width), other), *_ = sizes.items()
        raise DataError(
            f"{first} has {height} x {width} pixels, but {other} {other_height} x {other_width}; scale all to one size "
            "with --image-size"
        )
    colours = channels == 3 if channels else not modes <= _GREY
    shape = (*(size or next(iter(sizes))), *((3,) if colours else ()))
    if (needed := len(files) * math.prod(shape)) > machine_memory():
        raise DataError(f"{len(files):,} images of shape {shape} take {needed:,} bytes, more than this machine has")
    return shape


def _size(image: Any) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) >= 5
    return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from PIL import Image
    except ImportError:
        raise DataError("images are read by Pillow, which is not installed: pip install 'anynet[images]'") from None
    with reading(path, "PNG or JPEG image") as file, Image.open(file, formats=("PNG", "JPEG")) as image:
        if image.mode not in _GREY | _COLOURS:
            raise DataError(f"{path} has pixels of mode {image.mode}, but must have one byte for each colour")
        yield image


def _read(paths: list[Path], shape: tuple[int, ...]) -> Any:
    from PIL import ImageOps

    height, width, *colours = shape
    x = np.empty((len(paths), *shape), np.uint8)
    for i, path in enumerate(paths):
        with _opened(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB" if colours else "L")
            x[i] = np.asarray(upright if upright.size == (width, height) else upright.resize((width, height)))
    return x


def _labels(named: list[tuple[str | None, Path]], classes: Sequence[str] | None, folder: Path) -> Any:
    numbers = {name: number for number, name in enumerate(classes or ())}
    labels = [label for label, _ in named if label is not None]
    if others := {*labels} - {*numbers}:
        raise DataError(f"{folder}: {unknown('class', min(others), numbers)}")
    return np.asarray([numbers[label] for label in labels]) if labels else None
