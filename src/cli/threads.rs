//! `rr threads`: what every PHP thread is in the middle of.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::{remote, say, table::span, workers::moment};
use crate::{config::Address, error::Error};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thread {
    name: String,
    id: i64,
    state: String,
    request: u64,
    script: String,
    current: Option<String>,
    current_since: Option<i64>,
    trace: Vec<String>,
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Shows those of the plugins named, or of all.
pub(super) fn run(address: Option<&Address>, plugins: &[String]) -> Result<(), Error> {
    let mut client = remote::connect(address, PATIENCE)?;
    let mut text = String::new();
    for plugin in remote::plugins(&mut client, "informer.List", plugins)? {
        let threads: Vec<Thread> = client.call("informer.Threads", &plugin).map_err(remote::failed("informer.Threads"))?;
        text.push_str(&format!("Threads of [{plugin}]:\n"));
        let now = SystemTime::now();
        threads.iter().for_each(|thread| text.push_str(&thread.render(now)));
    }
    say(&text)
}

// === impl Thread ===

impl Thread {
    fn render(&self, now: SystemTime) -> String {
        let mut text = format!("{} ({}) {}", self.name, self.id, self.state);
        if let (Some(current), Some(since)) = (&self.current, self.current_since) {
            let span = span(now.duration_since(moment(since)).unwrap_or_default());
            text.push_str(&format!(": request {}, {current}, for {span}", self.request));
        }
        if !self.script.is_empty() {
            text.push_str(&format!(", {}", self.script));
        }
        text.push('\n');
        for call in &self.trace {
            text.push_str(&format!("    {call}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_shown_with_its_calls() {
        let list = r##"[{"name":"php-http-0","id":7,"state":"working","request":3,"script":"/srv/a.php","current":"GET /a.php",
            "currentSince":1999999999500000000,"trace":["#0 sleep()","#1 {main} /srv/a.php:2"]},
            {"name":"php-http-1","id":8,"state":"idle","request":0,"script":"","trace":[]}]"##;
        let threads: Vec<Thread> = serde_json::from_str(list).unwrap();
        let now = moment(2_000_000_000_000_000_000);
        let shown: String = threads.iter().map(|thread| thread.render(now)).collect();
        let expected = "php-http-0 (7) working: request 3, GET /a.php, for 500ms, /srv/a.php\n    #0 sleep()\n    \
            #1 {main} /srv/a.php:2\nphp-http-1 (8) idle\n";
        assert_eq!(shown, expected);
    }
}
