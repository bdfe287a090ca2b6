"""Files that several save to, or that somebody has left half written."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from anynet import Model, nn


def test_saving_to_one_path_from_several_threads_leaves_one_of_them_whole(tmp_path: Path) -> None:
    models = [Model(nn.Linear(300), nn.MSELoss(), nn.SGD(0.1), seed=seed).build((300,)) for seed in range(4)]
    saves = [(model, tmp_path / "model.safetensors") for model in models] * 10
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda save: save[0].save(save[1]), saves))
    assert Model.load(tmp_path / "model.safetensors").seed in range(4)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_half_written_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    path, left, recent = (tmp_path / name for name in ("model", f".model.{12:016x}.part", f".model.{34:016x}.part"))
    for leftover in (left, recent):
        leftover.write_bytes(b"half")
    os.utime(left, (0, 0))
    Model(nn.Linear(3), nn.MSELoss(), nn.SGD(0.1)).build((3,)).save(path)
    assert {*tmp_path.iterdir()} == {path, recent}
