#!/bin/sh
# Pipes a file through a broker that is killed and restarted in between, and compares what comes back.
#   ./demo.sh [FILE]     without FILE: the sources of the dependencies that cargo has fetched
set -eu
input=${1:-}
case $input in '' | /*) ;; *) input=$PWD/$input ;; esac
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-target}

echo "building (release) ..."
cargo build --release --locked --quiet -p corduroy-brokerd -p corduroy-logctl
PATH=$(cd "$target/release" && pwd):$PATH

dir=$(mktemp -d "${TMPDIR:-/tmp}/corduroy-demo.XXXXXX")
broker=
finish() {
  [ -z "$broker" ] || kill -9 "$broker" 2>/dev/null || :
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "$input" ]; then
  input=$dir/sources.txt
  cargo fetch --locked --quiet
  find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -type f -name '*.rs' -size -2000 -exec cat {} + 2>/dev/null | head -c 150000000 >"$input"
  echo >>"$input"
  while [ "$(wc -c <"$input")" -lt 100000000 ]; do cat "$input" "$input" >"$dir/twice" && mv "$dir/twice" "$input"; done
fi
[ -r "$input" ] || { echo "demo: cannot read $input" >&2; exit 2; }

start() { # starts the broker on free ports and waits for its report
  : >"$dir/report"
  # The watermarks keep a share of the disk free; what this needs is there or it is not.
  brokerd --data-dir "$dir/data" --listen 127.0.0.1:0 --set listen.http=127.0.0.1:0 \
    --set storage.disk_block_watermark=0 --set storage.disk_low_watermark=0 >"$dir/report" 2>"$dir/log" &
  broker=$!
  until grep -q '^ready in' "$dir/report"; do
    kill -0 "$broker" 2>/dev/null || { echo "demo: brokerd did not start" >&2; cat "$dir/log" >&2; exit 1; }
    sleep 0.05
  done
  LOGCTL_SERVER=$(sed -n 's/^ *grpc *\(http:[^ ]*\).*/\1/p' "$dir/report")
  export LOGCTL_SERVER
}

now() { date +%s.%N | sed 's/N$/0/'; } # seconds; whole ones where date knows no finer
rate() { awk -v bytes="$(wc -c <"$input")" -v from="$1" -v to="$(now)" 'BEGIN { printf "%.0f MB/s", bytes / 1e6 / (to - from + 0.001) }'; }

start
logctl topic create demo -p 1 >/dev/null 2>&1
began=$(now) && summary=$(logctl produce demo "$input" --report summary 2>&1 >/dev/null | tail -n 1)
echo "in:         $summary, $(rate "$began")"
kill -9 "$broker" && { wait "$broker" 2>/dev/null || :; }
start
echo "recovery:   $(sed -n 's/^ready in \([0-9]* ms\).*/ready \1 after the restart that followed kill -9/p' "$dir/report")"
began=$(now) && logctl consume demo --to end >"$dir/output" 2>"$dir/summary"
echo "out:        $(tail -n 1 "$dir/summary"), $(rate "$began")"
if [ -n "$(tail -c 1 "$input")" ]; then cp "$input" "$dir/expected" && echo >>"$dir/expected" && input=$dir/expected; fi
cmp "$input" "$dir/output" && echo "identical:  $(wc -c <"$dir/output") bytes"
