//! Sizes from the cgroup, not from the host.

use std::{fs, thread};

use super::cgroup::MemoryGroups;

/// CPUs that this process may use: the affinity mask and the cgroup's quota, at least 1.
pub fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Memory that this process may use, in bytes: the cgroup's limit, or what the host has.
pub fn memory() -> u64 {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(1 << 30);
    MemoryGroups::of_this_process().limit().map_or(host, |limit| limit.min(host))
}

/// PHP threads for these sizes: twice the CPUs, since scripts wait for databases; at least 4, but no more than fit in half the
/// memory at 64 MiB each.
pub fn php_threads(cpus: usize, memory: u64) -> usize {
    let by_memory = usize::try_from(memory / 2 / (64 << 20)).unwrap_or(usize::MAX).max(1);
    (cpus * 2).max(4).min(by_memory).min(512)
}

/// The most PHP threads that a pool grows to with these sizes, unless it begins with more: 32 for each CPU, beyond which they only take
/// it from each other, and no more than fit in the memory at 64 MiB each.
pub fn most_php_threads(cpus: usize, memory: u64) -> usize {
    usize::try_from(memory / (64 << 20)).unwrap_or(usize::MAX).min(cpus * 32).clamp(1, 1024)
}

/// Threads that speak to clients: one for every two CPUs, for PHP needs the others.
pub fn io_threads(cpus: usize) -> usize {
    (cpus / 2).clamp(1, 16)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_cpus_and_memory() {
        assert_eq!(php_threads(2, 24 << 30), 4);
        assert_eq!(php_threads(16, 24 << 30), 32);
        assert_eq!(php_threads(16, 512 << 20), 4);
        assert_eq!(php_threads(1, 64 << 20), 1);
    }

    #[test]
    fn growth_ends_where_the_cgroup_does() {
        assert_eq!(most_php_threads(2, 24 << 30), 64);
        assert_eq!(most_php_threads(2, 512 << 20), 8);
        assert_eq!(most_php_threads(1, 16 << 20), 1);
        assert_eq!(most_php_threads(128, 1 << 40), 1024);
    }

    #[test]
    fn reads_the_hosts_total() {
        assert_eq!(total("MemTotal:       1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(total("nothing"), None);
    }
}
