"""Functions of SciPy, scikit-learn and array-api-extra, which know nothing of derivatives here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_extra as xpx
import numpy as np
import pytest
import sklearn
from autodiff.differences import central_differences
from scipy import integrate, optimize, special, stats
from sklearn import metrics
from sklearn.metrics import pairwise

from anynet.autodiff import grad
from anynet.errors import UsageError

pytestmark = pytest.mark.host

SETTINGS = partial(sklearn.config_context, array_api_dispatch=True, assume_finite=True)

DIFFERENTIATED: dict[str, Callable[[Any], Any]] = {
    "special.logsumexp": lambda x: special.logsumexp(x, axis=1),
    "special.softmax": lambda x: special.softmax(x, axis=1),
    "special.log_softmax": lambda x: special.log_softmax(x, axis=1),
    "special.xlogy": lambda x: special.xlogy(x, x),
    "special.rel_entr": lambda x: special.rel_entr(x, x * x + 0.1),
    "stats.zscore": lambda x: stats.zscore(x, axis=0),
    "stats.gmean": lambda x: stats.gmean(x, axis=0),
    "stats.skew": lambda x: stats.skew(x, axis=0),
    "stats.kurtosis": lambda x: stats.kurtosis(x, axis=0),
    "stats.variation": lambda x: stats.variation(x, axis=0),
    "stats.circmean": lambda x: stats.circmean(x, axis=0),
    "stats.circstd": lambda x: stats.circstd(x, axis=0),
    "stats.differential_entropy": lambda x: stats.differential_entropy(x, axis=0),
    "stats.sem": lambda x: stats.sem(x, axis=0),
    "stats.tvar": lambda x: stats.tvar(x, axis=0),
    "optimize.rosen": optimize.rosen,
    "integrate.trapezoid": lambda x: integrate.trapezoid(x, axis=0),
    "integrate.cumulative_trapezoid": lambda x: integrate.cumulative_trapezoid(x, axis=0),
    "array_api_extra.sinc": xpx.sinc,
    "array_api_extra.kron": lambda x: xpx.kron(x, x),
    "array_api_extra.cov": xpx.cov,
    "array_api_extra.pad": lambda x: xpx.pad(x, 2) * 3.0,
    "array_api_extra.create_diagonal": lambda x: xpx.create_diagonal(x[0, :]),
    "pairwise.euclidean_distances": lambda x: pairwise.euclidean_distances(x, 2 * x + 1),
    "pairwise.cosine_similarity": lambda x: pairwise.cosine_similarity(x, x * x),
    "pairwise.paired_cosine_distances": lambda x: pairwise.paired_cosine_distances(x, x * x),
    "pairwise.rbf_kernel": lambda x: pairwise.rbf_kernel(x, x * x),
    "pairwise.sigmoid_kernel": lambda x: pairwise.sigmoid_kernel(x, x * x),
    "metrics.mean_squared_error": lambda x: metrics.mean_squared_error(x, x * x, multioutput="raw_values"),
    "metrics.mean_absolute_error": lambda x: metrics.mean_absolute_error(x, x * x, multioutput="raw_values"),
    "metrics.mean_pinball_loss": lambda x: metrics.mean_pinball_loss(x, x * x, multioutput="raw_values"),
}

# What the code does that no recording can follow.
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "special.expit, in compiled code": (special.expit, "value"),
    "metrics.mean_squared_error, as a float": (lambda x: metrics.mean_squared_error(x, x * x), "value"),
    "metrics.r2_score, of the rows where a condition holds": (lambda x: metrics.r2_score(x, x * x), "condition"),
}


def drawn() -> Any:
    return np.random.default_rng(0).uniform(0.2, 1.0, (5, 4))


def weighted(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A sum of what a function returns, each number with a weight of its own."""

    def total(x: Any) -> Any:
        xp = x.__array_namespace__()
        y = xp.reshape(xp.asarray(function(x)), (-1,))
        return xp.sum(y * xp.cos(xp.astype(xp.arange(y.shape[0]), x.dtype)))

    return total


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_code_of_others_is_differentiated_as_it_is(name: str) -> None:
    x, total = drawn(), weighted(DIFFERENTIATED[name])
    with SETTINGS():
        found = grad(total)(x)
        expected = central_differences(total, x)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * abs(expected).max())


# These assign to parts of an array, which JAX's arrays refuse.
NOT_ON_JAX = {"pairwise.cosine_similarity", "pairwise.paired_cosine_distances"}


@pytest.mark.needs("jax")
@pytest.mark.parametrize("name", [name for name in DIFFERENTIATED if name not in NOT_ON_JAX])
def test_its_gradients_are_those_of_jax(name: str) -> None:
    import jax

    x, total = drawn(), weighted(DIFFERENTIATED[name])
    with jax.enable_x64(True), SETTINGS():
        theirs = np.asarray(jax.grad(total)(jax.numpy.asarray(x)))
        ours = np.asarray(grad(total)(jax.numpy.asarray(x)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_recording_can_follow_is_refused_with_the_reason(name: str) -> None:
    function, reason = REFUSED[name]
    words = f"cannot be differentiated, because of .*{reason}"
    with SETTINGS(), pytest.raises(UsageError, match=words):
        grad(weighted(function))(drawn())
