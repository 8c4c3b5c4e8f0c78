#!/usr/bin/env bash
# Puts the real applications of the tests into the cache, from Debian's archive and npm. Usage: fetch.sh [DIR/] [NAME…]
#
# Each ends up in $cache/apps/NAME with a file .complete; where one cannot be had, NAME.reason says why and the tests
# report it. Nothing of it is installed into the system but mariadb-server-core, which brings no service.
set -uo pipefail

cache=${RR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rr}
apps=$cache/apps
case ${1:-} in */*) apps=${1%/}; shift ;; esac
work=$apps/.work
mkdir -p "$apps" "$work"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

# because REASON: remembers why the application at hand cannot be had, and gives up on it.
because() { printf '%s\n' "$*" >"$apps/$name.reason"; exit 1; }

# apt_for SUITE: sets `apt` to apt-get with lists, cache and (empty) state of its own for one suite of Debian.
apt_for() {
  local suite=$1 dir=$work/apt-$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
  command -v apt-get >/dev/null || because "no apt-get here"
  [ -e "$keyring" ] || because "no $keyring (package debian-archive-keyring)"
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' 'Created-By: Packages' | awk '$1=="Debian" && $2=="Debian" {print $3; exit}')
  [ -n "$mirror" ] || because "apt knows no mirror of Debian"
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  : >"$dir/status"
  echo "deb [signed-by=$keyring] $mirror $suite main" >"$dir/sources.list"
  apt=(-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$dir/lists"
    -o "Dir::State::status=$dir/status" -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root -o APT::Install-Recommends=false
    # A mirror that has fallen behind is as good: nothing of this is run but by the tests.
    -o Acquire::Check-Valid-Until=false)
  if [ -z "$(find "$dir/.updated" -mmin -720 2>/dev/null)" ]; then
    apt-get "${apt[@]}" -qq update || because "apt-get update for $suite"
    touch "$dir/.updated"
  fi
}

# unpack ROOT PACKAGE…: extracts exactly these packages.
unpack() {
  local root=$1 debs=$1.debs deb
  shift
  mkdir -p "$root" "$debs"
  (cd "$debs" && apt-get "${apt[@]}" -qq download "$@") || because "apt-get download $*"
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$root" || because "dpkg-deb -x ${deb##*/}"; done
  rm -rf "$debs"
}

# unpack_all ROOT PACKAGE…: extracts these and all architecture-independent packages they depend on.
unpack_all() {
  local root=$1 wanted
  shift
  wanted=$(apt-get "${apt[@]}" --print-uris -y install "$@" | sed -n "s/^'[^']*' \([^_ ]*\)_[^ ]*_all\.deb .*/\1/p")
  [ -n "$wanted" ] || because "apt-get cannot resolve $*"
  # shellcheck disable=SC2086
  unpack "$root" $wanted
}

# settle ROOT DIR: replaces links in DIR by what they point to within ROOT; links that lead nowhere go.
settle() {
  local root=$1 dir=$2 link target round
  for round in 1 2 3; do
    find "$dir" -type l | while read -r link; do
      target=$(readlink "$link")
      case $target in /*) target=$root$target ;; *) target=$(dirname "$link")/$target ;; esac
      rm "$link"
      [ ! -e "$target" ] || cp -r "$target" "$link"
    done
    [ -n "$(find "$dir" -type l -print -quit)" ] || return 0
  done
  find "$dir" -type l -delete
}

# relocate DIR: makes the PHP files in DIR look for Debian's libraries where we have put them.
relocate() {
  grep -rlE '/usr/share/(php|php-geshi|javascript)/' "$1" --include='*.php' |
    xargs -r sed -i -E "s#/usr/share/(php|php-geshi|javascript)/#$apps/$name/root/usr/share/\\1/#g"
}

fetch_wordpress() {
  apt_for trixie
  unpack root wordpress wordpress-theme-twentytwentyfive php-getid3 libjs-underscore libjs-lodash node-lodash libjs-cropper
  settle "$PWD/root" root/usr/share/wordpress
  mv root/usr/share/wordpress site
  rm -rf site/wp-config.php root
  mkdir -p site/wp-content/{plugins,themes,uploads}
  command -v npm >/dev/null || because "the SQLite drop-in comes from npm, which is not installed"
  npm pack --silent @wp-playground/cli@3.1.56 >/dev/null || because "npm pack @wp-playground/cli"
  tar xzf ./*.tgz package/sqlite-database-integration.zip || because "no sqlite-database-integration.zip in @wp-playground/cli"
  mkdir sqlite
  python3 -m zipfile -e package/sqlite-database-integration.zip sqlite || because "sqlite-database-integration.zip cannot be read (python3)"
  mv sqlite/*/ sqlite-database-integration
  rm -rf package sqlite ./*.tgz
}

fetch_mediawiki() {
  apt_for trixie
  unpack root mediawiki mediawiki-classes
  settle "$PWD/root" root/usr/share/mediawiki
  mv root/usr/share/mediawiki site
  # Debian keeps these beside it.
  for part in extensions skins images; do
    [ -e "site/$part" ] || { [ -d "root/var/lib/mediawiki/$part" ] && settle "$PWD/root" "root/var/lib/mediawiki/$part" && mv "root/var/lib/mediawiki/$part" site/; }
  done
  rm -rf root site/LocalSettings.php
}

fetch_dokuwiki() {
  apt_for trixie
  unpack root dokuwiki libphp-simplepie php-geshi php-kissifrot-php-ixr libjs-jquery libjs-jquery-ui libjs-jquery-cookie php-phpseclib3 php-constant-time
  # Upstream's layout again: configuration and data inside the site, libraries where we have put them.
  settle "$PWD/root" root/usr/share/dokuwiki
  mv root/usr/share/dokuwiki site
  rm -f site/inc/preload.php site/.htaccess root/etc/dokuwiki/{acl,users}.auth.php
  cp -r root/etc/dokuwiki site/conf
  cp -r root/var/lib/dokuwiki/data site/data
  sed -i "s#/var/lib/dokuwiki/data#./data#" site/conf/dokuwiki.php
  relocate site
}

fetch_adminer() {
  apt_for trixie
  unpack root adminer
  settle "$PWD/root" root/usr/share/adminer
}

fetch_symfony() {
  apt_for forky
  unpack_all root composer php-symfony-framework-bundle php-symfony-runtime php-symfony-yaml php-symfony-twig-bundle
  relocate root/usr/share/php
}

fetch_psr7() {
  apt_for forky
  unpack_all root php-nyholm-psr7 php-guzzlehttp-psr7
  relocate root/usr/share/php
}

fetch_laravel() {
  apt_for forky
  unpack_all root composer php-laravel-framework
  relocate root/usr/share/php
  # Where the framework looks for its own configuration, seen from Illuminate/Foundation.
  ln -s php/Illuminate/config php/Illuminate/config-stubs root/usr/share/
}

fetch_mariadb() {
  command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || {
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mariadb-server-core >/dev/null ||
      because "apt-get install mariadb-server-core"
  }
}

# fetch NAME: runs its function in a directory of its own, once.
fetch() {
  local name=$1 log=$cache/logs/app-$1.log
  [ ! -e "$apps/$name/.complete" ] || return 0
  mkdir -p "$cache/logs"
  say "fetching $name for the tests (log: $log)"
  rm -rf "$work/$name" "$apps/$name" "$apps/$name.reason"
  mkdir -p "$work/$name"
  if (cd "$work/$name" && "fetch_$name") >"$log" 2>&1; then
    touch "$work/$name/.complete"
    mv "$work/$name" "$apps/$name"
  else
    [ -e "$apps/$name.reason" ] || echo "see $log" >"$apps/$name.reason"
    say "$name cannot be had: $(cat "$apps/$name.reason")"
  fi
}

exec 9>"$apps/.lock"
flock 9
for name in "${@:-}"; do
  if [ -n "$name" ]; then fetch "$name"; else for name in wordpress mariadb mediawiki dokuwiki adminer symfony psr7 laravel; do fetch "$name"; done; fi
done
