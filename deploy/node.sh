#!/usr/bin/env bash
# Makes this machine a node of a Ray cluster that wants a token:
#
#   deploy/node.sh head GAMES [OPTIONS]        the first node, on which training is started
#   deploy/node.sh join HEAD GAMES [OPTIONS]   each further one; HEAD is the first one's address
#
# GAMES is how many games it may run at once (simulators count, too). OPTIONS are those of ray start.
# Variables: FIRST_PORT (6379), HEAD_PORT (6379), OBJECT_STORE_BYTES (1 GiB), and Ray's own.
set -euo pipefail

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

port=${FIRST_PORT:-6379}
role=${1:-}
case "$role" in
head)
    [ $# -ge 2 ] || usage
    place=(--head --port="$port" --dashboard-host=127.0.0.1)
    ;;
join)
    [ $# -ge 3 ] || usage
    place=(--address="$2:${HEAD_PORT:-6379}")
    shift
    ;;
*) usage ;;
esac
games=$2
shift 2
[[ "$games" =~ ^[0-9]+$ ]] || usage

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
token=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
if [ -z "${RAY_AUTH_TOKEN:-}" ] && [ ! -s "$token" ]; then
    if [ "$role" = join ]; then
        echo "There is no token in $token: copy the head node's to there, and chmod 600 it." >&2
        exit 2
    fi
    (umask 077 && ray get-auth-token --generate >/dev/null)
fi
[ ! -f "$token" ] || chmod 600 "$token"

# Each worker process and each connection needs some files; 1024 are soon used up.
ulimit -n "$(ulimit -Hn)"

# Ports are fixed so that a firewall can know them. Weights and chunks need little of the object store: experience
# lies in shared memory of its own.
exec ray start "${place[@]}" \
    --resources="{\"game\": $games}" \
    --object-store-memory="${OBJECT_STORE_BYTES:-$((1 << 30))}" \
    --node-manager-port=$((port + 1)) \
    --object-manager-port=$((port + 2)) \
    --runtime-env-agent-port=$((port + 3)) \
    --dashboard-agent-listen-port=$((port + 4)) \
    --metrics-export-port=$((port + 5)) \
    --min-worker-port=$((port + 4000)) --max-worker-port=$((port + 4999)) \
    "$@"
