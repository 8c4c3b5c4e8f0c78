# The workloads: what is asked, by whom it can be answered, what a right answer is. Sourced by run.sh.

path_of() {
  case $1 in
    hello) echo /hello.php ;;
    worker-* | psr7) echo / ;;
    server) echo '/server.php?name=value&list%5B%5D=1&list%5B%5D=2' ;;
    echo) echo /echo.php ;;
    static1k | tls1k | h2-1k | h3-1k | handshake | resume) echo /static/1k.txt ;;
    static1m | tls1m | h2-1m | h3-1m) echo /static/1m.txt ;;
    gzip) echo /static/page.html ;;
    gzip-php) echo /page.php ;;
    wordpress) echo / ;;
    symfony | laravel) echo /hello/world ;;
  esac
}

# runs KIND WORKLOAD: whether a server of that kind takes part.
runs() {
  if is_edge "$2"; then
    edge_runs "$@"
    return
  fi
  case $1 in
    caddy) [[ $2 = static* ]] ;;
    hyper) [[ $2 = hello || $2 = worker-* ]] ;;
    fpm) [[ $2 != worker-* && $2 != psr7 ]] ;;
    fpmkept) [[ " hello server echo wordpress " == *" $2 "* ]] ;;
    frankenphp) [[ $2 != psr7 ]] ;;
    roadrunner) [[ $2 != static* && $2 != wordpress ]] ;;
    roadrunnersame) [ "$2" = psr7 ] ;;
    rr) true ;;
  esac
}

# answers KEY WORKLOAD: the answer is what it must be; a redirect or an error page would be quick as well.
answers() {
  if is_edge "$2"; then
    edge_answers "$@"
    return
  fi
  local url=http://127.0.0.1:${port[$1]}$(path_of "$2") got=$tmp/answer status post=()
  [ "$2" = echo ] && post=(--data-binary "@$tmp/post" -H 'Content-Type: application/octet-stream' -H 'Expect:')
  status=$(curl -s -o "$got" -w '%{http_code}' "${post[@]}" "$url") || status="none ($?)"
  [ "$status" = 200 ] || { echo "status $status"; return 1; }
  case $2 in
    hello | worker-* | psr7) [ "$(cat "$got")" = 'Hello, World!' ] ;;
    server) [ "${kind[$1]}" = roadrunner ] || grep -q '"PHP_SELF":"\\/server.php"' "$got" ;;
    echo) [ "$(cat "$got")" = "1048576 $(md5sum <"$tmp/post" | cut -d' ' -f1)" ] ;;
    static1k) cmp -s "$got" "$docroot/static/1k.txt" ;;
    static1m) cmp -s "$got" "$docroot/static/1m.txt" ;;
    wordpress) grep -q 'Hello world!' "$got" && grep -q '</html>' "$got" ;;
    symfony | laravel) grep -q '^{"hello":"world",' "$got" ;;
  esac || { echo "a wrong answer ($(wc -c <"$got") bytes)"; return 1; }
}

# ticks KEY: user and system time of all its processes, in ticks of the clock.
ticks() {
  local pid
  for pid in $(family ${pids[$1]}); do cat "/proc/$pid/stat" 2>/dev/null || true; done |
    awk '{ sub(/.*\) /, ""); sum += $12 + $13 } END { print sum + 0 }'
}

# load KEY WORKLOAD SECONDS: prints "requests microseconds p50 p99 bad".
load() {
  if is_edge "$2"; then
    edge_load_of "$@"
    return
  fi
  local clients=32 post=0 headers=()
  case $2 in
    wordpress) clients=8 ;;
    echo) post=1048576 ;;
    server) headers=(-H 'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0)' -H 'Accept: text/html,application/xhtml+xml' -H 'Accept-Language: en,de;q=0.5' -H 'Cookie: a=1; b=2; session=0123456789abcdef') ;;
  esac
  BENCH_POST=$post wrk -t1 -c"$clients" -d"${3}s" --timeout 20s -s "$here/wrk.lua" "${headers[@]}" \
    "http://127.0.0.1:${port[$1]}$(path_of "$2")" 2>&1 | tee -a "$tmp/log/wrk.log" | sed -n 's/^RESULT //p'
}
