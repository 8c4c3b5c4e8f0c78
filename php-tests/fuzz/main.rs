//! One program for all of `rr::fuzz::TARGETS`: `RR_FUZZ` names the one to run. `./x fuzz` builds it and keeps its corpora.
#![no_main]

use std::sync::LazyLock;

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));

static TARGET: LazyLock<&'static rr::fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("RR_FUZZ").expect("RR_FUZZ names a target");
    rr::fuzz::TARGETS.iter().find(|target| target.name == name).expect("RR_FUZZ names one of rr::fuzz::TARGETS")
});
