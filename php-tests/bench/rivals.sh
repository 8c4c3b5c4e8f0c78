# The rivals named by path. Sourced by run.sh.

# With $frankenphp_worker, that script answers everything, booted once.
start_frankenphp() {
  local worker=
  [ -z "$frankenphp_worker" ] || worker="worker {
			file $frankenphp_worker
			num $3
			match *
		}"
  port[$1]=$(free_port)
  pids[$1]=
  cat >"$tmp/$1.Caddyfile" <<CONF
{
	admin off
	auto_https off
	persist_config off
	log {
		level ERROR
	}
	frankenphp {
		num_threads $(($3${frankenphp_worker:+ + 1}))
	}
}
http://127.0.0.1:${port[$1]} {
	root * $2
	php_server {
		$worker
	}
}
CONF
  # As in its own images.
  launch "$1" "$1" env GODEBUG=cgocheck=0 "${binary[$1]}" run --adapter caddyfile --config "$tmp/$1.Caddyfile"
  ready "$1" "$first_path"
}

# RoadRunner has no way to run scripts once for each request: $roadrunner_worker answers in their place. OPcache is off on the command
# line unless asked for.
start_roadrunner() { start_roadrunner_with "$1" "$3" "$roadrunner_worker"; }
start_roadrunnersame() { start_roadrunner_with "$1" "$3" "$psr7"; }

# start_roadrunner_with KEY PROCESSES SCRIPT
start_roadrunner_with() {
  port[$1]=$(free_port)
  pids[$1]=
  cat >"$tmp/$1.yaml" <<CONF
version: "3"
server:
  command: "$NTS_PREFIX/bin/php -d opcache.enable_cli=1 $3"
  relay: pipes
http:
  address: 127.0.0.1:${port[$1]}
  pool:
    num_workers: $2
logs:
  mode: production
  level: error
CONF
  launch "$1" "$1" "${binary[$1]}" serve -c "$tmp/$1.yaml" -w "$tmp/run/$1"
  ready "$1" "$first_path"
}

# rival KEY PATH: tells the rivals apart by what they say of themselves.
rival() {
  local says
  [ -x "$2" ] || die "no such rival: $2"
  # Caddy does not know its own version, unless it was built by those who make it.
  says=$("$2" build-info 2>/dev/null | awk '$1 == "dep" || $1 == "mod" { if ($2 == "github.com/dunglas/frankenphp") exit; if ($2 ~ /caddyserver\/caddy/) print "Caddy", $3 }')
  says=${says:-$("$2" --version 2>/dev/null || "$2" version 2>/dev/null || true)}
  binary[$1]=$(realpath "$2")
  rival_keys+=("$1")
  case $says in
    Caddy\ *) kind[$1]=caddy label[$1]=Caddy ;;
    *FrankenPHP*) kind[$1]=frankenphp label[$1]=FrankenPHP ;;
    rr\ version*rustc*) kind[$1]=rr label[$1]="rr at $2" ;;
    rr\ version*)
      kind[$1]=roadrunner label[$1]=RoadRunner
      # The PSR-7 worker once more, where it is at home.
      if [ -n "$psr7" ]; then
        rival_keys+=("$1same")
        binary[$1same]=${binary[$1]} kind[$1same]=roadrunnersame label[$1same]='RoadRunner, that worker'
      fi
      ;;
    *) die "no adapter for $2, which says: ${says:-nothing} (see rivals.sh)" ;;
  esac
  versions+=("${label[$1]}: ${says%%$'\n'*}")
}
