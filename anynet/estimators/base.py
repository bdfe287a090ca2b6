"""`NetEstimator`, the base of all estimators: fitting, outputs, tags, copying and pickling."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from anynet.estimators.array_library import ArrayLibrary, host
from anynet.estimators.fitting import Fitting
from anynet.estimators.validation import dense
from anynet.training import Callback

# Attributes that only training needs; they are neither copied nor pickled.
_OF_ONE_CALL = ("_steps", "_training")


class NetEstimator(Fitting):
    """A network behind scikit-learn's interface; subclasses choose the network, the loss and the optimizer.

    Data are checked and encoded on the host, and the network is trained on the backend. Results are arrays of the
    library of X.
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        callbacks: Iterable[Callback] = (),
    ) -> Self:
        """Train on X.

        Parameters
        ----------
        X : array or sparse matrix of shape (n_samples, n_features), or array of (n_samples, ...) for any network
            From NumPy, CuPy, PyTorch, JAX, or anything that NumPy can convert. float32 stays float32, other dtypes
            become float64. A sparse matrix becomes a dense array.
        y : array of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array of shape (n_samples,), optional
        X_val, y_val : arrays, optional
            Validation data, measured after each epoch; `early_stopping` uses them instead of held-out rows of X.
        callbacks : iterable of anynet.training.Callback
            Such as ``anynet.training.Progress()``, a progress bar.

        Ctrl-C ends training with a warning, and SIGTERM ends the program, once the current batches are done.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            When X, y or a parameter is invalid; the estimator is unchanged then. When the weights are not finite after
            training. When the estimator is already being fitted.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together, but only one of them is given")
        validation = None if X_val is None else (X_val, y_val)
        first = not (self.warm_start and self.__sklearn_is_fitted__())
        return self._fit(X, y, sample_weight, validation, tuple(callbacks), first=first, incremental=False)

    def _fit_a_little(self, X: Any, y: Any, sample_weight: Any) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not self.__sklearn_is_fitted__()
        return self._fit(X, y, sample_weight, None, (), first=first, incremental=True)

    def _outputs(self, X: Any, method: str) -> Any:
        """The network's outputs for X, on the host."""
        check_is_fitted(self)
        library = ArrayLibrary.of(X)
        if self.backend == "auto" and library != self._library:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device "
                f"as those passed to fit(), which came from {self._library.name}, but these come from {library.name}."
            )
        kinds = {"accept_sparse": ["csr", "csc"], "dtype": (np.float64, np.float32), "allow_nd": self.allow_nd}
        x = validate_data(self, host(X), reset=False, **kinds)
        return self._model.predict(dense(x))

    def _give(self, result: Any, X: Any) -> Any:
        """A result as an array of the library of X."""
        return ArrayLibrary.of(X).give(result)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        return tags

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy on the same library and device."""
        other = object.__new__(type(self))
        memo[id(self.comm)] = self.comm
        for name, value in vars(self).copy().items():
            if name == "_model":
                other._model = value.on(value.backend)
            elif name not in _OF_ONE_CALL:
                setattr(other, name, copy.deepcopy(value, memo))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """The state without library and device; an unpickled estimator computes on NumPy."""
        kept = {name: value for name, value in super().__getstate__().items() if name not in _OF_ONE_CALL}
        if "_library" in kept:
            kept["_library"] = ArrayLibrary("numpy")
        # Where it is read, there may be no MPI.
        kept["comm"] = None
        if "_made_of" in kept:
            kept["_made_of"] = {**kept["_made_of"], "comm": None}
        return kept
