# From one PHP thread to two, without HTTP: hello, and a script that computes. Sourced by run.sh.

scaling() {
  say "scaling: building"
  (cd "$root" && cargo build --release --bench scaling --message-format json-render-diagnostics) >"$tmp/cargo.json" 2>"$tmp/log/cargo.log" ||
    { tail -n 30 "$tmp/log/cargo.log" >&2; die "cargo build"; }
  local program script
  program=$(sed -n 's/.*"name":"scaling".*"executable":"\([^"]*\)".*/\1/p' "$tmp/cargo.json")
  [ -x "$program" ] || die "cargo names no program for the bench target scaling"
  for script in hello compute; do
    say "scaling of $script: $ROUNDS rounds (load average $(cut -d' ' -f1 /proc/loadavg))"
    env PHPRC="$PHPRC" PHP_INI_SCAN_DIR= "$program" "$tmp/www/$script.php" "$([ "$script" = hello ] && echo 150000 || echo 12000)" "$ROUNDS" |
      sed "s/^/$script /" >>"$tmp/scaling" || die "the bench target scaling"
  done
}
