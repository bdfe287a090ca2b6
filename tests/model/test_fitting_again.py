"""One training after the other: what begins afresh, what goes on, and what is in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model.small_model import ROWS, Call, X, Y, contents, new_model

from anynet import Model, nn
from anynet.errors import CheckpointError, DataError, UsageError
from anynet.model import Checkpoints, atomic_files
from anynet.model.checkpoint_file import read
from anynet.model.checkpoints import latest
from anynet.training import Callback, EarlyStopping
from anynet.training.callbacks import Record


class TestOneTrainingAfterTheOther:
    def test_early_stopping_begins_afresh(self) -> None:
        stopping = EarlyStopping("loss", patience=0)
        first, second = new_model(optimizer=nn.SGD(0.1)), new_model(optimizer=nn.SGD(1e-12))
        first.fit(X, Y, epochs=20, callbacks=[stopping])
        second.build((6,))
        second.fit(X, Y, epochs=2, callbacks=[stopping])
        assert contents(first) != contents(second)
        assert stopping.best_epoch in (1, 2)

    def test_early_stopping_that_was_never_begun_puts_nothing_back(self) -> None:
        def fail(model: Model) -> None:
            raise RuntimeError

        stopping = EarlyStopping("loss")
        new_model().fit(X, Y, callbacks=[stopping])
        model = new_model(optimizer=nn.SGD(0.1)).build((6,))
        before = contents(model)
        with pytest.raises(RuntimeError):
            model.fit(X, Y, callbacks=[Call("on_fit_begin", fail), stopping])
        assert contents(model) == before

    def test_a_measure_is_watched_wherever_the_callback_that_makes_it_stands(self) -> None:
        class Count(Callback):
            def on_epoch_end(self, model: Model, record: Record) -> None:
                record["count"] = -model.epoch

        for callbacks in (
            [Count(), EarlyStopping("count", 2, mode="max")],
            [EarlyStopping("count", 2, mode="max"), Count()],
        ):
            assert len(new_model().fit(X, Y, epochs=9, callbacks=callbacks)) == 3

    def test_a_measure_is_a_number_whichever_librarys(self) -> None:
        def put(value: Any) -> Callback:
            class Put(Callback):
                def on_epoch_end(self, model: Model, record: Record) -> None:
                    record["mine"] = value

            return Put()

        assert type(new_model().fit(X, Y, callbacks=[put(np.float32(0.5))])[0]["mine"]) is float
        with pytest.raises(UsageError, match="a callback has put 'good' into a record as mine: give a number"):
            new_model().fit(X, Y, callbacks=[put("good")])

    @pytest.mark.parametrize("others", [[], [Callback()], [EarlyStopping("val_loss"), Callback()]], ids=len)
    def test_the_state_of_a_callback_comes_back_whichever_others_there_are(
        self, others: list[Callback], tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"epochs": 3, "validation_data": (X, Y)}
        before = EarlyStopping("val_accuracy", 9)
        new_model().fit(
            X, Y, callbacks=[Callback(), before], checkpoints=Checkpoints(tmp_path, every_seconds=0), **options
        )
        after = EarlyStopping("val_accuracy", 9)
        new_model().fit(X, Y, callbacks=[after, *others], resume=latest(tmp_path), **options)
        assert (after.best, after.best_epoch) == (before.best, before.best_epoch)

    def test_checkpoints_of_an_earlier_training_give_way(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path, every_seconds=0, best="loss")
        new_model().fit(X, Y, epochs=5, checkpoints=checkpoints)
        old = {path.name for path in tmp_path.iterdir()}
        model = new_model(optimizer=nn.SGD(0.1))
        model.fit(X, Y, epochs=2, batch_size=64, checkpoints=checkpoints)
        assert not old & {path.name for path in tmp_path.iterdir()} - {"best.safetensors"}
        newest = latest(tmp_path)
        assert newest is not None
        for path in (newest, tmp_path / "best.safetensors"):
            assert read(path)[1]["optimizer"]["is"] == "SGD"
        assert read(newest)[1]["epoch"] == 2

    def test_a_damaged_checkpoint_is_not_replaced_by_one_of_an_earlier_training(self, tmp_path: Path) -> None:
        new_model().fit(X, Y, checkpoints=Checkpoints(tmp_path, every_seconds=0))
        (tmp_path / "checkpoint-002-000000001.safetensors").write_bytes(b"damaged")
        with pytest.warns(UserWarning, match="an older checkpoint is taken"), pytest.raises(CheckpointError):
            latest(tmp_path)

    def test_what_lies_beyond_where_a_training_has_gone_on_from_goes_first(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path, every_seconds=1e9, every_steps=1, keep=2)
        new_model().fit(X, Y, batch_size=64, checkpoints=checkpoints)
        good, damaged = sorted(tmp_path.glob("checkpoint-*"))
        damaged.write_bytes(b"damaged")
        with pytest.warns(UserWarning, match="an older checkpoint is taken"):
            assert latest(tmp_path) == good
        new_model().fit(X, Y, batch_size=64, checkpoints=checkpoints, resume=good)
        assert latest(tmp_path) == damaged

    def test_files_of_others_in_its_folder_stay(self, tmp_path: Path) -> None:
        for name in (".thesis.pdf.part", ".model.0123456789abcdef.part"):
            (tmp_path / name).write_text("mine")
        new_model().fit(X, Y, checkpoints=Checkpoints(tmp_path))
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_resume_that_is_refused_leaves_the_model_as_it_was(self, tmp_path: Path) -> None:
        new_model().fit(X, Y, checkpoints=Checkpoints(tmp_path, every_seconds=0))
        model = new_model().build((6,))
        before = contents(model)
        with atomic_files.locked(tmp_path), pytest.raises(UsageError, match="another training is writing checkpoints"):
            model.fit(X, Y, checkpoints=Checkpoints(tmp_path), resume=latest(tmp_path))
        assert (contents(model), model.epoch) == (before, 0)

    def test_of_two_trainings_in_one_folder_the_second_is_refused(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path)
        again = Call("on_epoch_end", lambda _: new_model().fit(X, Y, checkpoints=checkpoints))
        with pytest.raises(UsageError, match="another training is writing checkpoints to"):
            new_model().fit(X, Y, checkpoints=checkpoints, callbacks=[again])
        new_model().fit(X, Y, checkpoints=checkpoints)


def test_a_loaded_optimizer_takes_steps_of_the_usual_size(tmp_path: Path, backend_name: str) -> None:
    model = Model(nn.Linear(2), nn.CrossEntropyLoss(), nn.Adam(0.01), backend=backend_name)
    model.fit(X, Y, epochs=20)
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors", backend=backend_name)
    before = loaded.parameters
    loaded.fit(X, Y, batch_size=ROWS)
    # Adam's first step is the learning rate, whatever the gradient.
    step = max(abs(array - before[name]).max() for name, array in loaded.parameters.items())
    assert step == pytest.approx(0.01, rel=0.01)


def test_what_is_drawn_at_random_goes_on_after_loading(tmp_path: Path) -> None:
    model = Model(nn.Sequential(nn.Dropout(0.5), nn.Linear(2)), nn.CrossEntropyLoss(), nn.SGD(1e-9))
    model.fit(X, Y)
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert loaded.gradients(X, Y)["1.weight"].tobytes() == model.gradients(X, Y)["1.weight"].tobytes()


class TestDamage:
    def test_a_checkpoint_whose_callback_cannot_go_on_leaves_the_model_as_it_was(self, tmp_path: Path) -> None:
        class Strict(Callback):
            def load_state_dict(self, state: dict[str, Any]) -> None:
                raise ValueError("such a state I cannot take")

        options: dict[str, Any] = {"epochs": 3, "checkpoints": Checkpoints(tmp_path, every_seconds=0)}
        new_model().fit(X, Y, callbacks=[Strict()], **options)
        model = new_model()
        model.seed = 5
        model.build((6,))
        before = contents(model), model.seed, model.epoch
        with pytest.raises(CheckpointError, match="cannot be resumed: such a state I cannot take"):
            model.fit(X, Y, callbacks=[Strict()], resume=latest(tmp_path), epochs=3)
        assert (contents(model), model.seed, model.epoch) == before

    def test_weights_that_are_not_finite_are_neither_written_nor_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = new_model().build((6,))
        model.state = model.state._replace(parameters=tuple(block * np.nan for block in model.state.parameters))
        with pytest.raises(DataError, match=r"0\.weight is not finite"):
            model.save(tmp_path / "model.safetensors")
        with monkeypatch.context() as patch:
            patch.setattr(np, "isfinite", lambda array: np.ones(array.shape, bool))
            model.save(tmp_path / "model.safetensors")
        with pytest.raises(DataError, match="numbers that are not finite"):
            Model.load(tmp_path / "model.safetensors")
