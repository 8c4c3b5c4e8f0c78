//! `redirect`: paths whose clients are sent elsewhere, before any worker or file is asked. Rules inside a site are `http.rewrite`.

use std::io;

use http::request::Parts;

use super::{Note, Verdict};
use crate::http::{
    response,
    route::{Outcome, Rewrite, Rules, decode, push_query, with_host},
};

/// Sends clients elsewhere.
#[derive(Debug)]
pub struct Redirect(Rules);

// === impl Redirect ===

impl Redirect {
    /// By these rules, each with a redirect's status; the first that matches counts.
    pub fn new(rules: Vec<Rewrite>) -> io::Result<Self> {
        Rules::new(rules).map(Self)
    }

    pub(super) fn before(&self, parts: &Parts, host: &str) -> Verdict {
        let Some(Outcome::Redirect { status, location, keep_query }) =
            decode(parts.uri.path()).and_then(|path| self.0.apply(&path))
        else {
            return Verdict::Pass(Note::Nothing);
        };
        let mut location = with_host(&location, host);
        if keep_query {
            push_query(&mut location, parts.uri.query().unwrap_or_default());
        }
        Verdict::Answer(response::redirect(status, &location).into())
    }
}
