"""The one way in which the simulator compiles a kernel.

Kernels are compiled without fastmath and never run in parallel, so that the same inputs give the same bytes in
every process. The compiled code is cached on disk. numba marks a cached function as stale when *its* file changes,
but not when a kernel that it calls, in another file, does: then the old code would go on running, silently. Here
the stamp of each function covers the source of the whole package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


@cache
def sources_digest() -> str:
    """Return the SHA-256 of the package's source files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(function: F) -> F:
    """Compile ``function`` in nopython mode at its first call, and keep the machine code on disk."""
    return _compiled(function, into_callers=False)


def inlined(function: F) -> F:
    """Compile ``function`` as :func:`kernel` does, and copy its code into every kernel that calls it.

    For what runs several times a tick: a call by value of a track's arrays costs more than a ray through its triangles.
    """
    return _compiled(function, into_callers=True)


def _compiled(function: F, *, into_callers: bool) -> F:
    dispatcher: Any = numba.njit(cache=True, error_model="numpy", forceinline=into_callers)(function)
    cache_file = dispatcher._cache._cache_file
    cache_file._source_stamp = (cache_file._source_stamp, sources_digest())
    return cast(F, dispatcher)
