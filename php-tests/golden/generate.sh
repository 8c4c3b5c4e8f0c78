#!/usr/bin/env bash
# Writes the golden tables anew, by asking nginx and the php-fpm of the pinned PHP. Usage: generate.sh [PREFIX OF AN NTS PHP]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache=${RR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rr}
prefix=${1:-$(ls -d "$cache"/php-*-nts-*/ 2>/dev/null | head -n 1)}
[ -x "${prefix%/}/sbin/php-fpm" ] || { echo "generate.sh: no php-fpm under ${prefix:-$cache}; name the prefix of an NTS PHP" >&2; exit 1; }
[ -x /usr/sbin/nginx ] || { echo "generate.sh: nginx is needed (nginx-light)" >&2; exit 1; }
RR_REFERENCE=${prefix%/} RR_GOLDEN_WRITE=1 cargo test --test e2e golden::
