//! What Prometheus' libraries tell of the process they are in, under their names.

use std::{fs, time::SystemTime};

use nix::{
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage},
        time::TimeValLike,
    },
    unistd::{SysconfVar, sysconf},
};
use prometheus::{Counter, Gauge, Registry};

/// Shows on `registry` what the kernel knows of this process, which began at `start`; what cannot be read is left out.
pub(super) fn figures(registry: &Registry, start: SystemTime) -> prometheus::Result<()> {
    let figure = |name: &str, help: &str, value: Option<f64>| match value {
        Some(value) => {
            let gauge = Gauge::new(name, help)?;
            gauge.set(value);
            registry.register(Box::new(gauge))
        }
        None => Ok(()),
    };
    let cpu = getrusage(UsageWho::RUSAGE_SELF).ok();
    let cpu = cpu.map(|usage| (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6);
    // Total and resident, in pages.
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    let mut sizes = statm.split(' ').map(|pages| pages.parse::<f64>().ok().map(|pages| pages * page as f64));
    let open = fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as f64);
    let most = getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft as f64);
    let began = start.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
    if let Some(seconds) = cpu {
        let counter = Counter::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")?;
        counter.inc_by(seconds);
        registry.register(Box::new(counter))?;
    }
    figure("process_virtual_memory_bytes", "Virtual memory size in bytes.", sizes.next().flatten())?;
    figure("process_resident_memory_bytes", "Resident memory size in bytes.", sizes.next().flatten())?;
    figure("process_open_fds", "Number of open file descriptors.", open)?;
    figure("process_max_fds", "Maximum number of open file descriptors.", most)?;
    figure("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", began)
}
