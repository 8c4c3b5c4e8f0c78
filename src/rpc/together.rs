//! Calls that concern several engines of one server.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Caller, Error, Payload, service::Call};

/// The way to the engines that serve beside this one.
pub trait Fellows: Send + Sync {
    /// Connects to each that is ready. Does not take long, or fails.
    fn meet(&self) -> Meeting<'_>;

    /// Whether another engine serves in the place of this one, which then keeps nothing any more that can be kept only once.
    fn has_successor(&self) -> bool;
}

/// The result of that, some time; an error says why there is none.
pub type Meeting<'a> = Pin<Box<dyn Future<Output = Result<Met, String>> + Send + 'a>>;

/// Who is there.
#[derive(Debug)]
pub struct Met {
    /// What this engine is called.
    pub own: String,
    /// Which of the server's engines it is, from 0.
    pub place: usize,
    /// Where that is which can be kept only once.
    pub keeper: Keeper,
    /// The others.
    pub others: Vec<Fellow>,
}

/// The one engine that keeps what cannot be kept twice: the one that has been ready for longest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keeper {
    /// This one, until it has a successor.
    Here,
    /// The other of this index.
    There(usize),
    /// None is ready.
    Nobody,
}

/// Another engine.
#[derive(Debug)]
pub struct Fellow {
    /// What it is called, for people.
    pub name: String,
    /// Which of the server's engines it is, from 0.
    pub place: usize,
    /// A connection with it, or why there is none.
    pub caller: Result<Caller, String>,
}

/// Makes calls here and there.
pub(super) struct Together {
    fellows: Arc<dyn Fellows>,
    keeper: Mutex<Option<Way>>,
    keeps_within: Duration,
}

/// The way to the keeper.
enum Way {
    Here,
    There(Fellow),
}

/// How long the keeper may take for a call.
const KEEPS_WITHIN: Duration = Duration::from_secs(5);
/// At the start no engine may be ready yet, but one is about to be.
const READY_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

// === impl Fellow ===

impl Fellow {
    /// Makes one call of it; an error says what went wrong, but not where.
    pub async fn ask(&mut self, name: &str, argument: &Payload, within: Duration) -> Result<Payload, String> {
        let caller = self.caller.as_mut().map_err(|fault| fault.clone())?;
        caller.call(name, argument, within).await.map_err(|error| error.to_string())?
    }
}

// === impl Together ===

impl Together {
    pub(super) fn new(fellows: Arc<dyn Fellows>) -> Self {
        Self { fellows, keeper: Mutex::new(None), keeps_within: KEEPS_WITHIN }
    }

    /// The results of all, in the order of their places. If one has none, none counts: the error says what is with it.
    pub(super) async fn all(&self, call: Call<'_>, within: Duration) -> Result<Vec<Payload>, Error> {
        let Call { service, name, method, argument } = call;
        let met = self.fellows.meet().await;
        let met = met.map_err(|why| Error::Failed(format!("{name}: nothing was done: {why}")))?;
        let mut asked = JoinSet::new();
        for mut fellow in met.others {
            let (name, argument) = (name.to_owned(), argument.clone());
            asked.spawn(async move {
                let result = fellow.ask(&name, &argument, within).await;
                (fellow.place, fellow.name, result)
            });
        }
        let own = service.call(method, argument).await;
        if own == Err(Error::UnknownMethod) {
            return Err(Error::UnknownMethod);
        }
        let mut answers = vec![(met.place, met.own, own)];
        while let Some(one) = asked.join_next().await {
            let (place, engine, result) = one.map_err(|error| Error::Failed(format!("{name}: {error}")))?;
            answers.push((place, engine, result.map_err(Error::Failed)));
        }
        answers.sort_by_key(|(place, ..)| *place);
        together(answers.into_iter().map(|(_, engine, result)| (engine, result)).collect())
    }

    /// The result of the one that keeps what the call is about.
    pub(super) async fn keeper(&self, call: Call<'_>) -> Result<Payload, Error> {
        let Call { service, name, method, argument } = call;
        let failed = |why: &str| Error::Failed(format!("{name}: {why}"));
        let mut known = self.keeper.lock().await;
        for is_last in [false, true] {
            // Taken, for a call that is given up on leaves half an exchange behind.
            let way = known.take().filter(|way| !(matches!(way, Way::Here) && self.fellows.has_successor()));
            let way = match way {
                Some(way) => way,
                None => self.look_for_keeper().await.map_err(|why| failed(&why))?,
            };
            let Way::There(mut fellow) = way else {
                *known = Some(Way::Here);
                drop(known);
                return service.call(method, argument).await;
            };
            let caller = fellow.caller.as_mut().map_err(|fault| failed(&format!("{}: {fault}", fellow.name)))?;
            match caller.call(name, &argument, self.keeps_within).await {
                Ok(result) => {
                    *known = Some(Way::There(fellow));
                    return result.map_err(Error::Failed);
                }
                Err(error) if !is_last && keeps_nothing(&error) => {
                    tracing::debug!(engine = fellow.name, %error, "{name}: once more")
                }
                Err(error) => return Err(failed(&format!("{}: {error}", fellow.name))),
            }
        }
        unreachable!("the last turn returns")
    }

    async fn look_for_keeper(&self) -> Result<Way, String> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let mut met = self.fellows.meet().await?;
            match met.keeper {
                Keeper::Here => return Ok(Way::Here),
                Keeper::There(index) => return Ok(Way::There(met.others.swap_remove(index))),
                Keeper::Nobody if Instant::now() >= until => return Err("no engine is ready: try again later".into()),
                Keeper::Nobody => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

/// Whether an engine that fails like this keeps nothing any more, also if it has done what it was asked for: another does. One that is
/// only slow does it yet, and another time if asked again.
fn keeps_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
}

/// All results, or an error that names those who have none.
fn together(answers: Vec<(String, Result<Payload, Error>)>) -> Result<Vec<Payload>, Error> {
    let (mut results, mut faults) = (Vec::new(), Vec::new());
    for (engine, answer) in answers {
        match answer {
            Ok(result) => results.push(result),
            Err(error) => faults.push((engine, error.to_string())),
        }
    }
    let Some((_, first)) = faults.first() else { return Ok(results) };
    if results.is_empty() && faults.iter().all(|(_, fault)| fault == first) {
        // What all say needs no names, and callers know the text.
        return Err(Error::Failed(first.clone()));
    }
    let told: Vec<_> = faults.iter().map(|(engine, fault)| format!("{engine}: {fault}")).collect();
    let others = if results.is_empty() { "" } else { "; all others have answered" };
    Err(Error::Failed(format!("{}{others}", told.join("; "))))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use serde_json::{Value, json};
    use tokio::net::UnixStream;

    use super::*;
    use crate::rpc::{Answer, Codec, Concerns, Config, Server, Service, Services, lists};

    /// An engine that tells its place, and counts.
    struct Engine {
        place: usize,
        count: AtomicUsize,
    }

    impl Service for Arc<Engine> {
        fn name(&self) -> &str {
            "test"
        }

        fn concerns(&self, method: &str) -> Concerns {
            match method {
                "List" | "Odd" | "Fail" => Concerns::All { within: Duration::from_secs(60), join: lists },
                "Count" | "Hang" => Concerns::Keeper,
                _ => Concerns::Any,
            }
        }

        fn call<'a>(&'a self, method: &'a str, argument: Payload) -> Answer<'a> {
            Box::pin(async move {
                match method {
                    "List" => argument.reply(&[self.place]),
                    "Odd" if self.place % 2 == 1 => Err(Error::Failed("is odd".into())),
                    "Odd" => argument.reply(&true),
                    "Count" => argument.reply(&(self.count.fetch_add(1, SeqCst) + 1)),
                    "Hang" => std::future::pending().await,
                    "Here" => argument.reply(&self.place),
                    _ => Err(Error::Failed("no such thing".into())),
                }
            })
        }
    }

    /// The others of the engine in place 1.
    struct Others {
        servers: Vec<(usize, Server)>,
        keeper: AtomicUsize,
        meetings: AtomicUsize,
        has_successor: AtomicBool,
    }

    impl Others {
        /// Connections are closed when it returns.
        async fn end(&self, index: usize) {
            let server = &self.servers[index].1;
            server.stop();
            assert!(server.wait(std::time::Instant::now() + Duration::from_secs(60)).await);
        }
    }

    impl Fellows for Others {
        fn meet(&self) -> Meeting<'_> {
            Box::pin(async {
                self.meetings.fetch_add(1, SeqCst);
                let keeper = match self.keeper.load(SeqCst) {
                    1 => Keeper::Here,
                    place => self.servers.iter().position(|(other, _)| *other == place).map_or(Keeper::Nobody, Keeper::There),
                };
                let connect = |(place, server): &(usize, Server)| {
                    let (near, far) = UnixStream::pair().unwrap();
                    server.attend(far);
                    Fellow { name: format!("engine {place}"), place: *place, caller: Ok(Caller::new(near)) }
                };
                Ok(Met { own: "engine 1".into(), place: 1, keeper, others: self.servers.iter().map(connect).collect() })
            })
        }

        fn has_successor(&self) -> bool {
            self.has_successor.load(SeqCst)
        }
    }

    fn engines() -> (Services, Arc<Others>, Vec<Arc<Engine>>) {
        let engines: Vec<_> = (0..3).map(|place| Arc::new(Engine { place, count: AtomicUsize::new(0) })).collect();
        let services = |place: usize| Services::new(vec![Arc::new(engines[place].clone())]);
        let server = |place| (place, Config::default().build(Vec::new(), services(place)));
        let (servers, keeper) = (vec![server(0), server(2)], AtomicUsize::new(2));
        let (meetings, has_successor) = (AtomicUsize::new(0), AtomicBool::new(false));
        let others = Arc::new(Others { servers, keeper, meetings, has_successor });
        (services(1).with(others.clone()), others, engines)
    }

    async fn call(services: &Services, name: &str) -> Result<Value, String> {
        let argument = Payload { codec: Codec::Json, body: "true".into() };
        services.call(name, argument).await.map(|result| result.read().unwrap()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn all_engines_answer_and_those_that_do_not_are_named() {
        let (services, others, _) = engines();
        assert_eq!(call(&services, "test.Here").await, Ok(json!(1)));
        assert_eq!(call(&services, "test.List").await, Ok(json!([0, 1, 2])));
        assert_eq!(call(&services, "test.Odd").await, Err("engine 1: is odd; all others have answered".into()));
        assert_eq!(call(&services, "test.Fail").await, Err("no such thing".into()));
        others.end(1).await;
        let expected = "engine 2: it has ended, or closed the connection; all others have answered";
        assert_eq!(call(&services, "test.List").await, Err(expected.into()));
    }

    #[tokio::test]
    async fn one_engine_keeps_what_can_be_kept_once_until_it_ends() {
        let (services, others, engines) = engines();
        let counts = || engines.iter().map(|engine| engine.count.load(SeqCst)).collect::<Vec<_>>();
        for expected in 1..=3 {
            assert_eq!(call(&services, "test.Count").await, Ok(json!(expected)));
        }
        assert_eq!(counts(), [0, 0, 3]);
        others.end(1).await;
        others.keeper.store(0, SeqCst);
        assert_eq!(call(&services, "test.Count").await, Ok(json!(1)));
        others.end(0).await;
        others.keeper.store(1, SeqCst);
        for expected in 1..=2 {
            assert_eq!(call(&services, "test.Count").await, Ok(json!(expected)));
        }
        assert_eq!(counts(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn one_that_has_a_successor_keeps_nothing_any_more() {
        let (services, others, engines) = engines();
        others.keeper.store(1, SeqCst);
        assert_eq!(call(&services, "test.Count").await, Ok(json!(1)));
        others.keeper.store(0, SeqCst);
        assert_eq!(call(&services, "test.Count").await, Ok(json!(2)));
        others.has_successor.store(true, SeqCst);
        assert_eq!(call(&services, "test.Count").await, Ok(json!(1)));
        assert_eq!(engines.iter().map(|engine| engine.count.load(SeqCst)).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[tokio::test]
    async fn what_a_slow_engine_may_do_yet_is_not_asked_of_it_again() {
        let (_, others, engines) = engines();
        let together = Together { keeps_within: Duration::from_millis(1), ..Together::new(others.clone()) };
        let service = &engines[1];
        for meetings in 1..=2 {
            let argument = Payload { codec: Codec::Json, body: "true".into() };
            let call = Call { service, name: "test.Hang", method: "Hang", argument };
            let error = together.keeper(call).await.unwrap_err().to_string();
            assert!(error.starts_with("test.Hang: engine 2: it did not answer within "), "{error}");
            assert_eq!(others.meetings.load(SeqCst), meetings);
        }
    }
}
