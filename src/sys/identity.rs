//! The user that scripts run as.
#![allow(unsafe_code, reason = "what runs between fork and exec has no safe form")]

use std::{
    ffi::{CString, OsString},
    io,
    os::unix::process::CommandExt,
    process::Command,
};

use nix::{
    sys::stat::{Mode, umask},
    unistd::{self, Gid, Group, Uid, User},
};
use serde::{Deserialize, Serialize};

/// A user with the groups it is in, known by numbers: a change of names does not reach a process that is started again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// Its number.
    pub user: u32,
    /// Its group's number.
    pub group: u32,
    /// All groups that it is in.
    groups: Vec<u32>,
}

/// What a process takes on before it runs anybody's code.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rights {
    /// Another user; none to stay what it is.
    pub identity: Option<Identity>,
    /// The rights that files which are made do not get; none to leave that.
    pub umask: Option<u32>,
}

// === impl Identity ===

impl Identity {
    /// The user and the group of these names or numbers; none if that is what this process is. The error says what is wrong with
    /// which of them.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, (&'static str, String)> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let (own, own_group) = (unistd::geteuid(), unistd::getegid());
        let found = user.map(|name| find_user(name).map_err(|why| ("user", why))).transpose()?;
        let group = group.map(|name| find_group(name).map_err(|why| ("group", why))).transpose()?;
        let uid = found.as_ref().map_or(own, |user| user.uid);
        let gid = group.or_else(|| found.as_ref().map(|user| user.gid)).unwrap_or(own_group);
        if (uid, gid) == (own, own_group) {
            return Ok(None);
        }
        if !own.is_root() {
            let (key, name) = if uid == own { ("group", gid.as_raw()) } else { ("user", uid.as_raw()) };
            return Err((key, format!("only root may start a server that runs as {key} {name}, and this is user {own}")));
        }
        let groups = match found.and_then(|user| CString::new(user.name).ok()) {
            Some(name) => unistd::getgrouplist(&name, gid).map_err(|error| ("user", format!("its groups: {error}")))?,
            None => vec![gid],
        };
        let groups = groups.into_iter().map(Gid::as_raw).collect();
        Ok(Some(Self { user: uid.as_raw(), group: gid.as_raw(), groups }))
    }
}

/// What the environment says of the user of this name or number: `USER` and `HOME`, as php-fpm tells its children; none if nobody is
/// called so.
pub fn variables(user: &str) -> Option<[(&'static str, OsString); 2]> {
    let user = find_user(user).ok()?;
    Some([("USER", user.name.into()), ("HOME", user.dir.into())])
}

fn find_user(name: &str) -> Result<User, String> {
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    found.map_err(|error| error.to_string())?.ok_or_else(|| format!("no user is named {name:?}"))
}

fn find_group(name: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name).map_err(|error| error.to_string())?;
    found.map(|group| group.gid).ok_or_else(|| format!("no group is named {name:?}"))
}

// === impl Rights ===

impl Rights {
    /// Takes them on, for this process.
    pub fn assume(&self) -> io::Result<()> {
        if let Some(mask) = self.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        let Some(Identity { user, group, groups }) = &self.identity else { return Ok(()) };
        unistd::setgroups(&groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>())?;
        unistd::setgid(Gid::from_raw(*group))?;
        Ok(unistd::setuid(Uid::from_raw(*user))?)
    }

    /// Lets the process of `command` take them on, and tells it in its environment who it is.
    pub fn give(&self, command: &mut Command) {
        if let Some(Identity { user, .. }) = &self.identity {
            command.envs(variables(&user.to_string()).into_iter().flatten());
        }
        let Self { identity, umask } = self.clone();
        let assume = move || {
            if let Some(mask) = umask {
                // SAFETY: async-signal-safe, and cannot fail.
                unsafe { libc::umask(mask) };
            }
            let Some(Identity { user, group, groups }) = &identity else { return Ok(()) };
            // SAFETY: a system call that reads as many numbers as it is told, which are there.
            let done = unsafe { libc::setgroups(groups.len(), groups.as_ptr()) } == 0
                // SAFETY: a system call without memory.
                && unsafe { libc::setgid(*group) } == 0
                // SAFETY: a system call without memory.
                && unsafe { libc::setuid(*user) } == 0;
            if done { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec the closure makes only async-signal-safe calls and allocates nothing.
        unsafe { command.pre_exec(assume) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_has_are_refused() {
        let (key, why) = Identity::find(Some("no-such-user"), None).unwrap_err();
        assert_eq!((key, why.as_str()), ("user", "no user is named \"no-such-user\""));
        let (key, why) = Identity::find(None, Some("no-such-group")).unwrap_err();
        assert_eq!((key, why.as_str()), ("group", "no group is named \"no-such-group\""));
    }

    #[test]
    fn whoever_is_named_already_need_not_become_it() {
        assert_eq!(Identity::find(None, None), Ok(None));
        let (user, group) = (unistd::geteuid().to_string(), unistd::getegid().to_string());
        assert_eq!(Identity::find(Some(&user), Some(&group)), Ok(None));
    }

    #[test]
    fn a_process_is_told_who_it_is() {
        let root = variables("0").unwrap();
        assert_eq!(variables("root"), Some(root.clone()));
        let entry = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        assert_eq!(root, [("USER", "root".into()), ("HOME", entry.dir.into_os_string())]);
        assert_eq!(variables("no-such-user"), None);
        let mut command = Command::new("true");
        Rights { identity: Some(Identity { user: 0, group: 0, groups: vec![0] }), umask: None }.give(&mut command);
        let told: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        assert_eq!(told.len(), 2);
        assert!(root.iter().all(|(name, value)| told.contains(&((*name).into(), value.clone()))), "{told:?}");
    }

    #[test]
    fn another_user_is_known_by_numbers_or_needs_root() {
        let found = Identity::find(Some("nobody"), None);
        if unistd::geteuid().is_root() {
            let nobody = User::from_name("nobody").unwrap().unwrap();
            let found = found.unwrap().unwrap();
            assert_eq!((found.user, found.group), (nobody.uid.as_raw(), nobody.gid.as_raw()));
            assert!(found.groups.contains(&found.group));
        } else {
            assert!(found.unwrap_err().1.starts_with("only root may"), "no root, no other user");
        }
    }
}
