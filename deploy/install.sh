#!/usr/bin/env bash
# Installs tmrl_ray from this folder into ~/tmrl_venv, with the Python and the versions that all nodes must share:
# Ray refuses to join processes whose Python differs in the last number.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$HOME/.local/bin:$PATH"
command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
uv venv --quiet --allow-existing --python 3.11.7 "$HOME/tmrl_venv"
uv pip install --quiet --python "$HOME/tmrl_venv/bin/python" -c constraints.txt '.[train]' "$@"
