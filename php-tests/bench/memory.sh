# Memory: what one PHP thread more costs rr, and one child more php-fpm, as proportional set size (each shared page divided by
# its users): servers with 4 and with 20 of them, idle, after hello and after WordPress, the difference divided by 16. Sourced by run.sh.

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
  before=$(served "$key" "$who")
  # Half as many clients again as there are threads keep them all busy; by CPU time each must have done its part.
  wrk -t1 -c$((count * 3 / 2)) -d$((count * 2 / 3 + 5))s --timeout 30s "$url/" >>"$tmp/log/wrk.log" 2>&1
  worked=$(paste -d' ' <(echo "$before") <(served "$key" "$who") | awk '$4 - $2 >= 5 { n++ } END { print n + 0 }')
  sleep 1
  echo "$key $count wordpress $(pss "$key") $worked" >>"$tmp/memory"
}

# served KEY FILE: "task ticks" of each task named in FILE.
served() {
  local task pid
  while read -r task; do
    for pid in $(family ${pids[$1]}); do
      [ -r "/proc/$pid/task/$task/stat" ] || continue
      awk -v task="$task" '{ sub(/.*\) /, ""); print task, $12 + $13 }' "/proc/$pid/task/$task/stat"
    done
  done <"$2"
}

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
