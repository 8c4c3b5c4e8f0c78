# Memory: what one PHP thread more costs rr, and one process more php-fpm or RoadRunner, as proportional set size (each shared page
# divided by its users): servers with 4 and with 20 of them, the difference divided by 16. Sourced by run.sh.

# Idle, after hello and after WordPress, against php-fpm.
memory() {
  docroot=$tmp/wordpress
  local key count
  for key in rr fpm; do
    for count in 4 20; do
      say "memory: ${label[$key]} with $count"
      "start_${kind[$key]}" "$key" "$docroot" "$count"
      memory_of "$key" "$count"
      stop "$key"
    done
  done
}

memory_of() {
  local key=$1 count=$2 before worked url=http://127.0.0.1:${port[$1]} who=$tmp/who
  sleep 1
  echo "$key $count idle $(pss "$key") 0" >>"$tmp/memory"
  # The threads or processes that serve PHP, by asking for as many slow answers at once; all of them have then served.
  curl -s -Z --parallel-immediate --parallel-max "$count" "$url/who.php?[1-$((count * 20))]" 2>/dev/null | sort -u >"$who"
  load "$key" hello 2 >/dev/null
  sleep 1
  echo "$key $count hello $(pss "$key") $(wc -l <"$who")" >>"$tmp/memory"
  before=$(served "$key" <"$who")
  # Half as many clients again as there are threads keep them all busy; by CPU time each must have done its part.
  wrk -t1 -c$((count * 3 / 2)) -d$((count * 2 / 3 + 5))s --timeout 30s "$url/" >>"$tmp/log/wrk.log" 2>&1
  worked=$(worked "$before" "$(served "$key" <"$who")")
  sleep 1
  echo "$key $count wordpress $(pss "$key") $worked" >>"$tmp/memory"
}

# Laravel booted in each, before and after its JSON route was asked for, against FrankenPHP and RoadRunner.
memory_laravel() {
  prepare laravel || return 0
  local key count
  for key in rr "${rival_keys[@]}"; do
    [[ " rr frankenphp roadrunner " == *" ${kind[$key]} "* ]] || continue
    for count in 4 20; do
      say "memory of Laravel: ${label[$key]} with $count"
      "start_${kind[$key]}" "$key" "$tmp/laravel/public" "$count"
      memory_of_laravel "$key" "$count"
      stop "$key"
    done
  done
  ordinary
}

memory_of_laravel() {
  local key=$1 count=$2 wrong before worked
  wrong=$(answers "$key" laravel) || die "Laravel in ${label[$key]}: $wrong"
  sleep 2
  echo "$key $count booted $(pss "$key") 0" >>"$tmp/memory"
  workers "$key" >"$tmp/who"
  before=$(served "$key" <"$tmp/who")
  # Short answers: what is idle longest gets its turn only if all are busy.
  wrk -t1 -c$((count * 4)) -d$((count / 2 + 5))s --timeout 30s "http://127.0.0.1:${port[$key]}$(path_of laravel)" >>"$tmp/log/wrk.log" 2>&1
  worked=$(worked "$before" "$(served "$key" <"$tmp/who")")
  sleep 2
  echo "$key $count laravel $(pss "$key") $worked" >>"$tmp/memory"
}

# workers KEY: the threads that run PHP, by their names.
workers() {
  local pid
  for pid in $(family ${pids[$1]}); do
    grep -lE '^php' "/proc/$pid"/task/*/comm 2>/dev/null || true
  done | sed 's,.*/task/\([0-9]*\)/.*,\1,'
}

# served KEY <TASKS: "task ticks" of each task named.
served() {
  local task pid
  while read -r task; do
    for pid in $(family ${pids[$1]}); do
      [ -r "/proc/$pid/task/$task/stat" ] || continue
      awk -v task="$task" '{ sub(/.*\) /, ""); print task, $12 + $13 }' "/proc/$pid/task/$task/stat"
    done
  done
}

# worked BEFORE AFTER: how many of those tasks have had five ticks and more.
worked() { paste -d' ' <(echo "$1") <(echo "$2") | awk '$4 - $2 >= 5 { n++ } END { print n + 0 }'; }

# memory_family KEY: the processes that run PHP; nginx is not counted.
memory_family() {
  if [ "${kind[$1]}" = fpm ]; then family "$fpm_master"; else family ${pids[$1]}; fi
}

# pss KEY: "all own child" in KiB: the proportional set size of all the processes together; of that, what no file backs
# (others who map the same libraries cannot change it); and the mean of the children, 0 where there are none.
pss() {
  local pid
  for pid in $(memory_family "$1"); do cat "/proc/$pid/smaps_rollup"; done | awk '
    /^Pss:/ { process++; all += $2; if (process > 1) children += $2 }
    /^Pss_(Anon|Shmem):/ { own += $2 }
    END { printf "%d %d %d\n", all, own, (process > 1 ? children / (process - 1) : 0) }'
}
