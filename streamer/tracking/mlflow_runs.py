"""A run on an MLflow tracking server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from streamer.config.masking import masked
from streamer.tracking import TrackingUnavailable, unavailable

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException
except ImportError as error:
    raise unavailable("mlflow", error) from error

AT_ONCE = 100
"""Parameters or metrics of one request, which the server bounds."""
VALUE_MAX = 500
"""Characters of a parameter's value."""
_FORBIDDEN = re.compile(r"[^\w\-. :/]")

One = TypeVar("One")


class MlflowRun:
    """RunTracker on the server at ``uri``: a run of an experiment, which is made where it is missing."""

    def __init__(self, uri: str, experiment: str, run: str) -> None:
        """Raises TrackingUnavailable where the server is away or refuses."""
        try:
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(experiment)
            number = self._client.create_experiment(experiment) if found is None else found.experiment_id
            self._run = self._client.create_run(number, run_name=run).info.run_id
        except MlflowException as error:
            message = f"no run can be begun at {masked('uri', uri)}: {error}; check that an MLflow server answers there"
            raise TrackingUnavailable(message) from error

    def settings(self, values: Mapping[str, object]) -> None:
        """As parameters."""
        params = [Param(_name(name), str(value)[:VALUE_MAX]) for name, value in values.items()]
        for some in _cut(params):
            self._client.log_batch(self._run, params=some)

    def figures(self, values: Mapping[str, float], *, step: int, at_ms: int) -> None:
        """As metrics."""
        for some in _cut([Metric(_name(name), value, at_ms, step) for name, value in values.items()]):
            self._client.log_batch(self._run, metrics=some)

    def file(self, path: Path) -> None:
        """As an artifact."""
        self._client.log_artifact(self._run, str(path))

    def close(self) -> None:
        """The run is finished."""
        self._client.set_terminated(self._run)


def _name(name: str) -> str:
    """As MLflow takes it.

    >>> _name("ndcg@10")
    'ndcg_at_10'
    """
    return _FORBIDDEN.sub("_", name.replace("@", "_at_"))


def _cut(values: list[One]) -> list[list[One]]:
    return [values[first : first + AT_ONCE] for first in range(0, len(values), AT_ONCE)]
