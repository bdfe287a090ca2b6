"""A layer, and the arrays that a state of it begins with."""

from __future__ import annotations

import numpy as np

from anynet.nn import Layout, Linear, Sequential

LAYOUT = Layout(Sequential(Linear(2)), (3,))
ARRAYS = {"0.weight": np.arange(6.0).reshape(3, 2), "0.bias": np.asarray([-1.0, -2.0])}
