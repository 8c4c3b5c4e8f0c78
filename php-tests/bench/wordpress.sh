# WordPress on a MariaDB of its own, installed through its own installer. Sourced by run.sh.

# wordpress FOLDER [KIND]: makes the tree there, the database, and installs by a server of that kind, php-fpm's if none is named.
# Fails, with a note, where WordPress cannot be had.
wordpress() {
  local site=$RR_CACHE/apps/wordpress/site version reason=$RR_CACHE/apps/wordpress.reason
  "$here/../apps/fetch.sh" wordpress >"$tmp/log/fetch.log" 2>&1 || true
  if [ ! -f "$site/wp-load.php" ]; then
    notes+=("WordPress: not run, $(cat "$reason" 2>/dev/null || tail -n 1 "$tmp/log/fetch.log")")
    return 1
  fi
  version=$(sed -n "s/^\$wp_version = '\(.*\)';/\1/p" "$site/wp-includes/version.php")
  say "WordPress $version: database and installation"
  versions+=("WordPress $version (Debian), theme Twenty Twenty-Five, $(mariadbd --version | sed 's/.*Ver //; s/ for.*//') on a unix socket")
  cp -a "$site" "$1"
  documents "$1"
  database
  wp_config >"$1/wp-config.php"
  touch -d '1 day ago' "$1/wp-config.php"
  label[installer]='the installing server'
  "start_${2:-fpm}" installer "$1" 2
  local answer
  answer=$(curl -s "http://127.0.0.1:${port[installer]}/wp-admin/install.php?step=2" --data-urlencode 'weblog_title=Bench' \
    -d user_name=admin -d admin_password=bench-bench -d admin_password2=bench-bench -d pw_weak=1 \
    -d admin_email=bench@example.com -d blog_public=0 -d language=)
  [[ $answer == *Success* ]] || die "WordPress's installer: $(sed 's/<[^>]*>//g' <<<"$answer" | tr -s '[:space:]' ' ' | cut -c1-400)"
  # The first visits fill transients.
  curl -s "http://127.0.0.1:${port[installer]}/?[1-3]" >/dev/null
  stop installer
}

database() {
  local as=()
  [ "$(id -u)" = 0 ] && as=(--user=root)
  mkdir -p "$tmp/db"
  TMPDIR=$tmp mariadb-install-db --no-defaults "${as[@]}" --datadir="$tmp/db" --auth-root-authentication-method=normal --skip-test-db \
    >"$tmp/log/mariadb-install.log" 2>&1 || { tail "$tmp/log/mariadb-install.log" >&2; die "mariadb-install-db"; }
  pids[database]= label[database]=MariaDB
  launch database mariadb mariadbd --no-defaults "${as[@]}" --datadir="$tmp/db" --tmpdir="$tmp" --socket="$tmp/db.sock" --skip-networking \
    --skip-log-bin --pid-file="$tmp/db.pid"
  for _ in {1..150}; do
    mariadb --no-defaults -uroot -S "$tmp/db.sock" -e 'CREATE DATABASE wordpress' 2>/dev/null && return
    sleep 0.2
  done
  tail "$tmp/log/mariadb.log" >&2
  die "MariaDB does not start"
}

# The site's address is whatever it is asked by: all servers share this tree and database. Nothing runs on the side.
wp_config() {
  cat <<CONFIG
<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:$tmp/db.sock');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as \$name) {
    define(\$name . '_KEY', 'bench');
    define(\$name . '_SALT', 'bench');
}
define('WP_HOME', 'http://' . (\$_SERVER['HTTP_HOST'] ?? 'localhost'));
define('WP_SITEURL', WP_HOME);
define('DISABLE_WP_CRON', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_DEBUG', false);
\$table_prefix = 'wp_';
if (!defined('ABSPATH')) {
    define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
CONFIG
}
