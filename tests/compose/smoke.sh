#!/usr/bin/env bash
# The compose stack at work: up with two workers, a job sent to the service, one worker killed, the result searched, down again.
#
# What runs is compose.yaml as it is. The image is the last stage of the Dockerfile over the program that cargo has built here
# and the models of the cache, so that nothing is compiled a second time; PROTEXT is the program's path.
set -euo pipefail
cd "$(dirname "$0")/../.."

protext=$(realpath "${PROTEXT:-target/release/protext}")
cache=${PROTEXT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/protext}
if ! docker info > /dev/null 2>&1; then
    echo "NOT RUN: the compose stack: no Docker engine answers" >&2
    exit 0
fi
if docker compose version > /dev/null 2>&1; then compose=(docker compose)
elif command -v docker-compose > /dev/null; then compose=(docker-compose)
else
    echo "NOT RUN: the compose stack: docker has no compose; apt-get install docker-compose" >&2
    exit 0
fi
compose+=(--project-name protext-smoke)
work=$(mktemp -d)
export PROTEXT_PORT=0

finish() {
    code=$?
    if [ "$code" != 0 ]; then "${compose[@]}" logs --tail 30 >&2 || true; fi
    "${compose[@]}" down --volumes --timeout 5 > /dev/null 2>&1 || true
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT

if ! tests/compose/make_base_images.sh debian nats > "$work/images.log" 2>&1; then
    tail -5 "$work/images.log" >&2
    echo "NOT RUN: the compose stack: its base images cannot be had here" >&2
    exit 0
fi

# The last stage of the Dockerfile, with what is here in place of the stages before it.
awk '/^FROM /{stage = ""} {stage = stage $0 "\n"} END {printf "%s", stage}' Dockerfile \
    | sed -e 's|COPY --from=build /out/protext|COPY protext|' -e 's|COPY --from=models /opt/protext|COPY cache|' > "$work/Dockerfile"
cp "$protext" "$work/protext"
mkdir "$work/cache"
for part in models onnx runtime heads demo; do
    if [ -e "$cache/$part" ]; then cp -r "$cache/$part" "$work/cache/"; fi
done
PROTEXT_CACHE="$work/cache" "$work/protext" demo --check-only > /dev/null
chmod -R a+rX "$work"
if ! docker build --quiet --tag protext:local "$work" > "$work/build.log" 2>&1; then
    tail -5 "$work/build.log" >&2
    echo "NOT RUN: the compose stack: Docker builds no image here" >&2
    exit 0
fi
rm -rf "$work/cache" "$work/protext"

mkdir -p data collections
"${compose[@]}" up --detach --no-build --scale worker=2 api worker queue
address=http://$("${compose[@]}" port api 8080)
for _ in $(seq 120); do
    if curl --silent --fail "$address/readyz" > /dev/null; then break; fi
    sleep 1
done
curl --silent --fail "$address/readyz" > /dev/null
echo "up: $address"

awk '/^>/{n++} n <= 300' services/cli/demo/proteins.fasta > "$work/in.fasta"
field() { curl --silent --fail "$address/v1/jobs/smoke" | python3 -c "import json, sys; job = json.load(sys.stdin); print($1)"; }
curl --silent --show-error --fail "$address/v1/jobs?kind=index&name=smoke&shard_residues=4000" -H 'content-type: text/x-fasta' \
    --data-binary @"$work/in.fasta" > /dev/null
for _ in $(seq 240); do
    if [ "$(field "job['shards']['n_done']")" -gt 0 ]; then break; fi
    sleep 0.5
done
# Not through `head`, which would break the pipe of a program that has more to say.
killed=$("${compose[@]}" ps --quiet worker)
killed=${killed%%$'\n'*}
docker kill --signal KILL "$killed" > /dev/null
echo "killed one of two workers after $(field "job['shards']['n_done']") of $(field "job['shards']['n']") shards"
for _ in $(seq 180); do
    state=$(field "job['state']")
    case $state in done) break ;; failed | cancelled) field "job['error']"; exit 1 ;; esac
    sleep 1
done
[ "$state" = done ]
found=$("${compose[@]}" exec -T api protext search - --index /jobs/smoke/results/collection.index -k 1 < "$work/in.fasta")
python3 - "$found" <<'PYTHON'
import sys
rows = [line.split("\t") for line in sys.argv[1].splitlines() if line and not line.startswith("query")]
wrong = [row[:4] for row in rows if float(row[3]) < 0.9999]
assert rows and not wrong, f"proteins that do not find themselves: {wrong}"
print(f"searched: {len(rows)} proteins find themselves")
PYTHON
