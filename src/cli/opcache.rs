//! `rr opcache`: how the OPcache of a running server is, and its reset.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;

use super::{
    remote, say,
    table::{ago, bytes, grouped, span},
};
use crate::{config::Address, error::Error};

/// What is wanted of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// To forget all it has.
    pub(super) reset: bool,
    /// The answer as it comes.
    pub(super) json: bool,
    /// No answer but an error.
    pub(super) silent: bool,
}

/// One engine's.
#[derive(Debug, Deserialize)]
struct Engine {
    pid: u32,
    status: Status,
    restart: Restart,
}

/// What PHP says; what OPcache does not keep, because there is only its file cache, is not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    opcache_enabled: bool,
    cache_full: bool,
    memory_usage: Memory,
    interned_strings_usage: Strings,
    opcache_statistics: Statistics,
    preload_statistics: Option<Preload>,
    jit: Jit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    used_memory: u64,
    free_memory: u64,
    wasted_memory: u64,
    current_wasted_percentage: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Strings {
    buffer_size: u64,
    used_memory: u64,
    number_of_strings: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Statistics {
    num_cached_scripts: u64,
    num_cached_keys: u64,
    max_cached_keys: u64,
    hits: u64,
    misses: u64,
    opcache_hit_rate: f64,
    last_restart_time: u64,
    oom_restarts: u64,
    hash_restarts: u64,
    manual_restarts: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Preload {
    memory_consumption: u64,
    scripts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Jit {
    on: bool,
    buffer_size: u64,
    buffer_free: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Restart {
    pending_ms: Option<u64>,
    vain: u64,
    longest_closed_us: u64,
    held: u64,
    longest_hold_us: u64,
    longest_resume_us: u64,
}

/// A reset may wait for scripts that run; the server bounds that, and this comes after.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does it.
pub(super) fn run(address: Option<&Address>, wanted: Wanted) -> Result<(), Error> {
    let method = if wanted.reset { "opcache.Reset" } else { "opcache.Status" };
    let answer: Value = remote::connect(address, PATIENCE)?.call(method, &true).map_err(remote::failed(method))?;
    if wanted.silent {
        return Ok(());
    }
    if wanted.json {
        return say(&format!("{}\n", serde_json::to_string_pretty(&answer).unwrap_or_default()));
    }
    let engines: Vec<Engine> = serde_json::from_value(answer).map_err(|error| Error::Remote(format!("{method}: {error}")))?;
    let now = SystemTime::now();
    say(&engines.iter().map(|engine| if wanted.reset { engine.outcome() } else { engine.render(now) }).collect::<String>())
}

// === impl Engine ===

impl Engine {
    fn outcome(&self) -> String {
        match self.restart.pending_ms {
            None => format!("OPcache reset: engine {}\n", self.pid),
            Some(_) => format!(
                "OPcache of engine {} resets as soon as the scripts that run now have ended (see rr threads); what is compiled \
                 until then is not cached\n",
                self.pid
            ),
        }
    }

    fn render(&self, now: SystemTime) -> String {
        let rows = [
            ("memory", self.status.memory()),
            ("scripts", self.status.scripts()),
            ("hit rate", self.status.hits()),
            ("interned strings", self.status.strings()),
            ("preloaded", self.status.preloaded()),
            ("JIT", self.status.jit()),
            ("restarts", self.status.restarts(now)),
            ("gate", self.restart.gate()),
        ];
        let pending = self.restart.pending_ms.map(|pending| format!("for {}", span(Duration::from_millis(pending))));
        let state = match pending {
            Some(pending) => format!("wants to restart {pending}"),
            None if self.status.cache_full => "on, full".into(),
            None if self.status.opcache_enabled => "on".into(),
            None => "off".into(),
        };
        let rows = rows.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| format!("  {name:<17} {text}\n"));
        format!("OPcache of engine {}: {state}\n{}", self.pid, rows.collect::<String>())
    }
}

// === impl Status ===

impl Status {
    fn memory(&self) -> String {
        let Memory { used_memory: used, free_memory: free, wasted_memory: wasted, current_wasted_percentage: percent } =
            self.memory_usage;
        let total = bytes(used + free + wasted);
        format!("{} used, {} free, {} wasted ({percent:.1} %) of {total}", bytes(used), bytes(free), bytes(wasted))
    }

    fn scripts(&self) -> String {
        let Statistics { num_cached_scripts: scripts, num_cached_keys: keys, max_cached_keys: most, .. } =
            self.opcache_statistics;
        format!("{}, under {} of {} keys", grouped(scripts), grouped(keys), grouped(most))
    }

    fn hits(&self) -> String {
        let Statistics { hits, misses, opcache_hit_rate: rate, .. } = self.opcache_statistics;
        format!("{rate:.1} %, {} hits, {} misses", grouped(hits), grouped(misses))
    }

    fn strings(&self) -> String {
        let Strings { buffer_size: size, used_memory: used, number_of_strings: count } = self.interned_strings_usage;
        if size == 0 { String::new() } else { format!("{}, {} of {}", grouped(count), bytes(used), bytes(size)) }
    }

    fn preloaded(&self) -> String {
        let preload = self.preload_statistics.as_ref();
        preload.map_or_else(String::new, |preload| {
            format!("{} scripts, {}", preload.scripts.len(), bytes(preload.memory_consumption))
        })
    }

    fn jit(&self) -> String {
        let Jit { on, buffer_size: size, buffer_free: free } = self.jit;
        if on { format!("on, {} of {} used", bytes(size.saturating_sub(free)), bytes(size)) } else { "off".into() }
    }

    fn restarts(&self, now: SystemTime) -> String {
        let Statistics { oom_restarts: memory, hash_restarts: keys, manual_restarts: asked, last_restart_time: last, .. } =
            self.opcache_statistics;
        let last = UNIX_EPOCH + Duration::from_secs(last);
        let last = if memory + keys + asked == 0 { String::new() } else { format!("; the last {}", ago(last, now)) };
        format!("{} out of memory, {} out of keys, {} asked for{last}", grouped(memory), grouped(keys), grouped(asked))
    }
}

// === impl Restart ===

impl Restart {
    fn gate(&self) -> String {
        let ms = |microseconds: u64| format!("{:.1}ms", microseconds as f64 / 1000.0);
        let (closed, hold, resume) = (ms(self.longest_closed_us), ms(self.longest_hold_us), ms(self.longest_resume_us));
        let (held, vain) = (grouped(self.held), grouped(self.vain));
        format!(
            "closed for {closed} at most, {vain} times in vain; {held} requests held up, for {hold} at most; the last ran after {resume}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"pid":7,"status":{"opcache_enabled":true,"cache_full":false,
        "memory_usage":{"used_memory":9000000,"free_memory":124000000,"wasted_memory":1217728,"current_wasted_percentage":0.907},
        "interned_strings_usage":{"buffer_size":8388608,"used_memory":1000000,"free_memory":7388608,"number_of_strings":12345},
        "opcache_statistics":{"num_cached_scripts":120,"num_cached_keys":200,"max_cached_keys":16229,"hits":9900,"misses":100,
        "opcache_hit_rate":99.0,"last_restart_time":1999999995,"oom_restarts":1,"hash_restarts":0,"manual_restarts":2},
        "jit":{"enabled":false,"on":false,"buffer_size":0,"buffer_free":0}},
        "restart":{"pendingMs":null,"vain":3,"longestClosedUs":10100,"held":1234,"longestHoldUs":12345,
        "longestResumeUs":23456}}"#;

    #[test]
    fn what_php_says_is_put_into_words() {
        let engine: Engine = serde_json::from_str(ANSWER).unwrap();
        let expected = "OPcache of engine 7: on\n  \
            memory            9.0 MB used, 124 MB free, 1.2 MB wasted (0.9 %) of 134 MB\n  \
            scripts           120, under 200 of 16,229 keys\n  \
            hit rate          99.0 %, 9,900 hits, 100 misses\n  \
            interned strings  12,345, 1.0 MB of 8.4 MB\n  \
            JIT               off\n  \
            restarts          1 out of memory, 0 out of keys, 2 asked for; the last 5 seconds ago\n  \
            gate              closed for 10.1ms at most, 3 times in vain; 1,234 requests held up, for 12.3ms at most; \
            the last ran after 23.5ms\n";
        assert_eq!(engine.render(UNIX_EPOCH + Duration::from_secs(2_000_000_000)), expected);
        assert_eq!(engine.outcome(), "OPcache reset: engine 7\n");
    }

    #[test]
    fn a_pending_restart_is_told() {
        let engine: Engine = serde_json::from_str(&ANSWER.replace("\"pendingMs\":null", "\"pendingMs\":5200")).unwrap();
        assert!(engine.render(SystemTime::now()).starts_with("OPcache of engine 7: wants to restart for 5.2s\n"));
        assert!(engine.outcome().starts_with("OPcache of engine 7 resets as soon as"), "{}", engine.outcome());
    }
}
