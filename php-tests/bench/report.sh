# The tables, in Markdown, from $tmp/results (workload key round requests microseconds p50 p99 bad ticks) and $tmp/memory.
# Sourced by run.sh.

report() {
  echo
  echo "## $(date -u '+%Y-%m-%d %H:%M') UTC, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
  echo
  if [ -s "$tmp/results" ]; then
    ratios
    echo
    figures
    echo
  fi
  if [ -s "$tmp/memory" ]; then
    memory_table
    echo
  fi
  if [ -s "$tmp/idle" ]; then
    idle_table
    echo
  fi
  if [ -s "$tmp/scaling" ]; then
    scaling_table
    echo
  fi
  footer
}

# labels: "key<TAB>label" for awk.
labels() { local key; for key in rr hyper fpm fpmkept "${rival_keys[@]}"; do printf '%s\t%s\n' "$key" "${label[$key]:-}"; done; }

awk_functions='
  function sorted(list, n,   i, j, held) {
    for (i = 2; i <= n; i++) {
      held = list[i]
      for (j = i - 1; j >= 1 && list[j] > held; j--) list[j + 1] = list[j]
      list[j + 1] = held
    }
  }
  function median(list, n) { sorted(list, n); return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2 }
  function title(workload) {
    if (workload == "hello") return "hello, 13 bytes"
    if (workload == "worker-callback") return "hello by `rr_handle_request()`"
    if (workload == "worker-pull") return "hello by `RR\\Worker`"
    if (workload == "worker-frankenphp") return "hello by `frankenphp_handle_request()`"
    if (workload == "psr7") return "hello by `PSR7Worker`"
    if (workload == "symfony") return "Symfony, JSON route"
    if (workload == "laravel") return "Laravel, JSON route"
    if (workload == "server") return "`json_encode($_SERVER)`"
    if (workload == "echo") return "echo, 1 MB POST"
    if (workload == "static1k") return "static, 1 KB"
    if (workload == "static1m") return "static, 1 MB"
    if (workload == "tls1k") return "static, 1 KB, TLS"
    if (workload == "tls1m") return "static, 1 MB, TLS"
    if (workload == "h2-1k") return "static, 1 KB, HTTP/2"
    if (workload == "h2-1m") return "static, 1 MB, HTTP/2"
    if (workload == "h3-1k") return "static, 1 KB, HTTP/3"
    if (workload == "h3-1m") return "static, 1 MB, HTTP/3"
    if (workload == "handshake") return "new TLS connections"
    if (workload == "resume") return "resumed TLS connections"
    if (workload == "gzip") return "static page of 20 KB, gzip"
    if (workload == "gzip-php") return "page of 20 KB by PHP, gzip"
    if (workload == "wordpress") return "WordPress front page"
    return workload
  }
'

awk_library=$awk_functions'
  # of(FIELD, WORKLOAD, KEY): the median over the rounds; leaves low and high behind.
  function of(field, workload, key,   n, list, round) {
    n = 0
    for (round = 1; round <= rounds; round++) if ((field, workload, key, round) in data) list[++n] = data[field, workload, key, round]
    if (!n) { low = high = 0; return 0 }
    middle = median(list, n); low = list[1]; high = list[n]
    return middle
  }
  function latency(field, workload, key,   middle) { middle = of(field, workload, key); return middle ? sprintf("%.2f", middle) : "–" }
  # ratio(FIELD, WORKLOAD, KEY): rr against KEY, of the medians, with the least and most of the rounds.
  function ratio(field, workload, key, digits,   n, list, round, mine, theirs) {
    n = 0
    for (round = 1; round <= rounds; round++)
      if (((field, workload, key, round) in data) && ((field, workload, "rr", round) in data) && data[field, workload, key, round] > 0)
        list[++n] = data[field, workload, "rr", round] / data[field, workload, key, round]
    if (!n) return "–"
    sorted(list, n)
    mine = of(field, workload, "rr"); theirs = of(field, workload, key)
    if (theirs == 0) return "–"
    return sprintf("%.*f (%.*f–%.*f)", digits, mine / theirs, digits, list[1], digits, list[n])
  }
  FILENAME == ARGV[1] { split($0, pair, "\t"); label[pair[1]] = pair[2]; keys[++key_count] = pair[1]; next }
  {
    if (!($1 in known)) { known[$1] = 1; workloads[++workload_count] = $1 }
    if ($3 > rounds) rounds = $3
    present[$2] = 1
    data["rps", $1, $2, $3] = $4 / ($5 / 1000000)
    data["p50", $1, $2, $3] = $6
    data["p99", $1, $2, $3] = $7
    if ($4 > 0) data["cpu", $1, $2, $3] = $9 / hertz / $4 * 10000
    bad[$1, $2] += $8
  }
'

# with_results [OPTION…] PROGRAM: what awk makes of the results with our library.
with_results() { awk -v hertz="$(getconf CLK_TCK)" "${@:1:$#-1}" "$awk_library ${*: -1}" <(labels) "$tmp/results"; }

ratios() {
  echo "rr against the others, requests per second. Ratio of the medians (least–most of the rounds)."
  echo
  ratios_of rps
  echo
  echo "The same for p99 latency and for CPU time per request: below 1 is better."
  echo
  ratios_of p99
  echo
  ratios_of cpu
}

# ratios_of FIELD
ratios_of() {
  with_results -v field="$1" '
    END {
      head = "| " (field == "rps" ? "requests/s" : field == "cpu" ? "CPU" : field) " |"; rule = "|---|"
      for (k = 1; k <= key_count; k++) if (keys[k] != "rr" && (keys[k] in present)) { head = head " rr / " label[keys[k]] " |"; rule = rule "---|" }
      print head; print rule
      for (w = 1; w <= workload_count; w++) {
        row = "| " title(workloads[w]) " |"
        for (k = 1; k <= key_count; k++) if (keys[k] != "rr" && (keys[k] in present)) row = row " " ratio(field, workloads[w], keys[k], 2) " |"
        print row
      }
    }'
}

figures() {
  with_results '
    END {
      print "| workload | server | requests/s (least–most) | p50, ms | p99, ms | CPU s per 10,000 | errors |"; print "|---|---|---|---|---|---|---|"
      for (w = 1; w <= workload_count; w++) for (k = 1; k <= key_count; k++) {
        if (!(("rps", workloads[w], keys[k], 1) in data)) continue
        name = label[keys[k]]
        if (keys[k] == "fpm" && workloads[w] ~ /^(static|tls|h2|handshake|resume|gzip$)/) name = "nginx"
        rps = of("rps", workloads[w], keys[k]); digits = rps < 1000 ? 1 : 0
        wrong = bad[workloads[w], keys[k]]
        printf "| %s | %s | %.*f (%.*f–%.*f) |", title(workloads[w]), name, digits, rps, digits, low, digits, high
        printf " %s |", latency("p50", workloads[w], keys[k])
        printf " %s |", latency("p99", workloads[w], keys[k])
        printf " %.2f | %s |\n", of("cpu", workloads[w], keys[k]), wrong ? "**" wrong "**" : 0
      }
    }'
}

# memory_table: a line for each load and server, in the order in which they were measured.
memory_table() {
  awk '
    FILENAME == ARGV[1] { split($0, pair, "\t"); label[pair[1]] = pair[2]; next }
    !(($3, $1) in seen) { seen[$3, $1] = 1; line_load[++n] = $3; line_key[n] = $1; if (!($3 in first)) { first[$3] = ++loads; load_name[loads] = $3 } }
    { all[$1, $2, $3] = $4; own[$1, $2, $3] = $5; child[$1, $2, $3] = $6; served[$1, $2, $3] = $7 }
    function mib(kib) { return kib ? sprintf("%.1f", kib / 1024) : "–" }
    function line(key, load) {
      printf "| %s | %s | %s | %s | %s, %s | **%.2f** | %s | %s |\n", title[load], key == "fpm" ? "php-fpm" : label[key],
        mib(all[key, 4, load]), mib(all[key, 20, load]), served[key, 4, load], served[key, 20, load],
        (own[key, 20, load] - own[key, 4, load]) / 16 / 1024, mib(child[key, 4, load]), mib(child[key, 20, load])
    }
    END {
      title["idle"] = "idle"; title["hello"] = "after hello"; title["wordpress"] = "after WordPress"
      title["booted"] = "Laravel booted"; title["laravel"] = "after its JSON route"
      print "| PSS, MiB | server | all, with 4 | all, with 20 | of which served | per added thread or process | mean child of 4 | mean child of 20 |"
      print "|---|---|---|---|---|---|---|---|"
      for (l = 1; l <= loads; l++) for (i = 1; i <= n; i++) if (line_load[i] == load_name[l]) line(line_key[i], load_name[l])
    }' <(labels) "$tmp/memory"
  echo
  echo "Per added thread or process: the growth of what no file backs (anonymous and shared memory, proportionally), divided by 16. nginx is not counted."
}

# idle_table: from lines of "protocol key connections before after".
idle_table() {
  awk '
    FILENAME == ARGV[1] { split($0, pair, "\t"); label[pair[1]] = pair[2] == "nginx + php-fpm" ? "nginx" : pair[2]; next }
    FNR == 1 { print "| idle connections | server | memory of all, MiB, without and with | of one, KiB |"; print "|---|---|---|---|" }
    { printf "| %s %s | %s | %.1f, %.1f | **%.1f** |\n", $3, $1 == "tls" ? "TLS" : $1, label[$2], $4 / 1024, $5 / 1024, ($5 - $4) / $3 }
  ' <(labels) "$tmp/idle"
  echo
  echo "Each has asked for 1 KB once. What no file backs of all processes that speak HTTP; the kernel's buffers are not in it."
}

# scaling_table: from lines of "script threads round microseconds cpu-microseconds".
scaling_table() {
  echo "One PHP thread and two, fed without HTTP in one process: requests per second, and CPU time per request (1: a second thread costs the first nothing). Medians (least–most of the rounds)."
  echo
  awk "$awk_functions"'
    { wall[$1, $2, $3] = $4; cpu[$1, $2, $3] = $5; if ($3 > rounds) rounds = $3; if (!($1 in seen)) { seen[$1] = 1; scripts[++n] = $1 } }
    function show(digits, count, list) { middle = median(list, count); return sprintf("%.*f (%.*f–%.*f)", digits, middle, digits, list[1], digits, list[count]) }
    END {
      print "| script | requests, two threads / one | CPU, two threads / one |"; print "|---|---|---|"
      for (s = 1; s <= n; s++) {
        for (r = 1; r <= rounds; r++) { faster[r] = wall[scripts[s], 1, r] / wall[scripts[s], 2, r]; dearer[r] = cpu[scripts[s], 2, r] / cpu[scripts[s], 1, r] }
        printf "| %s | %s | %s |\n", scripts[s] == "hello" ? title("hello") : "0.1 ms of computing", show(2, rounds, faster), show(2, rounds, dearer)
      }
    }' "$tmp/scaling"
}

footer() {
  local line
  echo "- wrk $(wrk -v 2>&1 | sed -n 's/^wrk \([^ ]*\).*/\1/p'), one thread, 32 connections (WordPress 8), keep-alive, on the same machine; $ROUNDS interleaved rounds of $SECONDS_EACH s after $WARM_UP s of warm-up; medians. $WORKERS PHP threads or children each, access log off, otherwise the defaults of rr. Linux $(uname -r). Load average before: $load_before."
  for line in "${versions[@]}"; do echo "- $line"; done
  echo "- nginx: 2 workers, sendfile, open_file_cache, bodies in memory, access log off, a connection to php-fpm for each request, or kept ones (one per worker), WordPress's recommended rules. CPU is user + system time of all of a server's processes; MariaDB and wrk are not in it."
  for line in server symfony laravel wordpress; do
    [ -z "${sizes[$line]:-}" ] || echo "- Bytes of the answer to \`$line\`: ${sizes[$line]}."
  done
  if [ -f "$tmp/settings.fpm" ]; then
    echo "- One php.ini for all, \`zend_extension=opcache\` alone, all else PHP's defaults: $(grep -E '^(opcache\.(enable|validate_timestamps|revalidate_freq|jit|memory_consumption|interned_strings_buffer|max_accelerated_files)|realpath_cache_(size|ttl)|memory_limit|output_buffering|max_execution_time|post_max_size|display_errors) ' "$tmp/settings.fpm" | sed 's/ = /=/' | tr -d "'" | paste -sd, | sed 's/,/, /g')."
  fi
  if awk '{ exit !($1 > 0.5) }' <<<"$load_before"; then
    echo "- **Note**: the machine was busy with other work. Only the CPU column, and ratios that agree with it, mean anything."
  fi
  for line in "${notes[@]}"; do echo "- **Note**: $line."; done
}
