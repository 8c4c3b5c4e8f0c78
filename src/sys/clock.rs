//! The time of day where this host is, and the time that only goes on.
#![allow(unsafe_code, reason = "the C library alone knows the time zone, and has no safe wrapper among our dependencies")]

use std::{
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};

/// Time since some moment before this host's processes began: the same for all of them, and no one can set it.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// `22/Nov/2026:05:04:15 +0100`: local time, as access logs write it.
pub fn log_date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    // SAFETY: all zero is a valid value of a structure of numbers and a pointer that may be null.
    let mut date: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: both pointers are to values of ours that live through the call.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut date) };
    let month = usize::try_from(date.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&MONTHS[0]);
    let (sign, offset) = (if date.tm_gmtoff < 0 { '-' } else { '+' }, date.tm_gmtoff.unsigned_abs() / 60);
    format!(
        "{:02}/{month}/{}:{:02}:{:02}:{:02} {sign}{:02}{:02}",
        date.tm_mday,
        i64::from(date.tm_year) + 1900,
        date.tm_hour,
        date.tm_min,
        date.tm_sec,
        offset / 60,
        offset % 60
    )
}

// Not left to the C library, which would write them in the language of the process.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn monotonic_time_goes_on() {
        let first = monotonic();
        assert!(!first.is_zero() && monotonic() >= first);
    }

    #[test]
    fn dates_are_those_of_the_hosts_own_command() {
        for seconds in [0, 951_782_400, 1_700_000_000, 1_719_792_000, 4_102_444_799] {
            let mut date = Command::new("date");
            date.env("LC_ALL", "C").args(["--date", &format!("@{seconds}"), "+%d/%b/%Y:%H:%M:%S %z"]);
            let expected = String::from_utf8(date.output().unwrap().stdout).unwrap();
            assert_eq!(log_date(UNIX_EPOCH + Duration::from_secs(seconds)), expected.trim(), "{seconds}");
        }
    }
}
