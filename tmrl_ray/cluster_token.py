"""The token that a Ray cluster demands, in the environment of this process.

Ray listens on all network interfaces and runs whatever it is sent, so a cluster that a command starts demands a token.
Ray reads these variables when it is imported, and not again.
"""

from __future__ import annotations

import os
import secrets
import sys

MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
"""Ray's environment variables."""


def guard() -> str | None:
    """Let clusters that this process starts demand a new token, unless the environment says what they do.

    Returns:
        The token; None: the environment decides.

    Raises:
        RuntimeError: Ray is imported already, so that it would not notice.
    """
    if os.environ.get(MODE) or os.environ.get(TOKEN):
        return None
    if "ray" in sys.modules:
        raise RuntimeError("guard() must be called before Ray is imported")
    token = secrets.token_hex(32)
    use_token(token)
    return token


def use_token(token: str) -> None:
    """Show this token to whatever cluster this process joins."""
    os.environ.update({MODE: "token", TOKEN: token})
