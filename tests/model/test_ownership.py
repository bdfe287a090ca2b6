"""Who may change a model, and who may read it meanwhile."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model, nn
from anynet.backends import select
from anynet.errors import CheckpointError, DataError, ShapeError, UsageError
from anynet.model import Checkpoints, files
from anynet.model.checkpoint_file import read
from anynet.model.checkpoints import latest
from anynet.training import Callback, EarlyStopping, StopTraining
from anynet.training.callbacks import Record

ROWS = 256
X = np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)


def new_model(backend: str = BACKEND, optimizer: Any = None) -> Model:
    network = nn.Sequential(nn.Linear(16), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.2), nn.Linear(2))
    return Model(network, nn.CrossEntropyLoss(), optimizer or nn.Adam(0.01), backend=backend)


def contents(model: Model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.parameters.items()}


class Call(Callback):
    """Calls a function at one of a training's events."""

    def __init__(self, event: str, function: Callable[[Model], Any]) -> None:
        setattr(self, event, lambda model, *_: function(model))


EVENTS = ("on_fit_begin", "on_batches_end", "on_epoch_end", "on_fit_end")


class TestReading:
    def test_a_thread_that_reads_neither_changes_training_nor_sees_it_half_done(self, backend_name: str) -> None:
        moments: list[dict[str, bytes]] = []
        alone = new_model(backend_name).build((6,))
        moments.append(contents(alone))
        steps = {
            "epochs": 6,
            "batch_size": 4,
            "callbacks": [Call("on_batches_end", lambda m: moments.append(contents(m)))],
        }
        alone.fit(X, Y, **steps)

        model = new_model(backend_name).build((6,))
        over = threading.Event()
        seen: list[Any] = []

        def look() -> None:
            while not over.is_set():
                model.predict(X[:64])
                model.evaluate(X[:64], Y[:64])
                seen.append(contents(model))
                seen.append(contents(pickle.loads(pickle.dumps(model))))

        with ThreadPoolExecutor(3) as readers:
            looking = [readers.submit(look) for _ in range(3)]
            try:
                model.fit(X, Y, epochs=6, batch_size=4)
            finally:
                over.set()
            for one in looking:
                one.result()
        assert contents(model) == contents(alone)
        assert all(moment in moments for moment in seen)

    def test_what_was_read_stays_as_it_was(self, backend_name: str) -> None:
        model = new_model(backend_name).build((6,))
        for _ in range(2):
            state, before = model.read_state(), contents(model)
            model.fit(X, Y, epochs=2)
            model._shared.state, after = state, model._shared.state
            assert contents(model) == before
            model._shared.state = after

    def test_in_a_callback_the_weights_are_those_of_the_batches_before(self, backend_name: str) -> None:
        model = new_model(backend_name)
        losses = []
        measure = Call("on_epoch_end", lambda m: losses.append(m.evaluate(X, Y)["loss"]))
        history = model.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=[measure])
        assert losses == [record["val_loss"] for record in history]

    def test_a_thread_that_a_callback_waits_for_may_read_too(self, backend_name: str) -> None:
        def elsewhere(model: Model) -> None:
            with ThreadPoolExecutor(1) as other:
                other.submit(model.predict, X).result(timeout=60)

        new_model(backend_name).fit(X, Y, callbacks=[Call(event, elsewhere) for event in EVENTS])

    def test_outside_the_main_thread_it_trains_to_the_same_bytes(self, backend_name: str) -> None:
        here, there = (
            Model(
                nn.Sequential(nn.Linear(128), nn.ReLU(), nn.Linear(2)),
                nn.CrossEntropyLoss(),
                nn.SGD(0.1),
                backend=backend_name,
            )
            for _ in range(2)
        )
        x = np.random.default_rng(0).normal(size=(512, 200))
        here.fit(x, x[:, 0] > 0, batch_size=128)
        thread = threading.Thread(target=there.fit, args=(x, x[:, 0] > 0), kwargs={"batch_size": 128})
        thread.start()
        thread.join()
        assert contents(here) == contents(there)


class TestChanging:
    @pytest.mark.parametrize("event", EVENTS)
    def test_a_fit_inside_a_callback_is_refused(self, event: str) -> None:
        model = new_model()
        with pytest.raises(UsageError, match="trained already, and a callback of it cannot train it too"):
            model.fit(X, Y, callbacks=[Call(event, lambda m: m.fit(X, Y))])
        model.fit(X, Y)

    def test_beside_a_training_nobody_else_changes_the_model(self) -> None:
        model = new_model().build((6,))
        refused = []

        def try_all(model: Model) -> None:
            arrays = model.parameters
            changes: list[Callable[[], Any]] = [
                lambda: model.fit(X, Y),
                lambda: model.put(arrays),
                lambda: model.build((6,)),
                lambda: setattr(model, "optimizer", nn.SGD(0.1)),
            ]
            with ThreadPoolExecutor(1) as other:
                refused.extend(type(other.submit(change).exception()) for change in changes)

        alone = new_model()
        alone.fit(X, Y)
        model.fit(X, Y, callbacks=[Call("on_epoch_end", try_all)])
        assert refused == [UsageError] * 4
        assert contents(model) == contents(alone)

    @pytest.mark.parametrize("event", EVENTS)
    def test_building_anew_in_a_callback_is_refused(self, event: str) -> None:
        with pytest.raises(UsageError, match="build it anew afterwards, or put other weights"):
            new_model().fit(X, Y, callbacks=[Call(event, lambda m: m.build((6,)))])

    def test_stopping_at_the_end_hides_no_error(self) -> None:
        def fail(model: Model) -> None:
            raise RuntimeError("mine")

        def stop(model: Model) -> None:
            raise StopTraining

        with pytest.raises(RuntimeError, match="mine"):
            new_model().fit(X, Y, callbacks=[Call("on_batches_end", fail), Call("on_fit_end", stop)])

    def test_an_optimizer_that_is_equal_to_the_old_one_begins_anew_too(self) -> None:
        model = new_model()
        model.fit(X, Y)
        model.optimizer = nn.Adam(0.01)
        assert int(model.state.step) == 0
        assert all((slot == 0).all() for slots in model.state.slots for slot in slots.values())

    @pytest.mark.parametrize("event", ["on_fit_begin", "on_batches_end", "on_epoch_end"])
    def test_what_a_callback_puts_is_trained_on(self, event: str, backend_name: str) -> None:
        def clip(model: Model) -> None:
            model.put({name: array.clip(-1e-3, 1e-3) for name, array in model.parameters.items()})

        model = Model(nn.Linear(2), nn.CrossEntropyLoss(), nn.SGD(1e-9), backend=backend_name)
        model.fit(X, Y, epochs=2, batch_size=16, callbacks=[Call(event, clip)])
        assert max(abs(array).max() for array in model.parameters.values()) < 2e-3

    @pytest.mark.parametrize("event", EVENTS)
    def test_a_callback_may_stop_training_at_any_event(self, event: str) -> None:
        def stop(model: Model) -> None:
            heard.append(event)
            raise StopTraining

        heard: list[str] = []
        model = new_model()
        history = model.fit(
            X, Y, epochs=3, batch_size=1, callbacks=[Call(event, stop), Call("on_fit_end", heard.append)]
        )
        assert len(history) == {"on_fit_begin": 0, "on_batches_end": 0, "on_epoch_end": 1, "on_fit_end": 3}[event]
        assert heard == [event, model]

    def test_an_epoch_that_is_stopped_after_its_last_batch_is_recorded(self) -> None:
        def stop(model: Model) -> None:
            raise StopTraining

        assert len(new_model().fit(X, Y, epochs=3, batch_size=ROWS, callbacks=[Call("on_batches_end", stop)])) == 1

    @pytest.mark.parametrize("event", EVENTS)
    def test_a_callback_that_fails_leaves_the_model_usable_and_lets_the_others_finish(self, event: str) -> None:
        def fail(model: Model) -> None:
            raise RuntimeError(event)

        model, ended = new_model(), []
        callbacks = [Call("on_fit_end", ended.append), Call(event, fail), Call("on_fit_end", ended.append)]
        with pytest.raises(RuntimeError, match=event):
            model.fit(X, Y, callbacks=callbacks)
        assert ended == [model, model]
        assert model.fit_state is None
        assert len(model.fit(X, Y, epochs=2)) == 2

    def test_another_optimizer_or_loss_counts_from_the_next_fit_on(self, backend_name: str) -> None:
        model, reference = (Model(nn.Linear(1), nn.MSELoss(), nn.Adam(0.1), backend=backend_name) for _ in range(2))
        target = X[:, :1] * 2.0
        for one in (model, reference):
            one.fit(X, target, epochs=2)
        model.optimizer, model.loss = nn.SGD(nn.LinearDecay(0.01, 16)), nn.HalfMSELoss()
        model.fit(X, target)
        fresh = Model(nn.Linear(1), nn.HalfMSELoss(), nn.SGD(nn.LinearDecay(0.01, 16)), backend=backend_name)
        fresh.build((6,), reference.parameters).epoch = 2
        fresh.fit(X, target)
        assert contents(model) == contents(fresh)
        restored = pickle.loads(pickle.dumps(model))
        assert (restored.optimizer, restored.loss) == (model.optimizer, model.loss)

    def test_another_network_or_backend_is_refused_once_there_are_weights(self) -> None:
        model = new_model()
        model.network = nn.Linear(2)
        model.build((6,))
        with pytest.raises(UsageError, match="network stays: make another Model, and carry over what fits with build"):
            model.network = nn.Linear(3)
        with pytest.raises(UsageError, match=r"backend stays: model.on\(backend\)"):
            model.backend = select("numpy", "float64")
        with pytest.raises(UsageError, match="the loss is 'mse'"):
            model.loss = "mse"  # type: ignore[assignment]


class TestPut:
    @pytest.fixture
    def model(self) -> Model:
        return Model(nn.Sequential(nn.Linear(8), nn.Linear(2)), nn.MSELoss(), nn.SGD(0.1)).build((4,))

    @pytest.mark.parametrize(
        ("changes", "error", "words"),
        [
            ({"0.weight": np.zeros((8, 4))}, ShapeError, r"0.weight has shape \(4, 8\), .* has \(8, 4\); transpose it"),
            ({"0.weight": np.zeros((5, 8))}, ShapeError, r"0.weight has shape \(4, 8\), .* has \(5, 8\)"),
            ({"0.wieght": np.zeros((4, 8))}, UsageError, "unknown parameter '0.wieght': did you mean '0.weight'"),
            ({"0.bias": np.full(8, np.nan)}, DataError, "0.bias holds nan at"),
            ({"0.bias": np.full(8, 1e300)}, DataError, "0.bias holds inf at"),
            ({"0.bias": np.asarray(["a"] * 8)}, DataError, "0.bias must hold numbers, but its dtype is"),
        ],
    )
    def test_arrays_that_do_not_fit_are_refused_by_name(
        self, model: Model, changes: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        before = contents(model)
        for use in (model.put, lambda arrays: model.build((4,), arrays)):
            with pytest.raises(error, match=words):
                use({**model.parameters, **changes})
        assert contents(model) == before

    def test_a_missing_array_is_named(self, model: Model) -> None:
        arrays = model.parameters
        del arrays["1.bias"]
        with pytest.raises(UsageError, match=r"no array for 1.bias; to change some, give \{\*\*model.parameters"):
            model.put(arrays)

    def test_arrays_of_any_library_are_taken(self, model: Model, backend_name: str) -> None:
        backend = select("strict:cpu" if backend_name == "strict" else backend_name)
        arrays = {name: array * 2 for name, array in model.parameters.items()}
        model.put({name: backend.asarray(array) for name, array in arrays.items()})
        assert contents(model) == {name: array.tobytes() for name, array in arrays.items()}


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

    def test_a_measure_of_unknown_direction_wants_a_mode(self) -> None:
        for make in (EarlyStopping, lambda monitor: Checkpoints("run", best=monitor)):
            with pytest.raises(UsageError, match="mode="):
                make("val_rmse")

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
        with files.locked(tmp_path), pytest.raises(UsageError, match="another training is writing checkpoints"):
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


def test_slots_of_another_shape_than_their_block_are_refused() -> None:
    class Counting(nn.SGD):
        def init(self, xp: Any, block: Any) -> Any:
            return {"count": xp.zeros(2, dtype=block.dtype)}

    with pytest.raises(UsageError, match=r"makes a slot 'count' of shape \(2,\)"):
        Model(nn.Linear(2), nn.CrossEntropyLoss(), Counting(0.1)).fit(X, Y)


@pytest.mark.parametrize("debug", [False, True])
def test_the_learning_rate_that_diverged_is_that_of_the_step(debug: bool, backend_name: str) -> None:
    def jump(xp: Any, step: Any) -> Any:
        return xp.where(step < 10, 1e-3 + 0 * step, 1e30 * (step - 9))

    model = Model(nn.Linear(1), nn.MSELoss(), nn.SGD(jump), backend=backend_name)
    with pytest.raises(ArithmeticError, match=r"batch 12 of epoch 1, .* \(it is 2e\+30\)"):
        model.fit(X, X[:, :1], batch_size=16, debug=debug)


@pytest.mark.filterwarnings("ignore:steps are taken one by one", "ignore:this step runs operation by operation")
def test_a_layer_that_draws_elsewhere_is_not_frozen() -> None:
    class Noise(nn.Layer):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            return x + np.random.default_rng().normal(), None

        def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> Any:
            return dy, {}

    model = Model(nn.Sequential(Noise(), nn.Linear(2)), nn.CrossEntropyLoss(), nn.SGD(0.1)).build((6,))
    outputs = [model.predict(X[:4]) for _ in range(4)]
    assert len({output.tobytes() for output in outputs}) == 4


@pytest.fixture
def raising_numpy() -> Iterator[None]:
    with np.errstate(all="raise"):
        yield


@pytest.mark.usefixtures("raising_numpy")
def test_numpy_told_to_raise_changes_nothing(backend_name: str, tmp_path: Path) -> None:
    x, weight = np.full((64, 6), 1e-300) * X[:64], np.full(64, 1e-300)
    model = new_model(backend_name)
    model.fit(x, Y[:64], sample_weight=weight, validation_data=(x, Y[:64], weight), checkpoints=Checkpoints(tmp_path))
    model.predict(X * 1e30)
    copy.deepcopy(model).evaluate(x, Y[:64], weight)


@pytest.mark.usefixtures("raising_numpy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [
        nn.SGD(1e-300, momentum=1e-300),
        nn.Adam(nn.LinearDecay(1e-300, 10), betas=(1e-300, 0.9), eps=1e-300, weight_decay=1e-300),
    ],
    ids=["constants", "schedule"],
)
def test_nor_where_what_an_optimizer_holds_is_too_small_for_the_dtype(
    backend_name: str, optimizer: Any, dtype: str, tmp_path: Path
) -> None:
    model = Model(nn.Linear(2), nn.CrossEntropyLoss(), optimizer, backend=backend_name, dtype=dtype)
    model.build((6,))
    again = pickle.loads(pickle.dumps(model)).on(model.backend)
    model.fit(X, Y, checkpoints=Checkpoints(tmp_path, every_seconds=0))
    again.fit(X, Y, resume=latest(tmp_path))
    assert contents(pickle.loads(pickle.dumps(again))) == contents(model)


def test_a_clock_that_stands_still_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    assert new_model().fit(X, Y)[0]["samples_per_second"] == 0.0


@pytest.mark.parametrize("given", [(X,), (X, Y, None, None), X, 3])
def test_validation_data_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"validation_data must be \(x, y\) or \(x, y, sample_weight\), but got"):
        new_model().fit(X, Y, validation_data=given)


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
