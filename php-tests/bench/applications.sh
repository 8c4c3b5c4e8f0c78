# Scripts that boot once: our own, a PSR-7 worker, and a JSON route of Symfony and of Laravel. Behind nginx + php-fpm the same
# applications boot for each request. Sourced by run.sh.

# worker WORKLOAD: one script of that name. What rr runs by its own functions, FrankenPHP and RoadRunner run by theirs.
worker() {
  ordinary
  rr_options=(-o "http.worker=$tmp/www/$1.php") frankenphp_worker=$tmp/www/worker-frankenphp.php first_path=/
  phase "$tmp/www" "$1"
  ordinary
}

psr7() {
  if [ -z "$psr7" ]; then
    notes+=("psr7: not run, no worker named by --psr7")
    return
  fi
  # What its first comment says of it.
  versions+=("psr7: ${psr7##*/}: $(sed -n 's,^// ,,p' "$psr7" | head -n 1)")
  rr_options=(-o version=3 -o "server.command=php $psr7") first_path=/
  phase "$tmp/www" psr7
  ordinary
}

# application NAME: the workload of that name, if wanted.
application() {
  wanted "$1" || return 0
  prepare "$1" || return 0
  phase "$tmp/$1/public" "$1"
  ordinary
}

# prepare NAME: the application in $tmp/NAME, with what servers need to be told. Fails, with a note, where it cannot be had.
prepare() {
  local project=$tmp/$1 source=$RR_CACHE/apps/$1 reason=$RR_CACHE/apps/$1.reason
  "$here/../apps/fetch.sh" "$1" >"$tmp/log/fetch.log" 2>&1 || true
  if [ ! -e "$source/.complete" ]; then
    notes+=("$1: not run, $(cat "$reason" 2>/dev/null || tail -n 1 "$tmp/log/fetch.log")")
    return 1
  fi
  ordinary
  environment=("SHARE=$source/root/usr/share" "PROJECT=$project")
  [ -d "$project" ] || cp -a "$here/../apps/$1" "$project"
  first_path=$(path_of "$1") roadrunner_worker=$here/applications/$1_roadrunner.php
  "prepare_$1" "$project" "$source/root/usr/share"
  find "$project" -name '*.php' -exec touch -d '1 day ago' {} +
}

# Its own front controller is its worker as well.
prepare_symfony() {
  local template=$2/php/Symfony/Component/Runtime/Internal/autoload_runtime.template
  environment+=(APP_ENV=prod APP_DEBUG=0 FRANKENPHP_LOOP_MAX=0)
  rr_options=(-o "http.worker=$1/public/index.php") frankenphp_worker=$1/public/index.php
  mkdir -p "$1/var"
  sed -e "s/%runtime_class%/'Symfony\\\\\\\\Component\\\\\\\\Runtime\\\\\\\\SymfonyRuntime'/" \
    -e "s/%runtime_options%/['project_dir' => dirname(__DIR__), 'disable_dotenv' => true]/" "$template" >"$1/vendor/autoload_runtime.php"
  compile symfony
  versions+=("Symfony $(sed -n "s/.* VERSION = '\(.*\)';/\1/p" "$2/php/Symfony/Component/HttpKernel/Kernel.php") (Debian): APP_ENV=prod, container and routes compiled; its runtime's own worker loop in rr and FrankenPHP")
}

# compile NAME VARIABLE…: what is done once before an application is put into production.
compile() {
  local name=$1
  shift
  env "${environment[@]}" "$@" PHPRC="$PHPRC" PHP_INI_SCAN_DIR= "$NTS_PREFIX/bin/php" "$here/applications/${name}_cache.php" \
    >"$tmp/log/$name.log" 2>&1 || { tail "$tmp/log/$name.log" >&2; die "the caches of $name"; }
}

prepare_laravel() {
  rr_options=(-o "http.worker=$1/public/worker.php") frankenphp_worker=$1/public/worker.php
  mkdir -p "$1"/bootstrap/cache "$1"/storage/framework/{views,sessions,cache/data} "$1"/storage/logs "$1"/config "$1"/resources/views
  cp "$here/applications/laravel_worker.php" "$1/public/worker.php"
  # No .env: what it would say is in the cached configuration.
  [ -f "$1/bootstrap/cache/config.php" ] || compile laravel APP_ENV=production APP_DEBUG=false SESSION_DRIVER=file CACHE_STORE=file \
    LOG_CHANNEL=stderr APP_KEY=base64:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
  local version
  version=$(sed -n "s/.*const VERSION = '\(.*\)';/\1/p" "$2/php/Illuminate/Foundation/Application.php")
  [[ ${versions[*]} == *Laravel* ]] || versions+=("Laravel $version (Debian): production, configuration, events and routes cached, its kernel booted once without Octane")
}
