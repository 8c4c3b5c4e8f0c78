//! Everything at once: clients of all kinds while engines are killed, stopped, reloaded and reset, and while other clients break
//! off. Each answer is right or, for who was connected to an engine when that died, none; afterwards nothing is left over.

mod clients;
mod measure;
mod random;
mod site;
mod trial;
mod trouble;

use std::{env, thread, time::Duration};

use self::{random::Numbers, trial::Trial};
use crate::harness::{
    PATIENCE,
    census::{self, Census},
    reference, wait_until,
};

#[test]
fn nothing_wrong_and_nothing_left_over_after_a_little_chaos() {
    chaos(Duration::from_secs(15));
}

#[test]
#[ignore = "./x chaos: a quarter of an hour unless it says otherwise"]
fn nothing_wrong_and_nothing_left_over_after_chaos() {
    let seconds = env::var("RR_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(900);
    chaos(Duration::from_secs(seconds));
}

fn chaos(time: Duration) {
    if reference().is_some() {
        return;
    }
    let seed = env::var("RR_CHAOS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(random::seed);
    eprintln!("RR_CHAOS_SEED={seed}");
    let mut numbers = Numbers::new(seed);
    let trial = Trial::new(site::start());
    let fresh = Census::settled(&trial.server);
    eprintln!("before: {fresh}");
    let troubles = if time < Duration::from_secs(60) { &trouble::ALL[1..] } else { trouble::ALL };
    storm(&trial, &mut numbers, time * 3 / 4, troubles);
    trial.recovered();

    // Then without anything that replaces the engine, so that what it keeps can be seen.
    storm(&trial, &mut numbers, time / 16, trouble::HARMLESS);
    trial.recovered();
    let before = Census::settled(&trial.server);
    eprintln!("after the storm: {before}");
    storm(&trial, &mut numbers, time * 3 / 16, trouble::HARMLESS);
    trial.recovered();
    let after = Census::settled(&trial.server);
    eprintln!("at the end: {after}");
    trial.report();
    same_again(&fresh, &before, &after, &trial);
    trial.judge();
    trial.server.stop();
    assert!(wait_until(PATIENCE, || census::below(trial.server.pid()).is_empty()), "processes are left");
}

/// All clients, and a random trouble every now and then.
fn storm(trial: &Trial, numbers: &mut Numbers, time: Duration, troubles: &[trouble::Trouble]) {
    trial.begin(time);
    thread::scope(|scope| {
        for client in clients::ALL {
            let mut numbers = numbers.fork();
            scope.spawn(move || {
                while trial.goes_on() {
                    client(trial, &mut numbers);
                }
            });
        }
        while trial.goes_on() {
            trial.pause(numbers.between(100, 2500));
            let (name, trouble) = numbers.choose(troubles);
            trial.note_trouble(name);
            trouble(trial, numbers);
        }
    });
}

/// What memory may grow by and count as flat: caches and fragments, not leaks, which grow with the time that a test takes.
const SLACK_KB: u64 = 24 * 1024;

/// Whether nothing has grown: the supervisor since it was `fresh`, the engine since `before`.
fn same_again(fresh: &Census, before: &Census, after: &Census, trial: &Trial) {
    let (now, then) = (after.supervisor, fresh.supervisor);
    // Two more: what a rollback would bring back.
    assert!(now.threads == then.threads && now.descriptors <= then.descriptors + 2, "the supervisor: {then:?}, now {now:?}");
    assert!(now.kilobytes <= then.kilobytes + SLACK_KB, "the supervisor: {then:?}, now {now:?}");
    assert_eq!(before.engine_pid, after.engine_pid, "nothing replaced the engine: {}", trial.server.log.text());
    let (now, then) = (after.engine, before.engine);
    // Files and OPcache's own may have been opened meanwhile, threads for files started.
    assert!(now.descriptors <= then.descriptors + 4 && now.threads <= then.threads + 2, "the engine: {then:?}, now {now:?}");
    assert!(now.kilobytes <= then.kilobytes + SLACK_KB, "the engine: {then:?}, now {now:?}");
    let (now, then) = (after.engine, fresh.engine);
    assert!(
        now.descriptors <= then.descriptors + 4 && now.threads <= then.threads + 4,
        "the engine: fresh {then:?}, now {now:?}"
    );
    // PHP's own file of an upload stays when it is killed in the middle of one; there are no others.
    let others: Vec<_> = after.files.iter().filter(|name| !name.starts_with("php")).collect();
    assert!(others.is_empty() && after.files.len() <= trial.deaths(), "temporary files: {:?}", after.files);
}
