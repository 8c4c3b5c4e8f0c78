//! The service `lock`: calls of PHP's packages become what any engine understands.

use std::sync::Arc;

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::{
    config,
    lock::{Ask, Config, Locks, NAME, Verb, decode_answer, now},
    rpc::{Answer, Codec, Error, Payload, Service},
    state::State,
};

/// Answers `lock.Lock`, `LockRead`, `Release`, `ForceRelease`, `Exists` and `UpdateTTL`.
struct Remote(Option<State>);

/// `lock.v1beta1.Request`.
#[derive(Clone, Deserialize, PartialEq, Message)]
#[serde(default)]
struct Request {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, tag = "2")]
    id: String,
    /// Microseconds, as is the next.
    #[prost(int64, optional, tag = "3")]
    ttl: Option<i64>,
    #[prost(int64, optional, tag = "4")]
    wait: Option<i64>,
}

/// `lock.v1beta1.Response`.
#[derive(Clone, PartialEq, Message, Serialize)]
struct Response {
    #[prost(bool, tag = "1")]
    ok: bool,
}

const SEVERAL: &str = "locks are kept by one engine, and engine.processes starts several: set it to 1";

/// What no `ttl` means in RoadRunner: a year.
const FOR_EVER_US: u64 = 31_555_952_000_000;
/// What no `wait` means there.
const AT_ONCE_US: u64 = 1000;

/// As `section` says.
pub(super) fn build(section: &config::Lock) -> Arc<Locks> {
    let config::Lock { max_locks, max_waiting, max_name } = *section;
    Arc::new(Locks::new(Config { max_locks, max_waiting, max_name }))
}

/// What may be called of locks, wherever they are; they are nowhere where several engines serve.
pub(super) fn service(config: &config::Engine, state: &State) -> Arc<dyn Service> {
    Arc::new(Remote((config.processes == 1).then(|| state.clone())))
}

fn verb_of(method: &str) -> Option<Verb> {
    Some(match method {
        "Lock" => Verb::Lock,
        "LockRead" => Verb::LockRead,
        "Release" => Verb::Release,
        "ForceRelease" => Verb::ForceRelease,
        "Exists" => Verb::Exists,
        "UpdateTTL" => Verb::UpdateTtl,
        _ => return None,
    })
}

fn ask(verb: Verb, request: Request) -> Result<Ask, Error> {
    if request.id.is_empty() && verb != Verb::ForceRelease {
        return Err(Error::Failed("empty ID is not allowed".into()));
    }
    let nanos = |name: &str, given: Option<i64>, none: u64| match given.map(u64::try_from) {
        None | Some(Ok(0)) => Ok(none * 1000),
        Some(Ok(micros)) => Ok(micros.saturating_mul(1000)),
        Some(Err(_)) => Err(Error::Failed(format!("{name}: expected microseconds, got a negative number"))),
    };
    let (ttl, wait) = (nanos("ttl", request.ttl, FOR_EVER_US)?, nanos("wait", request.wait, AT_ONCE_US)?);
    let since = now();
    Ok(Ask { verb, resource: request.resource, id: request.id, ttl, since, until: since.saturating_add(wait) })
}

// === impl Remote ===

impl Service for Remote {
    fn name(&self) -> &str {
        NAME
    }

    fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
        Box::pin(async move {
            let verb = verb_of(method).ok_or(Error::UnknownMethod)?;
            let is_proto = argument.codec == Codec::Proto;
            let ask = ask(verb, if is_proto { argument.message()? } else { argument.read()? })?;
            let state = self.0.as_ref().ok_or_else(|| Error::Failed(SEVERAL.into()))?;
            let answer = state.call(NAME, ask.encode()).await.map_err(|error| Error::Failed(error.to_string()))?;
            let response = Response { ok: decode_answer(&answer).map_err(Error::Failed)? };
            if is_proto { argument.reply_message(&response) } else { argument.reply(&response) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_microseconds_and_zero_is_roadrunners_default() {
        let request = |ttl, wait| Request { resource: "r".into(), id: "i".into(), ttl, wait };
        let asked = |ttl, wait| ask(Verb::Lock, request(ttl, wait)).map(|ask| (ask.ttl, ask.until - ask.since));
        let none = (FOR_EVER_US * 1000, 1_000_000);
        assert_eq!((asked(None, None), asked(Some(0), Some(0))), (Ok(none), Ok(none)));
        assert_eq!(asked(Some(5), Some(7_000_000)), Ok((5000, 7_000_000_000)));
        assert_eq!(asked(Some(-1), None), Err(Error::Failed("ttl: expected microseconds, got a negative number".into())));
        assert!(ask(Verb::ForceRelease, Request::default()).is_ok());
        assert_eq!(ask(Verb::Exists, Request::default()), Err(Error::Failed("empty ID is not allowed".into())));
    }

    #[test]
    fn messages_are_those_of_roadrunners_packages() {
        let bytes = b"\x0a\x03res\x12\x02id\x18\x80\x89\x7a\x20\x00";
        let request = Request::decode(&bytes[..]).unwrap();
        assert_eq!(request, Request { resource: "res".into(), id: "id".into(), ttl: Some(2_000_000), wait: Some(0) });
        assert_eq!(Response { ok: true }.encode_to_vec(), b"\x08\x01");
        assert_eq!(Response { ok: false }.encode_to_vec(), b"");
    }
}
