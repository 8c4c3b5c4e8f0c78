//! The memory that this process's control groups leave it, version 1 and 2.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The control groups that count this process's memory: its own and those above it, as far as they can be seen.
#[derive(Clone, Debug, Default)]
pub struct MemoryGroups(Vec<Group>);

/// A limit, and what is used of it, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Where the limit is.
    pub limit: u64,
    /// What could not be given back at once: the page cache of files does not count.
    pub used: u64,
}

#[derive(Clone, Debug)]
struct Group {
    directory: PathBuf,
    files: &'static Files,
}

/// What a version calls it.
#[derive(Debug)]
struct Files {
    limits: &'static [&'static str],
    usage: &'static str,
    /// Parts of the usage, in `memory.stat`, that the kernel takes back when it needs to.
    reclaimable: &'static [&'static str],
    /// Counts the processes that the kernel has killed, as `oom_kill`.
    events: &'static str,
}

const MOUNTED_AT: &str = "/sys/fs/cgroup";

const V1: Files = Files {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    reclaimable: &["total_inactive_file", "total_active_file"],
    events: "memory.oom_control",
};

const V2: Files = Files {
    // Past `high` nothing is killed, but everything waits.
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    reclaimable: &["inactive_file", "active_file", "slab_reclaimable"],
    events: "memory.events",
};

/// Version 1 writes no limit as the largest number of pages.
const NO_LIMIT: u64 = 1 << 60;

// === impl MemoryGroups ===

impl MemoryGroups {
    /// Those that this process is in.
    pub fn of_this_process() -> Self {
        Self::below(Path::new(MOUNTED_AT), &fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
    }

    /// Those that `membership`, in the form of `/proc/self/cgroup`, names below `mount`.
    fn below(mount: &Path, membership: &str) -> Self {
        let mut groups = Vec::new();
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let (roots, files): (&[&str], _) = match controllers {
                // Beside version 1 it is mounted further down.
                "" => (&["", "unified"], &V2),
                list if list.split(',').any(|controller| controller == "memory") => (&["memory"], &V1),
                _ => continue,
            };
            for root in roots {
                let own = mount.join(root).join(path.trim_start_matches('/'));
                // In a container the path may be the host's, of which only the end of the way up is to be seen.
                let seen = own.ancestors().take_while(|directory| directory.starts_with(mount.join(root)));
                let seen = seen.filter(|directory| directory.join(files.usage).exists());
                groups.extend(seen.map(|directory| Group { directory: directory.to_owned(), files }));
            }
        }
        Self(groups)
    }

    /// The lowest limit, if there is one.
    pub fn limit(&self) -> Option<u64> {
        self.0.iter().filter_map(Group::limit).min()
    }

    /// The group that has the smallest part of its limit left; none if none is limited.
    pub fn tightest(&self) -> Option<Usage> {
        self.0.iter().filter_map(Group::usage).max_by_key(|usage| u128::from(usage.used) * 1000 / u128::from(usage.limit.max(1)))
    }

    /// Processes that the kernel has killed for want of memory, in the group itself; none if it does not tell.
    pub fn killed(&self) -> Option<u64> {
        let group = self.0.first()?;
        field(&fs::read_to_string(group.directory.join(group.files.events)).ok()?, "oom_kill")
    }
}

// === impl Group ===

impl Group {
    fn limit(&self) -> Option<u64> {
        self.files.limits.iter().filter_map(|name| self.number(name)).filter(|limit| *limit < NO_LIMIT).min()
    }

    fn usage(&self) -> Option<Usage> {
        let (limit, total) = (self.limit()?, self.number(self.files.usage)?);
        let stat = fs::read_to_string(self.directory.join("memory.stat")).unwrap_or_default();
        let reclaimable: u64 = self.files.reclaimable.iter().filter_map(|name| field(&stat, name)).sum();
        Some(Usage { limit, used: total.saturating_sub(reclaimable) })
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

/// The number after `name` in lines of names and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("rr-cgroup-{name}-{}", std::process::id()));
            for (path, content) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn of_version_2_the_tightest_group_on_the_way_up_counts() {
        let tree = Tree::new(
            "v2",
            &[
                ("slice/memory.max", "1000\n"),
                ("slice/memory.current", "900\n"),
                ("slice/memory.stat", "anon 1\ninactive_file 100\nactive_file 50\nslab_reclaimable 50\n"),
                ("slice/app/memory.max", "max\n"),
                ("slice/app/memory.high", "2000\n"),
                ("slice/app/memory.current", "800\n"),
                ("slice/app/memory.events", "low 0\noom 3\noom_kill 2\n"),
                ("memory.stat", ""),
            ],
        );
        let groups = MemoryGroups::below(&tree.0, "0::/slice/app\n");
        assert_eq!(groups.limit(), Some(1000));
        assert_eq!(groups.tightest(), Some(Usage { limit: 1000, used: 700 }));
        assert_eq!(groups.killed(), Some(2));
    }

    #[test]
    fn version_1_and_a_path_that_only_the_host_sees() {
        let unlimited = "9223372036854771712\n";
        let tree = Tree::new(
            "v1",
            &[
                ("memory/memory.limit_in_bytes", "4096\n"),
                ("memory/memory.usage_in_bytes", "4000\n"),
                ("memory/memory.stat", "cache 900\ntotal_inactive_file 1000\ntotal_active_file 500\n"),
                ("memory/docker/memory.limit_in_bytes", unlimited),
                ("memory/docker/memory.usage_in_bytes", "1\n"),
                ("memory/docker/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
                ("unified/cgroup.procs", ""),
            ],
        );
        let groups = MemoryGroups::below(&tree.0, "5:cpu,cpuacct:/x\n4:memory:/docker/0123abc\n0::/\n");
        assert_eq!(groups.limit(), Some(4096));
        assert_eq!(groups.tightest(), Some(Usage { limit: 4096, used: 2500 }));
        assert_eq!(groups.killed(), Some(3));
    }

    #[test]
    fn without_limits_there_is_nothing_to_watch() {
        let tree = Tree::new("none", &[("memory.max", "max\n"), ("memory.current", "5\n")]);
        let groups = MemoryGroups::below(&tree.0, "0::/\n");
        assert_eq!((groups.limit(), groups.tightest(), groups.killed()), (None, None, None));
        assert_eq!(MemoryGroups::below(Path::new("/nonexistent"), "nonsense\n0::/\n").limit(), None);
    }
}
