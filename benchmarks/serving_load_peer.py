"""The peer of `benchmarks.serving_load`: the same mathematics in NumPy, behind gRPC.

    python -m benchmarks.serving_load_peer model.npz --port=8500

It checks nothing, knows one signature and one version, and wants padding in front.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import pathlib
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import grpc
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

Array = npt.NDArray[Any]

PADDING, UNKNOWN, FIRST = 0, 2, 3
THREADS = 8  # As many as `tfrs_barlow.serving` has.


class NumpyModel:
    """An `ItemPoolingEncoder` with a table of candidates, as an export has them.

    Attributes:
        items: The items by position, integers from 1 on.
        candidates: Their embeddings, of shape [items, dim].
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        """Takes the weights, by name, and the items."""
        self.items, self.candidates = arrays["items"], arrays["candidates"]
        self._table = arrays["embeddings"]
        self._recency, self._content = arrays["recency"], arrays["content"]
        self._kernel, self._bias = arrays["kernel"], arrays["bias"]
        # The last place is that of -1, which is padding.
        self._ids = np.full(self.items.max() + 2, UNKNOWN)
        self._ids[self.items] = np.arange(FIRST, FIRST + len(self.items))
        self._ids[-1] = PADDING

    def scores(self, history: Array) -> Array:
        """Returns the scores of all items [batch, items]; -inf for those seen."""
        ids = self._ids[history]
        states = self._table[ids]
        logits = self._recency[: ids.shape[1]][::-1] + states @ self._content
        logits[ids == PADDING] = -np.inf
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        pooled = np.swapaxes(weights, 1, 2) @ states
        queries = pooled.reshape(len(ids), -1) @ self._kernel + self._bias
        scores = queries @ self.candidates.T
        rows, columns = np.nonzero(ids >= FIRST)
        scores[rows, ids[rows, columns] - FIRST] = -np.inf
        return scores

    def recommend(self, history: Array, k: int) -> dict[str, Array]:
        """Returns what an export answers."""
        scores = self.scores(history)
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        best_scores = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-best_scores, axis=1)
        return {
            "ids": self.items[np.take_along_axis(best, order, axis=1)],
            "scores": np.take_along_axis(best_scores, order, axis=1),
            "cold_start": ~(self._ids[history] >= FIRST).any(axis=1),
        }


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers `Predict` with the recommendations of a `NumpyModel`."""

    def __init__(self, model: NumpyModel) -> None:
        """Takes the model."""
        self._model = model

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Recommends."""
        del context
        history = tf.make_ndarray(request.inputs["history"])
        answer = self._model.recommend(history, int(request.inputs["k"].int_val[0]))
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        response.model_spec.version.value = 1
        for name, value in answer.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_load_peer")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--port", type=int, default=8500)
    flags = parser.parse_args()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(THREADS))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(NumpyModel(np.load(flags.model))), server
    )
    address = f"localhost:{server.add_insecure_port(f'localhost:{flags.port}')}"
    server.start()
    print(f"  gRPC  {address}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
