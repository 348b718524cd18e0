"""Joins requests of one image size that arrive within a few milliseconds into batches of the model."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from segkit.serve.metrics import Metrics
from segkit.serve.predictor import Predictor
from segkit.types import Prediction

Key = tuple[tuple[int, ...], str, bool]
"""What images of a batch have in common: shape, type, and whether probabilities are wanted."""


@dataclass(eq=False)
class _Waiting:
    image: np.ndarray
    key: Key
    answer: "asyncio.Future[Prediction]"


class Batcher:
    """Predicts images in batches, one batch at a time.

    Args:
        predictor: the model. It is called in a thread of its own.
        most: images of a batch at most.
        wait: seconds that the first image of a batch waits for others.
        metrics: takes sizes of batches and the length of the queue.
    """

    def __init__(self, predictor: Predictor, most: int, wait: float, metrics: Metrics):
        self._predictor, self._most, self._wait, self._metrics = predictor, most, wait, metrics
        self._queue: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segkit-model")

    @property
    def length(self) -> int:
        """Images that wait."""
        return len(self._queue)

    async def predict(self, image: np.ndarray, probabilities: bool) -> Prediction:
        """Predicts an image, together with others.

        Args:
            image: uint8 or float32 [H,W,C].
            probabilities: see Predictor.predict.
        """
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            # started by the first request, since an application that is mounted in another has no start of its own
            self._task = loop.create_task(self._work())
        waiting = _Waiting(image, (image.shape, str(image.dtype), probabilities), loop.create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            batch = await self._next_batch()
            if batch:
                self._metrics.batch_sizes.observe(len(batch))
                await self._answer(batch)

    async def _next_batch(self) -> list[_Waiting]:
        """The oldest image and those like it that come until the batch is full or the wait is over."""
        # who has given up, after the time limit or with a closed connection, is not computed any more
        self._queue = [one for one in self._queue if not one.answer.done()]
        if not self._queue:
            self._arrived.clear()
            return []
        key, until = self._queue[0].key, time.monotonic() + self._wait
        while sum(one.key == key for one in self._queue) < self._most and (rest := until - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), rest)
            except TimeoutError:
                break
        batch = [one for one in self._queue if one.key == key and not one.answer.done()][: self._most]
        self._queue = [one for one in self._queue if one not in batch]
        if self._queue:
            self._arrived.set()
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        run = asyncio.get_running_loop().run_in_executor
        images, probabilities = [one.image for one in batch], batch[0].key[2]
        predict: Callable = self._predictor.predict
        try:
            results = await run(self._thread, predict, images, probabilities)
        except Exception as error:
            if len(batch) > 1:  # one image may be at fault; the others get their answers
                for one in batch:
                    await self._answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, result in zip(batch, results):
            if not one.answer.done():
                one.answer.set_result(result)
