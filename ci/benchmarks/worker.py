"""One contender in a process of its own: reads a request a line as JSON on stdin, answers each with a line."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Contender
from workloads import Data, Workload

import anynet


def serve(name: str, workload: Workload) -> None:
    # Libraries print what they like; the answers go where stdout was.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender: Contender | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if contender is None:
                data = Data(workload)
                contender = _known(workload.device)[name](workload, data)
                stored = data.x
                del data
            answer = getattr(Requests(contender, stored), request.pop("do"))(**request)
        # Whatever keeps a peer from running here is an answer too.
        except Exception as error:
            answer = {"absent": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


def _known(device: str) -> dict[str, type[Contender]]:
    if device == "cpu":
        return CONTENDERS
    from gpu_contenders import GPU_CONTENDERS

    return GPU_CONTENDERS


class Requests:
    """What a contender can be asked to do."""

    def __init__(self, contender: Contender, stored: Any) -> None:
        self.contender = contender
        self.stored = stored

    def train(self, turn: int) -> dict[str, Any]:
        seconds, loss = timed(lambda: self.contender.train(turn))
        return {"seconds": self.contender.seconds or seconds, "loss": loss, "peak_mib": peak_mib()}

    def predict(self, rows: int, repeats: int) -> dict[str, Any]:
        x = self.stored[:rows]
        seconds = min(timed(lambda: self.contender.predict(x))[0] for _ in range(repeats))
        return {"seconds": seconds, "classes": self.contender.predict(x[:1000]).argmax(axis=1).tolist()}

    def train_until(self, accuracy: float, most_turns: int) -> dict[str, Any]:
        test = anynet.datasets.mnist()
        reached = 0.0
        for turn in range(most_turns):
            self.contender.train(turn)
            reached = float((self.contender.predict(test.x_test).argmax(axis=1) == test.y_test).mean())
            if reached >= accuracy:
                break
        return {"turns": turn + 1, "accuracy": reached}


def peak_mib() -> float:
    """The most memory this process has had in use, file mappings included, or nan where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), math.nan)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    fields = json.loads(sys.argv[2])
    serve(sys.argv[1], Workload(**{**fields, "sizes": tuple(fields["sizes"])}))
