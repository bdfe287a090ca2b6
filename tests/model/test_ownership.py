"""Who may change a model, and who may read it meanwhile."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from model.small_model import EVENTS, ROWS, Call, X, Y, contents, new_model

from anynet import Model, nn
from anynet.backends import select
from anynet.errors import DataError, ShapeError, UsageError
from anynet.training import StopTraining


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
