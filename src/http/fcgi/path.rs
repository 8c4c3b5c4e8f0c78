//! Which script a request means, from the parameters that nginx, Apache and others send: php-fpm's rules.

use bytes::Bytes;

use super::params::Params;

/// What a path leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    /// A regular file.
    File,
    /// Nothing, or nothing that can be reached.
    Missing,
    /// Something else.
    Other,
}

/// The outcome.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Resolved {
    /// The file to run, and what was found there. None: "File not found."
    pub(super) script: Option<(Bytes, Entry)>,
    /// The script's URL path (`SCRIPT_NAME`, and the start of `PHP_SELF`).
    pub(super) name: Option<Bytes>,
}

/// Finds the script, and corrects the parameters on the way; the values they had are kept as `ORIG_…`.
///
/// `fix_pathinfo` is `cgi.fix_pathinfo`. `entry` looks a path up.
pub(super) fn resolve(params: &mut Params, fix_pathinfo: bool, entry: impl Fn(&[u8]) -> Entry) -> Resolved {
    repair_iis(params);
    let apache = strip_proxy_prefix(params);
    let original = Original {
        script_filename: params.get("SCRIPT_FILENAME").cloned(),
        script_name: params.get("SCRIPT_NAME").cloned(),
        path_info: params.get("PATH_INFO").cloned(),
        path_translated: params.get("PATH_TRANSLATED").cloned(),
        apache,
    };
    let Some(path) = original.script_filename.clone().or_else(|| original.path_translated.clone()) else {
        return Resolved::default();
    };
    let mut resolved = if fix_pathinfo {
        fix(params, &original, path, &entry)
    } else {
        let path = original.path_translated.clone().unwrap_or(path);
        let found = entry(&path);
        Resolved { script: Some((path, found)), name: original.path_info.or(original.script_name) }
    };
    // Some servers let `..` slip through.
    resolved.script = resolved.script.filter(|(path, _)| !path.split(|&byte| byte == b'/').any(|part| part == b".."));
    resolved
}

/// The parameters before they were corrected.
struct Original {
    script_filename: Option<Bytes>,
    script_name: Option<Bytes>,
    path_info: Option<Bytes>,
    path_translated: Option<Bytes>,
    /// They came from `mod_proxy_fcgi` or `mod_proxy_balancer`.
    apache: bool,
}

/// IIS sends the script's name at the start of `PATH_INFO`.
fn repair_iis(params: &mut Params) {
    if params.get("SCRIPT_FILENAME").is_none() && params.get("PATH_TRANSLATED").is_none()
        || !params.get("SERVER_SOFTWARE").is_some_and(|software| software.starts_with(b"Microsoft-IIS"))
    {
        return;
    }
    let (Some(name), Some(info)) = (params.get("SCRIPT_NAME"), params.get("PATH_INFO").cloned()) else { return };
    if !info.starts_with(name) {
        return;
    }
    let rest = info.slice(name.len()..);
    params.set("ORIG_PATH_INFO", info);
    set_or_remove(params, "PATH_INFO", Some(rest).filter(|rest| !rest.is_empty()));
}

/// `proxy:fcgi://localhost:9000/dir/info.php/test?foo=bar` → `/dir/info.php/test`; true if there was such a prefix.
///
/// <https://bugs.php.net/54152>, <https://bugs.php.net/62172>, <https://bz.apache.org/bugzilla/show_bug.cgi?id=50851>
fn strip_proxy_prefix(params: &mut Params) -> bool {
    let Some(filename) = params.get("SCRIPT_FILENAME") else { return false };
    let starts = |prefix: &str| filename.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
    let Some(prefix) = ["proxy:fcgi://", "proxy:balancer://"].into_iter().find(|prefix| starts(prefix)) else { return false };
    let slash = memchr::memchr(b'/', &filename[prefix.len()..]);
    let mut stripped = slash.map_or_else(|| filename.clone(), |slash| filename.slice(prefix.len() + slash..));
    if let Some(query) = memchr::memchr(b'?', &stripped) {
        stripped.truncate(query);
    }
    params.set("SCRIPT_FILENAME", stripped);
    slash.is_some()
}

fn fix(params: &mut Params, original: &Original, mut path: Bytes, entry: &impl Fn(&[u8]) -> Entry) -> Resolved {
    let redirect = params.get("REDIRECT_URL").cloned().filter(|_| !original.apache);
    let mut name = original.script_name.clone();
    // Under mod_fastcgi with an Action, SCRIPT_FILENAME and SCRIPT_NAME are those of the php executable.
    let by_action = match (&original.path_translated, &redirect) {
        (Some(translated), Some(redirect)) if *translated != path => {
            path = translated.clone();
            name = Some(redirect.clone());
            true
        }
        _ => false,
    };
    let found = if path.ends_with(b"/") { Entry::Missing } else { entry(&path) };
    if found == Entry::Missing && !path.is_empty() {
        return walk(params, original, path, name, entry);
    }
    if original.script_filename.as_ref() != Some(&path) {
        keep(params, "ORIG_SCRIPT_FILENAME", original.script_filename.as_ref());
        params.set("SCRIPT_FILENAME", path.clone());
    }
    if redirect.is_some() {
        for (now, before, value) in [
            ("PATH_INFO", "ORIG_PATH_INFO", &original.path_info),
            ("PATH_TRANSLATED", "ORIG_PATH_TRANSLATED", &original.path_translated),
        ] {
            if value.is_some() {
                keep(params, before, value.as_ref());
                params.remove(now);
            }
        }
    }
    if by_action {
        keep(params, "ORIG_SCRIPT_NAME", original.script_name.as_ref());
        keep(params, "SCRIPT_NAME", name.as_ref());
    }
    Resolved { script: Some((path, found)), name }
}

/// The path leads nowhere: looks for a file at its slashes, from the last on. What follows it is `PATH_INFO`.
fn walk(
    params: &mut Params,
    original: &Original,
    path: Bytes,
    mut name: Option<Bytes>,
    entry: &impl Fn(&[u8]) -> Entry,
) -> Resolved {
    let Some(end) = file_before_slash(&path, entry) else {
        keep(params, "ORIG_SCRIPT_FILENAME", original.script_filename.as_ref());
        params.remove("SCRIPT_FILENAME");
        if name != original.script_name {
            rename(params, original, name.clone());
        }
        return Resolved { script: None, name };
    };
    let (script, rest) = (path.slice(..end), path.slice(end..));
    let mut info = original.path_info.clone();
    let corrected = if original.apache {
        // Apache sends no PATH_INFO of its own.
        correct_apache(params, original, &mut name, &rest)
    } else {
        correct_path_info(params, original, &rest)
    };
    let name_in_path = name.clone();
    if let Some((corrected_info, corrected_name)) = corrected {
        params.set("PATH_INFO", corrected_info.clone());
        info = Some(corrected_info);
        name = corrected_name.or(name);
    } else if name != original.script_name {
        rename(params, original, name.clone());
    }
    if original.script_filename.as_ref() != Some(&script) {
        keep(params, "ORIG_SCRIPT_FILENAME", original.script_filename.as_ref());
        params.set("SCRIPT_FILENAME", script.clone());
    }
    if let Some(root) = document_root(params, &script, name_in_path.as_deref()) {
        keep(params, "ORIG_PATH_TRANSLATED", original.path_translated.as_ref());
        params.set("PATH_TRANSLATED", [root, info.unwrap_or_default()].concat().into());
    }
    Resolved { script: Some((script, Entry::File)), name }
}

fn file_before_slash(path: &[u8], entry: &impl Fn(&[u8]) -> Entry) -> Option<usize> {
    let mut end = path.len();
    while let Some(cut) = memchr::memrchr(b'/', &path[..end]).or_else(|| memchr::memrchr(b'\\', &path[..end])) {
        // Longer ones the kernel refuses; asking it for each would make a long path of slashes expensive.
        if cut < PATH_MAX && entry(&path[..cut]) == Entry::File {
            return Some(cut);
        }
        end = cut;
    }
    None
}

/// The end of `PATH_INFO` that is as long as `rest`, and the new script name: what precedes that end.
///
/// A `PATH_INFO` no longer than `rest` is left alone. That comparison is the whole of CVE-2019-11043.
fn correct_path_info(params: &mut Params, original: &Original, rest: &Bytes) -> Option<(Bytes, Option<Bytes>)> {
    let info = original.path_info.as_ref().filter(|info| info.len() > rest.len())?;
    let cut = info.len() - rest.len();
    params.set("ORIG_PATH_INFO", info.clone());
    let before = info.slice(..cut);
    rename(params, original, Some(before.clone()));
    Some((info.slice(cut..), Some(before)))
}

/// `rest` is `PATH_INFO`; with ProxyPass it is also at the end of `SCRIPT_NAME`, decoded or not.
fn correct_apache(
    params: &mut Params,
    original: &Original,
    name: &mut Option<Bytes>,
    rest: &Bytes,
) -> Option<(Bytes, Option<Bytes>)> {
    if rest.is_empty() || original.path_info.as_ref() == Some(rest) {
        return None;
    }
    if let Some(info) = &original.path_info {
        params.set("ORIG_PATH_INFO", info.clone());
        rename(params, original, Some(info.clone()));
        return Some((rest.clone(), Some(info.clone())));
    }
    let decoded = memchr::memchr(b'%', rest).map(|_| Bytes::from(percent_encoding::percent_decode(rest).collect::<Vec<u8>>()));
    let ends = |name: &Bytes, end: &Bytes| name.len() > end.len() && name.ends_with(end);
    let stripped = name.as_ref().and_then(|name| {
        let end = [Some(rest), decoded.as_ref()].into_iter().flatten().find(|end| ends(name, end))?;
        Some(name.slice(..name.len() - end.len()))
    });
    if let Some(stripped) = &stripped {
        keep(params, "ORIG_SCRIPT_NAME", original.script_name.as_ref());
        params.set("SCRIPT_NAME", stripped.clone());
        *name = Some(stripped.clone());
    }
    Some((decoded.unwrap_or_else(|| rest.clone()), stripped))
}

/// What `PATH_TRANSLATED` starts with: the document root as given, else the script's path without its name.
fn document_root(params: &Params, script: &Bytes, name: Option<&[u8]>) -> Option<Bytes> {
    if let Some(root) = params.get("DOCUMENT_ROOT") {
        return Some(root.slice(..root.strip_suffix(b"/").unwrap_or(root).len()));
    }
    let name = name.filter(|name| memchr::memmem::find(script, name).is_some())?;
    Some(script.slice(..script.len() - name.len()))
}

fn rename(params: &mut Params, original: &Original, name: Option<Bytes>) {
    if original.script_name != name || original.script_name.is_none() {
        keep(params, "ORIG_SCRIPT_NAME", original.script_name.as_ref());
        set_or_remove(params, "SCRIPT_NAME", name);
    }
}

fn keep(params: &mut Params, name: &'static str, value: Option<&Bytes>) {
    if let Some(value) = value {
        params.set(name, value.clone());
    }
}

fn set_or_remove(params: &mut Params, name: &'static str, value: Option<Bytes>) {
    match value {
        Some(value) => params.set(name, value),
        None => params.remove(name),
    }
}

const PATH_MAX: usize = 4096;

#[cfg(test)]
mod tests;
