# The edge: TLS, HTTP/2, HTTP/3, compression and idle connections, beside nginx and Caddy. Sourced by run.sh.

# With $secure set, servers also listen on port_tls[KEY]; with $zipped set, they compress.
secure= zipped=
declare -A port_tls=()

edge_protocols=(tls1k tls1m h2-1k h2-1m h3-1k h3-1m handshake resume)
edge_compressed=(gzip gzip-php)

edge() {
  local protocol
  (cd "$root" && cargo build --profile "$PROFILE" --example edge-load >"$tmp/log/cargo.log" 2>&1) || { tail -n 30 "$tmp/log/cargo.log" >&2; die "cargo build"; }
  edge_load=${CARGO_TARGET_DIR:-$root/target}/$PROFILE/examples/edge-load
  certificate
  secure=1 rr_options=(-o "http.ssl.cert=$tmp/cert.pem" -o "http.ssl.key=$tmp/key.pem")
  phase "$tmp/www" "${edge_protocols[@]}"
  if wanted idle; then for protocol in plain tls h2 h3; do idle "$protocol"; done; fi
  secure=
  zipped=1 rr_options=(-o http.middleware=gzip)
  phase "$tmp/www" "${edge_compressed[@]}"
  zipped=
  ordinary
}

# ECDSA over P-256, as authorities issue it.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=server.test \
    -addext 'subjectAltName=DNS:server.test,DNS:localhost,IP:127.0.0.1' -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>"$tmp/log/openssl.log" ||
    die "openssl: $(tail -n 1 "$tmp/log/openssl.log")"
}

tls_port() { [ -z "$secure" ] || port_tls[$1]=$(free_port); }

# nginx_edge KEY: what nginx's server block has besides. It has no HTTP/3 in Debian's version.
nginx_edge() {
  if [ -n "$secure" ]; then
    cat <<CONF
    listen 127.0.0.1:${port_tls[$1]} ssl http2;
    ssl_certificate $tmp/cert.pem;
    ssl_certificate_key $tmp/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
CONF
  fi
  [ -z "$zipped" ] || echo '    gzip on; gzip_comp_level 5; gzip_min_length 1024;'
}

# Caddy, with a php-fpm of its own.
start_caddy() {
  local encode= php= listen=
  port[$1]=$(free_port)
  pids[$1]=
  tls_port "$1"
  if [ -n "$secure" ]; then
    listen="https://:${port_tls[$1]} {
	bind 127.0.0.1
	tls $tmp/cert.pem $tmp/key.pem
	root * $2
	file_server
}"
  fi
  if [ -n "$zipped" ]; then
    php_fpm "$1" "$2" "$3"
    encode='encode gzip' php="php_fastcgi unix/$tmp/$1.sock"
  fi
  cat >"$tmp/$1.Caddyfile" <<CONF
{
	admin off
	auto_https off
	default_sni server.test
	log {
		level ERROR
	}
}
http://:${port[$1]} {
	bind 127.0.0.1
	root * $2
	$encode
	$php
	file_server
}
$listen
CONF
  launch "$1" "$1" env HOME="$tmp/run" "${binary[$1]}" run --adapter caddyfile --config "$tmp/$1.Caddyfile"
  ready "$1" "$first_path"
}

# edge_runs KIND WORKLOAD
edge_runs() {
  case $1 in
    rr | caddy) true ;;
    fpm) [[ $2 != h3-* ]] ;;
    *) false ;;
  esac
}

is_edge() { [[ " ${edge_protocols[*]} ${edge_compressed[*]} " == *" $1 "* ]]; }

# edge_answers KEY WORKLOAD: as answers, which calls it.
edge_answers() {
  local got=$tmp/answer expected
  expected=$docroot$(path_of "$2")
  case $2 in
    h3-*)
      : >"$got"
      "$edge_load" idle h3 "127.0.0.1:${port_tls[$1]}" "$(path_of "$2")" 1 </dev/null 2>/dev/null | grep -q ready || { echo "no answer by HTTP/3"; return 1; }
      return
      ;;
    h2-*) curl -sk --http2 -o "$got" -w '%{http_version}' "https://localhost:${port_tls[$1]}$(path_of "$2")" | grep -qx 2 ;;
    gzip*)
      curl -s -o "$got" -D "$tmp/head" -H 'Accept-Encoding: gzip' "http://127.0.0.1:${port[$1]}$(path_of "$2")"
      grep -qi '^content-encoding: gzip' "$tmp/head" || { echo "an answer without compression"; return 1; }
      expected=$docroot/static/page.html
      gzip -dc <"$got" >"$got.plain" && cmp -s "$got.plain" "$expected" || { echo "a wrong answer"; return 1; }
      return
      ;;
    *) curl -sk --http1.1 -o "$got" "https://localhost:${port_tls[$1]}$(path_of "$2")" ;;
  esac
  cmp -s "$got" "$expected" || { echo "a wrong answer ($(wc -c <"$got") bytes)"; return 1; }
}

# edge_load_of KEY WORKLOAD SECONDS: as load, which calls it.
edge_load_of() {
  local path at=127.0.0.1:${port_tls[$1]:-}
  path=$(path_of "$2")
  case $2 in
    tls*) wrk_at "https://localhost:${port_tls[$1]}$path" "$3" 32 ;;
    gzip*) wrk_at "http://127.0.0.1:${port[$1]}$path" "$3" 32 -H 'Accept-Encoding: gzip' ;;
    h2-1k) h2load_at "$1" "$path" "$3" 8 8 ;;
    h2-1m) h2load_at "$1" "$path" "$3" 8 1 ;;
    h3-1k) "$edge_load" h3 "$at" "$path" 8 8 "$3" 2>>"$tmp/log/wrk.log" | sed -n 's/^RESULT //p' ;;
    h3-1m) "$edge_load" h3 "$at" "$path" 8 1 "$3" 2>>"$tmp/log/wrk.log" | sed -n 's/^RESULT //p' ;;
    handshake) "$edge_load" handshakes full "$at" "$path" 8 "$3" 2>>"$tmp/log/wrk.log" | sed -n 's/^RESULT //p' ;;
    resume) "$edge_load" handshakes resumed "$at" "$path" 8 "$3" 2>>"$tmp/log/wrk.log" | sed -n 's/^RESULT //p' ;;
  esac
}

# h2load_at KEY PATH SECONDS CONNECTIONS STREAMS: h2load tells no percentiles, hence the zeros.
h2load_at() {
  h2load -t1 -c"$4" -m"$5" -D"$3" -w24 -W26 --connect-to="127.0.0.1:${port_tls[$1]}" "https://server.test:${port_tls[$1]}$2" 2>&1 |
    tee -a "$tmp/log/wrk.log" | awk -v seconds="$3" '
      /^requests:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^succeeded/) good = $(i - 1); if ($i ~ /^(failed|errored|timeout)/) bad += $(i - 1) } }
      END { if (good != "") printf "%d %d 0 0 %d\n", good, seconds * 1000000, bad }'
}

# idle PROTOCOL: what a connection costs that has asked once and waits.
idle() {
  local key before after
  for key in rr fpm "${rival_keys[@]}"; do
    edge_runs "${kind[$key]}" "$1-1k" || continue
    "start_${kind[$key]}" "$key" "$tmp/www" "$WORKERS"
    hold "$key" "$1" 20
    end_hold
    sleep 1
    before=$(own_pss "$key")
    hold "$key" "$1" "$IDLE"
    sleep 2
    after=$(own_pss "$key")
    end_hold
    echo "$1 $key $IDLE $before $after" >>"$tmp/idle"
    say "idle $1, ${label[$key]}: $before KiB, $after KiB with $IDLE connections"
    stop "$key"
  done
}

# wrk_at URL SECONDS CLIENTS [HEADER…]
wrk_at() {
  BENCH_POST=0 wrk -t1 -c"$3" -d"${2}s" --timeout 20s -s "$here/wrk.lua" "${@:4}" "$1" 2>&1 | tee -a "$tmp/log/wrk.log" | sed -n 's/^RESULT //p'
}

# hold KEY PROTOCOL COUNT: opens them and returns; end_hold closes them.
hold() {
  local at=127.0.0.1:${port_tls[$1]}
  [ "$2" = plain ] && at=127.0.0.1:${port[$1]}
  mkfifo "$tmp/hold" "$tmp/held"
  "$edge_load" idle "$2" "$at" /static/1k.txt "$3" <"$tmp/hold" >"$tmp/held" 2>>"$tmp/log/wrk.log" &
  holder=$!
  exec 7>"$tmp/hold"
  grep -q ready "$tmp/held" || die "idle $2, ${label[$1]}: $(tail -n 3 "$tmp/log/wrk.log")"
}

end_hold() {
  exec 7>&-
  wait "$holder" || true
  rm -f "$tmp/hold" "$tmp/held"
}

# own_pss KEY: what no file backs, of all processes that speak HTTP.
own_pss() {
  local pid
  for pid in $(family ${pids[$1]}); do
    grep -q '^php-fpm' "/proc/$pid/comm" || cat "/proc/$pid/smaps_rollup"
  done | awk '/^Pss_(Anon|Shmem):/ { own += $2 } END { print own + 0 }'
}
