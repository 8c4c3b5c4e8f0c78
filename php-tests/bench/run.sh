#!/usr/bin/env bash
# ./x bench [--only WORKLOAD] [--psr7 SCRIPT] [--keep] [RIVAL…]: rr beside plain hyper, nginx + php-fpm and the rivals named by path, in
# one run. WORKLOAD is one of `all` below. --psr7 names a worker that answers "Hello, World!" with spiral/roadrunner-http: those packages
# are not ours to fetch. --keep appends the tables to RESULTS.md.
# Environment: RR_BIN, NTS_PREFIX (a PHP with php-fpm), RR_CACHE, CARGO_TARGET_DIR, PHP_CONFIG; ROUNDS, SECONDS_EACH, WORKERS, IDLE (connections), PROFILE (of cargo, for load generators).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export RR_CACHE=${RR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rr}
ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-5} WORKERS=${WORKERS:-4}
WARM_UP=${WARM_UP:-2} IDLE=${IDLE:-1000} PROFILE=${PROFILE:-release}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'bench: %s\n' "$*" >&2; exit 1; }

all=(hello worker-callback worker-pull worker-frankenphp psr7 server echo static1k static1m tls1k tls1m h2-1k h2-1m h3-1k h3-1m handshake resume gzip gzip-php idle symfony laravel memory-laravel scaling wordpress memory)
only=() rivals=() keep= psr7=
while [ $# -gt 0 ]; do
  case $1 in
    --only) [ $# -gt 1 ] || die "--only needs one of: ${all[*]}"; only+=("$2"); shift ;;
    --psr7) [ -f "${2:-}" ] || die "--psr7 needs the path of a worker script"; psr7=$(realpath "$2"); shift ;;
    --keep) keep=1 ;;
    -*) die "unknown option $1" ;;
    *) rivals+=("$1") ;;
  esac
  shift
done
[ ${#only[@]} = 0 ] && only=("${all[@]}")
for name in "${only[@]}"; do [[ " ${all[*]} " == *" $name "* ]] || die "no workload $name; there are: ${all[*]}"; done
wanted() { [[ " ${only[*]} " == *" $1 "* ]]; }
wants_edge() { [[ " ${only[*]} " =~ \ (tls|h2-|h3-|handshake|resume|gzip|idle) ]]; }

# shellcheck source=servers.sh
. "$here/servers.sh"
# shellcheck source=rivals.sh
. "$here/rivals.sh"
# shellcheck source=workloads.sh
. "$here/workloads.sh"
# shellcheck source=edge.sh
. "$here/edge.sh"
# shellcheck source=applications.sh
. "$here/applications.sh"
# shellcheck source=wordpress.sh
. "$here/wordpress.sh"
# shellcheck source=memory.sh
. "$here/memory.sh"
# shellcheck source=scaling.sh
. "$here/scaling.sh"
# shellcheck source=report.sh
. "$here/report.sh"

# --- what is needed --------------------------------------------------------------------------------------------------------

tools() {
  local package missing=()
  command -v wrk >/dev/null || missing+=(wrk)
  command -v nginx >/dev/null || missing+=(nginx)
  command -v curl >/dev/null || missing+=(curl)
  if wants_edge; then
    command -v h2load >/dev/null || missing+=(nghttp2-client)
    command -v openssl >/dev/null || missing+=(openssl)
    [[ " ${rivals[*]} " == *caddy* ]] || command -v caddy >/dev/null || missing+=(caddy)
  fi
  if wanted wordpress || wanted memory; then
    command -v mariadbd >/dev/null || missing+=(mariadb-server-core)
    command -v mariadb >/dev/null || missing+=(mariadb-client-core)
  fi
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}, to measure with"
  # RUNLEVEL=1: Debian's nginx would otherwise start a server of its own.
  local install='RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive; export RUNLEVEL DEBIAN_FRONTEND; apt-get -qq update && apt-get install -qq -y --no-install-recommends "$@"'
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" sh -c "$install" sh "${missing[@]}" >"$tmp/log/apt.log" 2>&1 || { tail "$tmp/log/apt.log" >&2; die "apt-get could not install ${missing[*]}"; }
}

binaries() {
  if [ -z "${NTS_PREFIX:-}" ]; then
    for NTS_PREFIX in "$RR_CACHE"/php-*-nts-*/; do :; done
    NTS_PREFIX=${NTS_PREFIX%/}
  fi
  [ -x "$NTS_PREFIX/sbin/php-fpm" ] || die "no php-fpm in NTS_PREFIX=$NTS_PREFIX; call this through ./x bench"
  binary[rr]=$(realpath "${RR_BIN:?is the release binary to measure; call this through ./x bench}") kind[rr]=rr label[rr]=rr
  "${binary[rr]}" --version >/dev/null || die "$RR_BIN does not run"
  kind[fpm]=fpm label[fpm]='nginx + php-fpm'
  kind[fpmkept]=fpmkept label[fpmkept]='nginx + php-fpm, kept connections'
  kind[hyper]=hyper label[hyper]='plain hyper'
  versions=("rr: $("${binary[rr]}" --version | head -n 1), commit $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown), $(stat -c %y "${binary[rr]}" | cut -c1-16)")
  versions+=("nginx + php-fpm: $(nginx -v 2>&1 | sed 's/.*: //'), $("$NTS_PREFIX/sbin/php-fpm" -n -v | head -n 1)")
  if wants_edge && [[ " ${rivals[*]} " != *caddy* ]]; then rivals+=("$(command -v caddy)"); fi
  local number=0 path
  for path in "${rivals[@]}"; do
    number=$((number + 1))
    rival "rival$number" "$path"
  done
  if [[ " ${only[*]}" == *" hello"* || " ${only[*]}" == *" worker-"* ]]; then
    say "building plain-hyper"
    (cd "$root" && cargo build --profile "$PROFILE" --example plain-hyper >"$tmp/log/cargo.log" 2>&1) || { tail -n 30 "$tmp/log/cargo.log" >&2; die "cargo build"; }
    binary[hyper]=${CARGO_TARGET_DIR:-$root/target}/$PROFILE/examples/plain-hyper
    versions+=("plain hyper: hyper $(sed -n '/^name = "hyper"$/{n;s/version = "\(.*\)"/\1/p}' "$root/Cargo.lock"), one thread")
  fi
}

# --- one workload ----------------------------------------------------------------------------------------------------------

measure() {
  local workload=$1 key round keys=() before after result wrong
  shift
  for key; do
    runs "${kind[$key]}" "$workload" || continue
    if ! wrong=$(answers "$key" "$workload"); then
      notes+=("$workload, ${label[$key]}: not run, $wrong")
      continue
    fi
    keys+=("$key")
    sizes[$workload]+="${sizes[$workload]:+, }${label[$key]} $(wc -c <"$tmp/answer")"
    load "$key" "$workload" "$WARM_UP" >/dev/null
  done
  say "$workload: ${#keys[@]} servers, $ROUNDS rounds of $SECONDS_EACH s (load average $(cut -d' ' -f1 /proc/loadavg))"
  for ((round = 1; round <= ROUNDS; round++)); do
    for key in "${keys[@]}"; do
      before=$(ticks "$key")
      result=$(load "$key" "$workload" "$SECONDS_EACH")
      after=$(ticks "$key")
      [ -n "$result" ] || die "wrk said nothing; see the end of its log: $(tail -n 5 "$tmp/log/wrk.log")"
      echo "$workload $key $round $result $((after - before))" >>"$tmp/results"
    done
    # Each round in the other direction: nobody always follows the same neighbour.
    reverse keys
  done
  for key in "${keys[@]}"; do
    wrong=$(answers "$key" "$workload") || notes+=("$workload, ${label[$key]}: after the run $wrong")
  done
}

reverse() {
  local -n list=$1
  local item turned=()
  for item in "${list[@]}"; do turned=("$item" "${turned[@]}"); done
  list=("${turned[@]}")
}

# phase FOLDER WORKLOAD…: all the servers on one folder, the wanted workloads on them, all stopped.
phase() {
  docroot=$1
  local workload key here_wanted=() keys=()
  shift
  for workload; do wanted "$workload" && here_wanted+=("$workload"); done
  [ ${#here_wanted[@]} = 0 ] && return
  for key in rr fpm fpmkept hyper "${rival_keys[@]}"; do
    for workload in "${here_wanted[@]}"; do
      if runs "${kind[$key]}" "$workload"; then
        "start_${kind[$key]}" "$key" "$docroot" "$WORKERS"
        keys+=("$key")
        break
      fi
    done
  done
  settings "${keys[@]}"
  for workload in "${here_wanted[@]}"; do measure "$workload" "${keys[@]}"; done
  stop "${keys[@]}"
}

# settings KEY…: the ini values of each; where one differs from php-fpm's, the footer says so.
settings() {
  local key differs
  # Where a worker answers everything, nothing else can be asked.
  [[ -n "${port[fpm]:-}" && ${#rr_options[@]} = 0 ]] || return 0
  # Both without OPcache would agree with each other as well.
  for key in fpm "$@"; do
    case ${kind[$key]} in hyper | roadrunner | caddy) continue ;; esac
    curl -s "http://127.0.0.1:${port[$key]}/settings.php" >"$tmp/settings.$key"
    grep -q '^opcache running = 1' "$tmp/settings.$key" || die "no OPcache in ${label[$key]}"
    differs=$({ diff "$tmp/settings.fpm" "$tmp/settings.$key" || true; } | sed -n 's/^> //p' | paste -sd';' | sed 's/;/; /g')
    [ -z "$differs" ] || [[ "${notes[*]}" == *"$differs"* ]] || notes+=("settings in ${label[$key]} unlike php-fpm's: $differs")
  done
}

# --- the run ---------------------------------------------------------------------------------------------------------------

tmp=$(mktemp -d "${TMPDIR:-/tmp}/rr-bench.XXXXXX")
chmod 755 "$tmp"
mkdir -p "$tmp/log"
started=() rival_keys=() notes=() versions=()
declare -A sizes=()
clean_up() {
  local status=$?
  trap - EXIT
  [ ${#started[@]} = 0 ] || end "${started[@]}"
  rm -rf "$tmp"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
: >"$tmp/results"
load_before=$(cut -d' ' -f1-3 /proc/loadavg)

tools
binaries
php_environment
awk 'BEGIN { while (n++ < 65536) printf "0123456789abcdef" }' >"$tmp/post"
documents "$tmp/www"
phase "$tmp/www" hello server echo static1k static1m
if wants_edge; then edge; fi
for name in worker-callback worker-pull worker-frankenphp; do worker "$name"; done
if wanted psr7; then psr7; fi
for name in symfony laravel; do application "$name"; done
if wanted memory-laravel; then memory_laravel; fi
if wanted scaling; then scaling; fi
if wanted wordpress || wanted memory; then
  if wordpress "$tmp/wordpress"; then
    phase "$tmp/wordpress" wordpress
    if wanted memory; then memory; fi
  fi
fi
report >"$tmp/report.md"
cat "$tmp/report.md"
if [ -n "$keep" ]; then
  [ -f "$here/RESULTS.md" ] || printf '# Results of `./x bench --keep`, the latest last\n' >"$here/RESULTS.md"
  cat "$tmp/report.md" >>"$here/RESULTS.md"
  say "appended to $here/RESULTS.md"
fi
