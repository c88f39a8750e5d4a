"""Tasks handed out to Ray's actors as these get free; one that dies costs the task it had, which is given out again.

Not Ray Data: a job here is a list of tasks whose results are small, and who does which has to be the same after a
restart. Ray Data moves the rows themselves through its object store, knows finished rows by one array of all of their
IDs, and waits without a word where its actors leave no processor free.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Callable, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from medcap_tf.errors import InputError

Task = TypeVar("Task")
_ATTEMPTS = 3  # of a task: one that kills three workers would kill the next
_PATIENCE = 60.0  # seconds until it is said that nobody works


def run_tasks(
    start: Callable[[], Any], tasks: Sequence[Task], size: int, describe: Callable[[Task], str]
) -> Iterator[tuple[Task, Any]]:
    """Each task with its result, in the order in which they are done.

    Args:
        start: makes an actor with `load()`, called once and first, and `run(task)`.
        tasks: what is to be done, in the order of handing it out.
        size: how many actors at most.
        describe: a task's name for messages.

    Raises:
        InputError: of an actor's own, or a task that three workers died of.
    """
    yield from _Pool(start, tasks, describe).run(min(size, len(tasks)))


class _Pool:
    def __init__(self, start: Callable[[], Any], tasks: Sequence[Any], describe: Callable[[Any], str]):
        self._start, self._describe = start, describe
        self._waiting, self._deaths = deque(enumerate(tasks)), Counter[int]()
        self._loading: dict[Any, Any] = {}  # what is awaited -> actor
        self._busy: dict[Any, tuple[Any, int, Any]] = {}  # what is awaited -> actor, number of the task, task

    def run(self, size: int) -> Iterator[tuple[Any, Any]]:
        for _ in range(size):
            self._add()
        while self._waiting or self._busy:
            done, _ = ray.wait([*self._loading, *self._busy], timeout=_PATIENCE)
            if not done and not self._busy:
                print("no worker could be started for a minute: is there a free processor?", file=sys.stderr)
            for reference in done:
                yield from self._taken(reference)

    def _add(self) -> None:
        actor = self._start()
        self._loading[actor.load.remote()] = actor

    def _taken(self, reference: Any) -> Iterator[tuple[Any, Any]]:
        """A worker is free, or dead."""
        if reference in self._loading:
            actor, number, task = self._loading.pop(reference), -1, None
        else:
            actor, number, task = self._busy.pop(reference)
        try:
            result = ray.get(reference)
        except RayActorError as error:
            self._bury(number, task, error)
            return
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, InputError) else error) from None
        if self._waiting:
            following = self._waiting.popleft()
            self._busy[actor.run.remote(following[1])] = (actor, *following)
        else:
            ray.kill(actor)  # its processor may be what another one waits for
        if number >= 0:
            yield task, result

    def _bury(self, number: int, task: Any, error: Exception) -> None:
        """The task goes to the next worker, and a new one is started, wherever there is room for it."""
        self._deaths[number] += 1
        name = self._describe(task) if number >= 0 else "the model while it was loaded"
        if self._deaths[number] >= _ATTEMPTS:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{_ATTEMPTS} workers died of {name} ({reason}); leave it out") from error
        if number >= 0:
            self._waiting.appendleft((number, task))
        print(f"a worker died with {name}: it is given to another one", file=sys.stderr)
        self._add()
