# The servers of the bench: each adapter start_KIND KEY ROOT THREADS starts one and sets port[KEY] and pids[KEY] (its first
# processes; their children are found). Sourced by run.sh.

declare -A kind=() label=() binary=() port=() pids=()
# What a workload has its servers do: variables of scripts, options of rr, the worker scripts of FrankenPHP and RoadRunner, and a path
# that all answer as soon as they are up.
ordinary() {
  environment=() rr_options=() frankenphp_worker= roadrunner_worker=$here/roadrunner_worker.php first_path=/static/1k.txt
}
ordinary

# The same php.ini for all of them, and no other: PHPRC names it, an empty PHP_INI_SCAN_DIR (see launch) keeps conf.d away.
php_environment() {
  mkdir -p "$tmp/ini"
  echo 'zend_extension=opcache' >"$tmp/ini/php.ini"
  PHPRC=$tmp/ini
}

# documents FOLDER: our scripts and the static files, beside whatever is there; old enough for OPcache to keep them.
documents() {
  mkdir -p "$1/static"
  cp "$here"/www/*.php "$1/"
  head -c 1024 </dev/zero | tr '\0' x >"$1/static/1k.txt"
  html >"$1/static/page.html"
  head -c 1048576 </dev/zero | tr '\0' x >"$1/static/1m.txt"
  touch -d '1 day ago' "$1"/*.php "$1"/static/*
}

# html: a page of 20 KB that compresses like one.
html() {
  awk 'BEGIN {
    srand(1); split("the of and server request answer thread worker connection client header body page file time memory which that with from they have been their would there about other", word, " ")
    print "<!DOCTYPE html><html><head><title>A page</title></head><body>"
    while (length(page) < 20000) {
      line = "<div class=\"entry entry-" int(rand() * 100) "\"><h2><a href=\"/entry/" int(rand() * 10000) "\">"
      for (n = 0; n < 40; n++) { line = line word[1 + int(rand() * 30)] (n == 5 ? "</a></h2><p>" : " ") ; if (rand() < 0.1) line = line int(rand() * 100000) " " }
      page = page line "</p></div>\n"
    }
    printf "%s</body></html>\n", page
  }'
}

free_port() {
  local candidate
  while :; do
    candidate=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null && continue
    [[ " ${port[*]} ${port_tls[*]} " == *" $candidate "* ]] || break
  done
  echo "$candidate"
}

# launch KEY NAME COMMAND…: in the background, in a folder of its own, its output in a log, and with no environment that scripts
# would see in one server and not in another.
launch() {
  local key=$1 name=$2
  shift 2
  mkdir -p "$tmp/run/$name"
  (cd "$tmp/run/$name" && exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PHPRC="$PHPRC" PHP_INI_SCAN_DIR= "${environment[@]}" "$@") >>"$tmp/log/$name.log" 2>&1 </dev/null &
  pids[$key]+=" $!"
  started+=("$!")
}

# ready KEY PATH: waits until the server answers.
ready() {
  local key=$1 try
  for try in {1..100}; do
    curl -s -o /dev/null --max-time 5 "http://127.0.0.1:${port[$key]}$2" && return
    sleep 0.1
  done
  tail -n 20 "$tmp"/log/*.log >&2
  die "${label[$key]} does not answer"
}

stop() {
  local key pid
  for key; do
    [ -n "${pids[$key]:-}" ] || continue
    end ${pids[$key]}
    unset "pids[$key]" "port[$key]"
  done
}

# end PID…: asks, waits ten seconds, insists. Children first learn it from their parents.
end() {
  local pid family
  family=$(family "$@")
  for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
  for _ in {1..100}; do
    kill -0 "$@" 2>/dev/null || break
    sleep 0.1
  done
  for pid in $family; do kill -KILL "$pid" 2>/dev/null || true; done
  for pid in "$@"; do wait "$pid" 2>/dev/null || true; done
}

# family PID…: these processes and their descendants.
family() {
  local pid
  for pid in "$@"; do
    [ -d "/proc/$pid" ] || continue
    echo "$pid"
    family $(cat "/proc/$pid"/task/*/children 2>/dev/null)
  done
}

start_hyper() {
  port[$1]=$(free_port)
  pids[$1]=
  launch "$1" "$1" "${binary[$1]}" "127.0.0.1:${port[$1]}"
  ready "$1" /
}

start_rr() {
  local tls=()
  port[$1]=$(free_port)
  pids[$1]=
  tls_port "$1"
  [ -z "$secure" ] || tls=(-o "http.ssl.address=127.0.0.1:${port_tls[$1]}" -o "http.http3.address=127.0.0.1:${port_tls[$1]}")
  launch "$1" "$1" "${binary[$1]}" serve "$2" -s -o "http.address=127.0.0.1:${port[$1]}" -o "http.pool.num_workers=$3" -o logs.level=warn "${rr_options[@]}" "${tls[@]}"
  ready "$1" "$first_path"
}

# Two ways to configure php-fpm behind nginx, because neither is best at everything: a connection for each request (the usual),
# and connections kept. A kept one occupies a child even while idle, so more of them than half the children starve the other
# clients (seen: p99 of 0.7 s); nginx counts them per worker process.
start_fpm() { start_nginx_fpm "$@" off ''; }
start_fpmkept() { start_nginx_fpm "$@" on "keepalive $(($3 / 4 > 1 ? $3 / 4 : 1));"; }

# start_nginx_fpm KEY ROOT CHILDREN on|off UPSTREAM_SETTINGS
start_nginx_fpm() {
  local key=$1 root=$2 children=$3 nginx_user=
  port[$key]=$(free_port)
  pids[$key]=
  tls_port "$key"
  php_fpm "$key" "$root" "$children"
  # As root, nginx would serve as nobody, who cannot read the temporary folder.
  [ "$(id -u)" = 0 ] && nginx_user='user root;'
  nginx_conf "$key" "$root" "$nginx_user" "$4" "$5" >"$tmp/$key.nginx.conf"
  launch "$key" "$key-nginx" nginx -p "$tmp/run/$key-nginx" -e "$tmp/log/$key-nginx-error.log" -c "$tmp/$key.nginx.conf"
  ready "$key" "$first_path"
}

# php_fpm KEY ROOT CHILDREN: on $tmp/KEY.sock.
php_fpm() {
  local key=$1 children=$3 variable
  cat >"$tmp/$key.conf" <<CONF
[global]
error_log = $tmp/log/$key-error.log
daemonize = no
[www]
listen = $tmp/$key.sock
listen.mode = 0666
pm = static
pm.max_children = $children
CONF
  [ "$(id -u)" = 0 ] && printf 'user = root\ngroup = root\n' >>"$tmp/$key.conf"
  for variable in "${environment[@]}"; do echo "env[${variable%%=*}] = ${variable#*=}" >>"$tmp/$key.conf"; done
  rm -f "$tmp/$key.sock"
  launch "$key" "$key" "$NTS_PREFIX/sbin/php-fpm" --nodaemonize --allow-to-run-as-root -c "$tmp/ini" --fpm-config "$tmp/$key.conf"
  fpm_master=$!
  for _ in {1..50}; do [ -S "$tmp/$key.sock" ] && break || sleep 0.1; done
}

# PHP's own web server, one request at a time; $php_binary is it.
start_php() {
  port[$1]=$(free_port)
  pids[$1]=
  launch "$1" "$1" "${php_binary:?}" -S "127.0.0.1:${port[$1]}" -t "$2" "$here/router.php"
  ready "$1" /static/1k.txt
}

# WordPress's recommended configuration (developer.wordpress.org, "Nginx") with nginx tuned as one would for speed.
# nginx_conf KEY ROOT USER_SETTING on|off UPSTREAM_SETTINGS
nginx_conf() {
  local temporary=$tmp/run/$1-nginx
  cat <<CONF
daemon off;
$3
worker_processes 2;
worker_rlimit_nofile 8192;
pid $tmp/$1-nginx.pid;
events { worker_connections 2048; }
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 65;
  keepalive_requests 1000000;
  open_file_cache max=1000 inactive=20s;
  open_file_cache_valid 30s;
  open_file_cache_min_uses 2;
  open_file_cache_errors on;
  client_max_body_size 64m;
  client_body_buffer_size 2m;
  client_body_temp_path $temporary/body;
  proxy_temp_path $temporary/proxy;
  fastcgi_temp_path $temporary/fastcgi;
  uwsgi_temp_path $temporary/uwsgi;
  scgi_temp_path $temporary/scgi;
  upstream php { server unix:$tmp/$1.sock; $5 }
  server {
    listen 127.0.0.1:${port[$1]};
    server_name 127.0.0.1;
$(nginx_edge "$1")
    root $2;
    index index.php index.html;
    location = /favicon.ico { log_not_found off; }
    location = /robots.txt { allow all; log_not_found off; }
    location / { try_files \$uri \$uri/ /index.php?\$args; }
    location ~ \.php\$ {
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name;
      fastcgi_param HTTP_HOST \$http_host;
      fastcgi_intercept_errors on;
      fastcgi_keep_conn $4;
      fastcgi_buffer_size 32k;
      fastcgi_buffers 16 16k;
      fastcgi_pass php;
    }
    location ~* \.(js|css|png|jpg|jpeg|gif|ico)\$ { expires max; log_not_found off; }
  }
}
CONF
}
