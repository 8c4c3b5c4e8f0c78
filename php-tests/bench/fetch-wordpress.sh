#!/usr/bin/env bash
# Prints a folder that holds a pristine WordPress with its default theme, from Debian trixie's packages; fetches it once into
# $RR_CACHE/apps. Nobody writes there: copy it.
set -euo pipefail

apps=${RR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rr}/apps
suite=trixie
tree=$apps/wordpress-$suite
packages=(wordpress wordpress-theme-twentytwentyfive php-getid3 libjs-underscore libjs-lodash node-lodash libjs-cropper)

mkdir -p "$apps"
exec 9>"$apps/wordpress.lock"
flock 9
if [ ! -f "$tree/.complete" ]; then
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -e "$keyring" ] || { echo "no $keyring: apt cannot check Debian's signatures here (install debian-archive-keyring)" >&2; exit 1; }
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' 'Created-By: Packages' |
    awk '$1=="Debian" && $2=="Debian" {print $3; exit}')
  work=$(mktemp -d "$apps/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs" "$work/root"
  : >"$work/status"
  echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $suite main" >"$work/sources.list"
  # An own state for apt: the machine's own suite, pins and lists stay as they are.
  apt=(apt-get -q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null
    -o Dir::Etc::PreferencesParts=/dev/null -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=$work/status"
    -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2
  (cd "$work/debs" && "${apt[@]}" download "${packages[@]}" >&2)
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
  # Debian links into /usr/share; the links that lead inside become files, of the others nothing stays.
  while IFS= read -r -d '' link; do
    target=$(readlink "$link")
    case $target in /*) ln -sfn "$work/root$target" "$link" ;; esac
  done < <(find "$work/root" -type l -print0)
  find "$work/root" -xtype l -delete
  rm -rf "$tree"
  cp -rL "$work/root/usr/share/wordpress" "$work/tree"
  rm -f "$work/tree/wp-config.php" # Debian's looks for /etc/wordpress/config-HOST.php
  # What the bench and the tests report, and files old enough for OPcache (opcache.file_update_protection).
  ls "$work/debs" >"$work/tree/.packages"
  find "$work/tree" -exec touch -h -d 2026-01-01 {} +
  touch "$work/tree/.complete"
  mv "$work/tree" "$tree"
fi
echo "$tree"
