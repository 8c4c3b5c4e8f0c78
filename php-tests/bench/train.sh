#!/usr/bin/env bash
# train.sh BUILD: runs the instrumented `php` of that build folder on what the optimised PHP is to be good at: WordPress on
# MariaDB, small scripts, and PHP's own benchmark of the language. Its counters end up beside its object files.
# Environment: RR_CACHE; ROUNDS.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "${1:?is the folder that PHP was built in}" && pwd)
export RR_CACHE=${RR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rr}
ROUNDS=${ROUNDS:-100}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'train: %s\n' "$*" >&2; exit 1; }

# shellcheck source=servers.sh
. "$here/servers.sh"
# shellcheck source=wordpress.sh
. "$here/wordpress.sh"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/rr-train.XXXXXX")
chmod 755 "$tmp"
mkdir -p "$tmp/log"
started=() notes=() versions=()
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

# interrupt KEY: ends PHP's web server in the way in which it still writes its counters down.
interrupt() {
  local pid=${pids[$1]# }
  kill -INT "$pid"
  wait "$pid" || true
  unset "pids[$1]" "port[$1]"
}

php_binary=$build/sapi/cli/php
php_environment
printf 'zend_extension=%s\nopcache.enable_cli=1\n' "$build/modules/opcache.so" >"$tmp/ini/php.ini"
label[trained]='the PHP to be trained'

wordpress "$tmp/wordpress" php || die "${notes[*]}"
start_php trained "$tmp/wordpress"
pages=(/ / / '/?p=1' '/?page_id=2' '/?feed=rss2' '/?s=hello' '/?rest_route=/wp/v2/posts' /wp-login.php /no/such/page/
  /hello.php '/server.php?name=value&list%5B%5D=1' /settings.php)
say "$ROUNDS rounds of ${#pages[@]} pages"
for ((round = 1; round <= ROUNDS; round++)); do
  for page in "${pages[@]}"; do
    status=$(curl -s -o /dev/null -w '%{http_code}' --max-time 60 "http://127.0.0.1:${port[trained]}$page")
    case $page:$status in
      /no/such/page/:404 | *:200) ;;
      *) die "$page: status $status" ;;
    esac
  done
done
awk 'BEGIN { while (n++ < 65536) printf "0123456789abcdef" }' >"$tmp/post"
curl -s -o /dev/null --data-binary "@$tmp/post" -H 'Expect:' "http://127.0.0.1:${port[trained]}/echo.php?[1-20]"
interrupt trained
say "the language"
PHPRC=$tmp/ini PHP_INI_SCAN_DIR='' "$php_binary" "$build/Zend/bench.php"
