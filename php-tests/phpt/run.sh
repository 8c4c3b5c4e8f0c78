#!/usr/bin/env bash
# PHP's own web tests, against `rr` or, for comparison, php-fpm. Usage: run.sh rr BINARY PHP | fpm PREFIX [TESTS…]
#
# run-tests.php is told that php-cgi is `cgi`, which hands each request to a FastCGI server. PHP is a command line of the
# same version; results are in $work/results.txt, one line a test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${RR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rr}
kind=$1 binary=$2
shift 2
case $kind in
  rr) php=$1 && shift ;;
  fpm) php=$binary/bin/php ;;
  *) echo "run.sh: rr or fpm?" >&2 && exit 2 ;;
esac
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill $server; wait $server; } 2>/dev/null || true' EXIT

source=$cache/src/php-tests-of-$(basename "$(ls "$cache"/src/php-*.tar.xz | tail -n 1)" .tar.xz)
if [ ! -e "$source/.complete" ]; then
  mkdir -p "$source"
  tar xf "$(ls "$cache"/src/php-*.tar.xz | tail -n 1)" -C "$source" --strip-components=1 --wildcards '*/run-tests.php' '*/tests/*'
  touch "$source/.complete"
fi

# The tests write beside themselves; another run may be doing the same.
cp -a "$source" "$work/php"
source=$work/php

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
web=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
case $kind in
  rr)
    mkdir "$work/root"
    # A run that takes too long is killed, and with it its trap.
    setpriv --pdeathsig TERM "$binary" serve "$work/root" -o "http.address=127.0.0.1:$web" -o "http.fcgi.address=127.0.0.1:$port" \
      -o http.pool.num_workers=4 >"$work/server.log" 2>&1 &
    ;;
  fpm)
    printf '[global]\nerror_log = %s/fpm.log\ndaemonize = no\n[www]\nuser = root\ngroup = root\nlisten = 127.0.0.1:%s\npm = static\npm.max_children = 4\npm.max_requests = 1\nsecurity.limit_extensions =\n' \
      "$work" "$port" >"$work/fpm.conf"
    : >"$work/php.ini"
    "$binary/sbin/php-fpm" -R -F -c "$work/php.ini" -y "$work/fpm.conf" >"$work/server.log" 2>&1 &
    ;;
esac
server=$!
for _ in $(seq 100); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break || sleep 0.1; done
kill -0 $server 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }

# Those that need a web server: a request section in the test. Phars in zip need phar.require_hash, which PHP_VALUE may not set.
if [ $# = 0 ]; then
  mapfile -t tests < <(cd "$source" && grep -rlE '^--(GET|POST|POST_RAW|GZIP_POST|PUT|COOKIE|CGI|EXPECTHEADERS)--' --include='*.phpt' tests Zend/tests ext/{filter,iconv,mbstring,phar,session,soap,standard,zlib}/tests | grep -v ext/phar/tests/zip/ | sort)
else
  tests=("$@")
fi
cd "$source"
env RR_FCGI="127.0.0.1:$port" RR_PHP="$php" TEST_PHP_EXECUTABLE="$php" TEST_PHP_CGI_EXECUTABLE="$here/cgi" NO_INTERACTION=1 \
  "$php" -n run-tests.php -q -n -W "$work/results.txt" "${tests[@]}" >"$work/run.log" 2>&1 || true
kill $server 2>/dev/null || true
cut -f1 "$work/results.txt" | sort | uniq -c
grep -P '^(FAILED|BORKED|LEAKED)' "$work/results.txt" | sort | sed 's/^/  /' || true
echo "results: $work/results.txt, log: $work/run.log"
