//! One look at the server, and what it says to each question.

use std::fmt::Write;

use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::Serialize;

/// What was seen.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// No engine serves.
    Down,
    /// One does; of each plugin, whether all its pools can work.
    Serving(Vec<(String, bool)>),
    /// The server was told to stop.
    Stopping,
}

/// One plugin as RoadRunner tells of it.
#[derive(Serialize)]
struct Plugin<'a> {
    plugin_name: &'a str,
    error_message: &'a str,
    status_code: u16,
}

const STOPPING: &str = "service is shutting down\n";
const NO_ENGINE: &str = "no engine serves: it starts, or starts again after a crash";
const NO_WORKER: &str = "no worker is ready";

// === impl Report ===

impl Report {
    /// The status code and the text.
    pub(super) fn answer(&self, uri: &Uri, unavailable: StatusCode) -> (StatusCode, String) {
        let stopping = matches!(self, Self::Stopping);
        match uri.path() {
            "/livez" => (StatusCode::OK, "ok\n".into()),
            "/readyz" => match self.objections() {
                none if none.is_empty() => (StatusCode::OK, "ok\n".into()),
                objections => (unavailable, objections),
            },
            // It is well, and about to be gone.
            "/health" if stopping => (StatusCode::OK, STOPPING.into()),
            "/ready" | "/jobs" if stopping => (unavailable, STOPPING.into()),
            "/health" | "/ready" => self.plugins(uri.query().unwrap_or_default(), unavailable),
            "/jobs" => (StatusCode::OK, "[]".into()),
            _ => (StatusCode::NOT_FOUND, "there are /health, /ready, /jobs, /livez and /readyz\n".into()),
        }
    }

    /// Why no requests should come, line by line.
    fn objections(&self) -> String {
        match self {
            Self::Down => format!("{NO_ENGINE}\n"),
            Self::Stopping => STOPPING.into(),
            Self::Serving(plugins) => {
                let mut text = String::new();
                for (name, _) in plugins.iter().filter(|(_, is_ready)| !is_ready) {
                    // Writing to a string cannot fail.
                    _ = writeln!(text, "{name}: {NO_WORKER}");
                }
                text
            }
        }
    }

    /// The plugins that `query` asks for, or all. One that is not there is passed over, as in RoadRunner.
    fn plugins(&self, query: &str, unavailable: StatusCode) -> (StatusCode, String) {
        let wanted: Vec<_> = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("plugin="))
            .map(|name| percent_decode_str(name).decode_utf8_lossy())
            .filter(|name| !name.is_empty())
            .collect();
        let Self::Serving(plugins) = self else {
            return (unavailable, serde_json::to_string(&[plugin("engine", NO_ENGINE, unavailable)]).unwrap_or_default());
        };
        let told: Vec<_> = plugins
            .iter()
            .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
            .map(|(name, is_ready)| match is_ready {
                true => plugin(name, "", StatusCode::OK),
                false => plugin(name, NO_WORKER, unavailable),
            })
            .collect();
        let all_well = told.iter().all(|plugin| plugin.error_message.is_empty());
        let status = if all_well { StatusCode::OK } else { unavailable };
        (status, serde_json::to_string(&told).unwrap_or_default())
    }
}

fn plugin<'a>(plugin_name: &'a str, error_message: &'a str, status: StatusCode) -> Plugin<'a> {
    Plugin { plugin_name, error_message, status_code: status.as_u16() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(report: &Report, target: &'static str) -> (u16, String) {
        let (status, body) = report.answer(&Uri::from_static(target), StatusCode::SERVICE_UNAVAILABLE);
        (status.as_u16(), body)
    }

    fn serving(plugins: &[(&str, bool)]) -> Report {
        Report::Serving(plugins.iter().map(|(name, is_ready)| ((*name).into(), *is_ready)).collect())
    }

    #[test]
    fn a_server_that_serves_is_well() {
        let report = serving(&[("http", true), ("tcp", true)]);
        assert_eq!(ask(&report, "/livez"), (200, "ok\n".into()));
        assert_eq!(ask(&report, "/readyz"), (200, "ok\n".into()));
        let both = r#"[{"plugin_name":"http","error_message":"","status_code":200},{"plugin_name":"tcp","error_message":"","status_code":200}]"#;
        assert_eq!(ask(&report, "/health"), (200, both.into()));
        let one = r#"[{"plugin_name":"tcp","error_message":"","status_code":200}]"#;
        assert_eq!(ask(&report, "/ready?plugin=tcp&plugin=unknown"), (200, one.into()));
        assert_eq!(ask(&report, "/ready?plugin=unknown"), (200, "[]".into()));
        assert_eq!(ask(&report, "/jobs"), (200, "[]".into()));
        assert_eq!(ask(&report, "/").0, 404);
    }

    #[test]
    fn a_plugin_without_workers_is_named() {
        let report = serving(&[("http", false), ("tcp", true)]);
        assert_eq!(ask(&report, "/readyz"), (503, "http: no worker is ready\n".into()));
        let http = r#"[{"plugin_name":"http","error_message":"no worker is ready","status_code":503}]"#;
        assert_eq!(ask(&report, "/health?plugin=ht%74p"), (503, http.into()));
        assert_eq!(ask(&report, "/health?plugin=tcp").0, 200);
    }

    #[test]
    fn without_an_engine_it_lives_and_is_not_ready() {
        assert_eq!(ask(&Report::Down, "/livez").0, 200);
        for target in ["/readyz", "/health", "/ready?plugin=http"] {
            let (status, body) = ask(&Report::Down, target);
            assert_eq!((status, body.contains("no engine serves")), (503, true), "{target}");
        }
    }

    #[test]
    fn stopping_it_lives_and_wants_no_more() {
        let expected = [("/livez", 200), ("/health", 200), ("/readyz", 503), ("/ready", 503), ("/jobs", 503)];
        for (target, status) in expected {
            assert_eq!(ask(&Report::Stopping, target).0, status, "{target}");
        }
    }
}
