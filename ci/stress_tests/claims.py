"""Small files that claim to hold much: each must be refused, or be of use, before memory and time are spent on it."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import signed
from kinds import Kind

GIB = 1 << 30


def claiming_kinds(root: Path) -> list[Kind]:
    """The files, each with what reads it."""
    x, y = np.zeros((60, 4)), np.arange(60) % 3
    np.save(root / "y.npy", y)
    (root / "labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 60]) + bytes(60))
    np.savez(root / "small.npz", x=x, y=y)

    def kind(name: str, content: bytes, read: Callable[[Path], kinds.Use]) -> Kind:
        path = root / name
        path.write_bytes(content)
        return Kind(name.replace("-", " "), path, read, share=1)

    def idx(path: Path) -> kinds.Use:
        return kinds.data(f"{path},{root / 'labels.idx'}")

    def npz(path: Path) -> kinds.Use:
        return kinds.data(str(path))

    images = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (60, 4, 4))
    many = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (3 * GIB // 16, 4, 4))
    rows = "".join(f"{i}.5,{i},name-{i}\n" for i in range(300_000))
    keys = "".join(f"{'a.' * 50}k{i} = 1\n" for i in range(20_000))
    return [
        kind("holds-3-GiB.npz", _npz({"x": (3 * GIB // 32, 4), "y": (3 * GIB // 32,)}), npz),
        kind("holds-3-GiB-that-nobody-wants.npz", _npz({"x": (60, 4), "y": (60,), "z": (3 * GIB // 8,)}), npz),
        kind("tells-of-3-GiB.npz", _npz({"x": (3 * GIB // 32, 4), "y": (60,)}, size=1 << 10), npz),
        kind("tells-of-3-GiB.npy", _npy((3 * GIB // 32, 4)), lambda path: kinds.data(f"{path},{root / 'y.npy'}")),
        kind("holds-3-GiB.gz", _gzipped(many, 3 * GIB), idx),
        kind("holds-3-GiB-too-much.gz", _gzipped(images, 3 * GIB), idx),
        kind("tells-of-3-GiB.idx", many, idx),
        kind("300,000-class-names.csv", f"a,b,kind\n{rows}".encode(), _trained),
        kind("20,000-dotted-keys.toml", keys.encode(), kinds.config),
        kind("a-key-of-20,000-dots.toml", f"{'a.' * 20_000}b = 1\n".encode(), kinds.config),
        kind("deep-lists.toml", f"hidden = {'[' * 5000}{']' * 5000}\n".encode(), kinds.config),
        kind("deep-tables.toml", f"data = {'{a = ' * 500}1{'}' * 500}\n".encode(), kinds.config),
        kind("a-number-of-5000-digits.toml", f"seed = {'9' * 5000}\n".encode(), kinds.config),
        kind("dates.toml", b'data = "mnist"\nseed = 2026-11-24T00:00:00Z\nepochs = 12:30:00\n', kinds.config),
        kind(
            "a-batch-of-1e20.toml", b'data = "circles"\nbackend = "numpy"\nbatch_size = 100000000000000000000\n', _run
        ),
        *_models(root),
    ]


def _models(root: Path) -> Iterator[Kind]:
    """Models without weights, whose samples would be huge."""
    layers: dict[str, list[dict[str, Any]]] = {
        "nothing": [],
        "ReLU": [{"is": "ReLU"}],
        "Dropout": [{"is": "Dropout", "p": 0.5}],
        "Flatten": [{"is": "Flatten"}],
        "BatchNorm": [{"is": "BatchNorm", "momentum": 0.1, "eps": 1e-5}],
        "LayerNorm": [{"is": "LayerNorm", "eps": 1e-5}],
        "Rescale": [{"is": "Rescale", "scale": 2.0, "shift": 0.0}],
        "Linear": [{"is": "Linear", "out_features": 3}],
    }
    description = {
        "format": 1,
        "loss": {"is": "MSELoss"},
        "optimizer": {"is": "Adam"},
        "dtype": "float32",
        "seed": 0,
        "epoch": 0,
        "step": 0,
        "metadata": {},
    }
    for name, parts in layers.items():
        for shape in ([300_000_000], [17_321, 17_321], [2**40]):
            path = root / f"{name}-of-{'x'.join(map(str, shape))}.safetensors"
            signed.write(
                path, {}, {**description, "network": {"is": "Sequential", "layers": parts}, "input_shape": shape}
            )
            yield Kind(path.stem.replace("-", " "), path, kinds.model, share=1)


def _trained(path: Path) -> kinds.Use:
    kinds.command("train", str(path), "--target", "kind", "--epochs", "1", "--out", str(path.with_suffix("")))
    return lambda: None


def _run(path: Path) -> kinds.Use:
    kinds.command("train", "--config", str(path), "--epochs", "1", "--out", str(path.with_suffix("")))
    return lambda: None


def _npy(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _npz(shapes: dict[str, tuple[int, ...]], size: int | None = None) -> bytes:
    """Compressed arrays of zeros, as large as they say or, with `size`, of so many bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, shape in shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(_npy(shape))
                left = int(np.prod(shape)) * 8 if size is None else size
                while left > 0:
                    member.write(bytes(min(left, 1 << 24)))
                    left -= 1 << 24
    return file.getvalue()


def _gzipped(header: bytes, zeros: int) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    pieces = [compressor.compress(header)]
    pieces += [compressor.compress(bytes(1 << 24)) for _ in range(zeros >> 24)]
    return b"".join([*pieces, compressor.flush()])
