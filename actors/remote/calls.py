"""Calls of Ray actors: futures that fail with our errors instead of Ray's, and what all actors have in common."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar, cast

import grpc
import ray
from ray.actor import ActorHandle
from ray.exceptions import (
    ActorUnschedulableError,
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfMemoryError,
    PendingCallsLimitExceeded,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from tmrl_ray.errors import PeerUnavailableError, TmrlError
from tmrl_ray.runs.meter import Telling
from tmrl_ray.runs.process_memory import memory_of

log = logging.getLogger(__name__)

NAMESPACE = "tmrl"
"""Of all named actors; a job in another namespace would not see them."""
CONTROL_THREADS = 4
"""Of each actor, for the calls of methods that name no concurrency group."""
_ASK_S = 0.1
_STORE_S = 2.0

_AWAY = (
    ActorUnschedulableError,
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfMemoryError,
    PendingCallsLimitExceeded,
    RayActorError,
    WorkerCrashedError,
)

First = TypeVar("First")
Second = TypeVar("Second")
Call = Callable[[], "ray.ObjectRef[Any]"]


def actor_name(run: str, part: str) -> str:
    """Return the name of a run's actor, as the dashboard shows it."""
    return f"{run}.{part}"


def find_actor(run: str, part: str) -> ActorHandle[Any]:
    """Return the actor of a run that is up.

    Raises:
        PeerUnavailableError: there is none.
    """
    try:
        return ray.get_actor(actor_name(run, part), namespace=NAMESPACE)
    except ValueError as error:
        raise PeerUnavailableError(f"the run {run} has no {part} on this cluster") from error


def runs_with(part: str) -> list[str]:
    """Return the runs on this cluster that have such an actor."""
    named = ray.util.list_named_actors(all_namespaces=True)
    names = (each["name"] for each in named if each["namespace"] == NAMESPACE)
    return sorted(name.removesuffix(f".{part}") for name in names if name.endswith(f".{part}"))


def answer(call: Call, peer: str) -> Future[Any]:
    """Call an actor and return its answer to be.

    A future that fails with :class:`~tmrl_ray.errors.PeerUnavailableError` means: ask again. It fails with a
    ``TmrlError`` that the peer raised, and with whatever else went wrong there as it is.

    Args:
        call: makes the call, or returns an object to wait for.
        peer: what is called, for the messages.
    """
    future: Future[Any] = Future()
    try:
        reference = call()
    except _AWAY as error:
        future.set_exception(_ours(error, peer))
        return future

    def settle(answered: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        error = answered.exception()
        if error is None:
            future.set_result(answered.result())
        else:
            future.set_exception(_ours(error, peer))

    reference.future().add_done_callback(settle)
    return future


def then(first: Future[First], step: Callable[[First], Future[Second]]) -> Future[Second]:
    """Return the answer to a second question, which the answer to a first one leads to."""
    future: Future[Second] = Future()

    def finish(done: Future[Second]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(error)

    def proceed(done: Future[First]) -> None:
        error = done.exception()
        if error is None:
            step(done.result()).add_done_callback(finish)
        elif future.set_running_or_notify_cancel():
            future.set_exception(error)

    first.add_done_callback(proceed)
    return future


def ask(call: Call, peer: str, *, timeout_s: float) -> Any:
    """Call an actor and wait for its answer.

    Raises:
        PeerUnavailableError: none came in ``timeout_s`` seconds, or the actor is away.
        TmrlError: the peer raised it.
    """
    try:
        return answer(call, peer).result(timeout_s)
    except TimeoutError as error:
        raise PeerUnavailableError(f"{peer} did not answer in {timeout_s:g} s") from error


def ask_again(call: Call, peer: str, *, timeout_s: float) -> Any:
    """Call an actor until it answers; for calls that may be made twice.

    Raises:
        PeerUnavailableError: it did not answer in ``timeout_s`` seconds.
        TmrlError: the peer raised it.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        left_s = max(end_s - time.monotonic(), _ASK_S)
        try:
            return ask(call, peer, timeout_s=left_s)
        except PeerUnavailableError:
            if time.monotonic() >= end_s:
                raise
        time.sleep(_ASK_S)


def is_reincarnated() -> bool:
    """Return whether the actor that asks was killed and started again by Ray."""
    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


class Shell:
    """What all our actors can do besides."""

    def process_id(self) -> int:
        """Return the number of the actor's process."""
        return os.getpid()

    def memory(self, process: str) -> Telling:
        """Return how much memory the actor's process has, which metrics call so."""
        return memory_of(process)


def object_store() -> Telling:
    """Return what Ray's object store had to write to disks, on all machines; nothing if Ray does not say so soon.

    Ray asks all of its processes for that, so that one which is stopped keeps it waiting.
    """
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)  # type: ignore[no-untyped-call]
    try:
        reply = get_memory_info_reply(state, timeout_seconds=_STORE_S)  # type: ignore[no-untyped-call]
    except grpc.RpcError as error:
        log.warning("Ray does not say what it has written to disks: %s", error.code())
        return Telling("object store", {})
    return Telling("object store", {"memory/spilled_bytes": reply.store_stats.spilled_bytes_total})


def start_actor(
    run: str, part: str, shell: type[Any], *arguments: Any, groups: Mapping[str, int] | None = None, **options: Any
) -> ActorHandle[Any]:
    """Start an actor of a run.

    Ray starts it again with the same arguments whenever its process dies, unless the options say otherwise. Nothing is
    called twice by Ray: whoever calls knows what may be. Ray gives an actor that reserves at most one CPU one thread
    for computing. Its calls are no events of Ray's, which keeps 100,000 of them on its head: 37 MB a minute.

    Args:
        run: name of the run.
        part: the actor's name within the run.
        shell: what it is.
        arguments: of the shell.
        groups: threads of each concurrency group.
        options: what it reserves, as Ray names it; no CPU unless said.
    """
    actor = cast(Any, ray.remote)(concurrency_groups=dict(groups or {}))(shell)
    ours = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": CONTROL_THREADS}
    ours |= {"enable_task_events": False, **options}
    handle: ActorHandle[Any] = actor.options(name=actor_name(run, part), namespace=NAMESPACE, **ours).remote(*arguments)
    return handle


def wait_until_up(handle: ActorHandle[Any], peer: str, *, timeout_s: float = 60.0) -> None:
    """Wait until an actor answers.

    Raises:
        PeerUnavailableError: it did not in ``timeout_s`` seconds.
        TmrlError: it could not be started.
    """
    ask(handle.process_id.remote, peer, timeout_s=timeout_s)


def end_actor(handle: ActorHandle[Any]) -> None:
    """End an actor for good."""
    ray.kill(handle, no_restart=True)


def _ours(error: BaseException, peer: str) -> BaseException:
    if isinstance(error, RayActorError) and error.actor_init_failed:
        log.error("%s could not be started: %s", peer, error)
        refused = TmrlError(f"{peer} could not be started: {_reason(str(error))}")
        refused.__cause__ = error
        return refused
    if isinstance(error, _AWAY):
        away = PeerUnavailableError(f"{peer} is away ({type(error).__name__})")
        away.__cause__ = error
        return away
    if isinstance(error, RayTaskError) and isinstance(error.cause, TmrlError):
        return error.cause
    return error


def _reason(traceback: str) -> str:
    """Return the end of a printed traceback: what was raised last, and what it says."""
    lines = traceback.splitlines()
    raised = [number for number, line in enumerate(lines) if re.match(r"[\w.]+: ", line)]
    return "\n".join(lines[raised[-1] if raised else -1 :])
