"""Joins a running Ray cluster, or says within seconds why that cannot be and what to do about it.

Ray itself tries a token that is refused for 20 s, and an address where nothing answers for minutes. So the cluster's
control service is asked once before Ray is: whether it lives, which version it has, and whether our token is its own.
The token itself is in no message.
"""

from __future__ import annotations

from typing import Any, cast

import grpc
import ray
from ray.exceptions import AuthenticationError

from tmrl_ray.errors import ClusterError

ANSWER_S = 3.0
"""For so long the control service may keep us waiting; it answers within milliseconds, across oceans in a second."""

_TOKEN_HINT = (
    "Every machine needs the cluster's token: copy ~/.ray/auth_token from the head node to the same place here, "
    "chmod 600 it, and export RAY_AUTH_MODE=token (deploy/README.md, Tokens)."
)


def join_cluster(address: str, **options: Any) -> None:
    """Make this process a part of a running cluster.

    Args:
        address: host:port, or auto: what ``RAY_ADDRESS`` says, or else the cluster that was last started here.
        options: of ``ray.init``.

    Raises:
        ClusterError: none is there, it has other versions, it does not take our token, or this machine is no part of
            it.
    """
    place = _resolve(address)
    _check(place)
    try:
        ray.init(address=place, **options)
    except (AuthenticationError, ConnectionError, RuntimeError) as error:
        ray.shutdown()
        reason = str(error.__cause__ or error).strip()
        if "Version mismatch" in reason:  # of Python: the control service tells its version of Ray only
            raise ClusterError(
                f"the Ray cluster at {place} has other versions.\n{reason[reason.index('Version mismatch') :]}",
                hint="All machines need the same Ray and the same Python, to the last number.",
            ) from error
        raise ClusterError(
            f"cannot join the Ray cluster at {place}: {reason.splitlines()[-1]}",
            hint="This machine must be a part of it: `deploy/node.sh join` makes it one.",
        ) from error


def _check(place: str) -> None:
    try:
        reply = _ask(place)
    except AuthenticationError as error:
        raise ClusterError(f"there is no token for the Ray cluster at {place}", hint=_TOKEN_HINT) from error
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise ClusterError(
                f"the Ray cluster at {place} does not take our token, or got none", hint=_TOKEN_HINT
            ) from None
        raise ClusterError(
            f"no Ray cluster answers at {place} ({error.code().name.lower().replace('_', ' ')})",
            hint="Look on its head node: ray status. If it runs, look at the firewall (deploy/README.md, Ports).",
        ) from error
    if reply.ray_version and reply.ray_version != ray.__version__:
        raise ClusterError(
            f"the Ray cluster at {place} has Ray {reply.ray_version}, this machine has {ray.__version__}",
            hint="All machines need the same versions: pip install -c constraints.txt 'tmrl_ray[train]' on each.",
        )


def _resolve(address: str) -> str:
    """Return host:port, as Ray will understand the address."""
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    from ray._private.services import canonicalize_bootstrap_address

    if address == "auto":  # as Ray does for a cluster that it finds, and for no address that was given to it
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        return str(canonicalize_bootstrap_address(address))
    except ConnectionError as error:
        raise ClusterError(
            "no Ray cluster was started on this machine, and RAY_ADDRESS names none elsewhere",
            hint="Start one with deploy/node.sh head 1, give --address HOST:6379, or leave --address out.",
        ) from error
    except (ValueError, OSError) as error:
        raise ClusterError(f"{address} is no address of a Ray cluster: {error}", hint="Give HOST:6379.") from error


def _ask(place: str) -> Any:
    """Return what the control service says of itself; Ray has no public call for that which ends in time."""
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    channel = init_grpc_channel(place, options=[("grpc.enable_http_proxy", 0)])  # as Ray: nodes are not behind one
    try:
        service = cast(Any, NodeInfoGcsServiceStub)(channel)
        return service.CheckAlive(cast(Any, messages).CheckAliveRequest(), timeout=ANSWER_S)
    finally:
        channel.close()
