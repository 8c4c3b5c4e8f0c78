//! The files, the overrides and the environment become one raw array.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    env::{self, Dotenv},
    error::Error,
    form::Found,
    http::Address,
    php, resolve, schema,
    types::Config,
};

/// Where the configuration comes from.
///
/// # Defaults
/// No file named, no overrides, no variables, `php` from the `PATH`.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The file (`-c`); none means `.rr.yaml`, else `config.php`, else no file.
    pub path: Option<PathBuf>,
    /// What relative paths start from (`-w`); none means the process's directory for the file's path, and the file's directory
    /// for what it includes.
    pub directory: Option<PathBuf>,
    /// `key=value` each (`-o`), in order.
    pub overrides: Vec<String>,
    /// Variables beside the process's own (`--dotenv`).
    pub dotenv: Dotenv,
    /// The command that runs PHP, to which arguments are added; it evaluates `config.php`.
    pub php: Vec<OsString>,
}

/// The file that [`load`] would read, as an absolute path. Without `-w`, RoadRunner makes its directory the process's.
pub fn find(options: &LoadOptions) -> Result<Option<PathBuf>, Error> {
    let directory = match &options.directory {
        Some(directory) => std::path::absolute(directory),
        None => std::env::current_dir(),
    }
    .map_err(|source| Error::Read { path: options.directory.clone().unwrap_or_else(|| ".".into()), source })?;
    if let Some(path) = &options.path {
        return Ok(Some(directory.join(path)));
    }
    Ok(DEFAULT_FILES.iter().map(|name| directory.join(name)).find(|path| path.exists()))
}

/// Reads, merges and resolves the configuration.
pub fn load(options: &LoadOptions) -> Result<Config, Error> {
    let (raw, problems) = merge(options)?;
    match resolve::resolve(&raw) {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(_) => Err(Error::Invalid { problems }),
        Err(Error::Invalid { problems: more }) => Err(Error::Invalid { problems: [problems, more].concat() }),
        Err(other) => Err(other),
    }
}

/// Where the server of this configuration listens for calls, if it does. The rest of the configuration may be wrong, or not there:
/// Laravel Octane gives `rr reset` an empty file and `-o rpc.listen=…`.
pub fn rpc_address(options: &LoadOptions) -> Result<Option<Address>, Error> {
    let (raw, _) = merge(options)?;
    let rpc = raw.get("rpc").cloned().unwrap_or_default();
    let config = resolve::resolve(&Map::from_iter([("rpc".to_owned(), rpc)]).into())?;
    Ok(config.rpc.map(|rpc| rpc.listen))
}

/// The raw array of files and overrides, and what is wrong with the files.
fn merge(options: &LoadOptions) -> Result<(Value, Vec<String>), Error> {
    let path = find(options)?;
    let source = Source { options, directory: path.as_deref().and_then(Path::parent) };
    let mut problems = Vec::new();
    let mut raw = match &path {
        Some(path) => source.read(path)?,
        None => Value::Null,
    };
    for given in &options.overrides {
        source.apply(given, &mut raw)?;
    }
    let version = raw.get("version").cloned();
    if let Some(path) = &path {
        problems.extend(version_problem(path, version.as_ref()).map(|problem| format!("version: {problem}")));
    }
    source.include(&mut raw, version.as_ref(), &mut problems)?;
    Ok((raw, problems))
}

struct Source<'a> {
    options: &'a LoadOptions,
    /// The main file's directory.
    directory: Option<&'a Path>,
}

// === impl LoadOptions ===

impl Default for LoadOptions {
    fn default() -> Self {
        Self { path: None, directory: None, overrides: Vec::new(), dotenv: Dotenv::new(), php: vec!["php".into()] }
    }
}

// === impl Source ===

impl Source<'_> {
    fn read(&self, path: &Path) -> Result<Value, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let raw = if is_php(path) {
            // Not expanded: the file has getenv, and a $ in a PHP string is meant.
            php::evaluate(path, &php::Interpreter { options: self.options, directory: self.base(), limit: php::LIMIT })?
        } else {
            let mut raw = parse_yaml(&text).map_err(|message| Error::File { path: path.to_owned(), message })?;
            env::expand_all(&mut raw, &|name| env::lookup(name, &self.options.dotenv));
            raw
        };
        Ok(fold("", raw))
    }

    fn apply(&self, given: &str, raw: &mut Value) -> Result<(), Error> {
        let Some((key, value)) = given.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(Error::Override { given: given.to_owned() });
        };
        let value = unquoted(value.trim());
        let value = env::expand(value, &|name| env::lookup(name, &self.options.dotenv));
        let (sections, name) = split_key(key.trim());
        // A text whatever it looks like: settings are weakly typed, and version must be a text.
        resolve::put(raw, sections.iter().map(String::as_str), &name, Value::String(value));
        Ok(())
    }

    /// A key of an included file replaces the whole key of the same name, overrides too: as RoadRunner does it.
    fn include(&self, raw: &mut Value, version: Option<&Value>, problems: &mut Vec<String>) -> Result<(), Error> {
        let names: Vec<String> = match raw.get("include") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(names)) => names.split(',').map(|name| name.trim().to_owned()).collect(),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
            }
            Some(other) => {
                problems.push(format!("include: expected a list of files, got {}", Found(other)));
                return Ok(());
            }
        };
        for name in names.iter().filter(|name| !name.is_empty()) {
            let path = self.base().join(name);
            let included = self.read(&path)?;
            if !is_php(&path) && included.get("version") != version {
                problems.push(format!("include: {name} has not the version of the file that includes it"));
            }
            if let Value::Object(included) = included {
                resolve::object(raw).extend(included.into_iter().filter(|(key, _)| key != "version" && key != "include"));
            }
        }
        Ok(())
    }

    fn base(&self) -> &Path {
        self.options.directory.as_deref().or(self.directory).unwrap_or(Path::new("."))
    }
}

fn version_problem(path: &Path, version: Option<&Value>) -> Option<String> {
    match version {
        None | Some(Value::Null) if is_php(path) => None,
        None | Some(Value::Null) => Some(format!("missing from {}; it needs version: \"3\"", path.display())),
        Some(Value::String(version)) if SUPPORTED_VERSIONS.contains(&version.as_str()) => None,
        Some(version) if is_php(path) && version == 3 => None,
        Some(version @ Value::Number(_)) => Some(format!("expected the text \"3\" in quotes, got {}", Found(version))),
        Some(version) => Some(format!("expected \"3\", got {}", Found(version))),
    }
}

pub(super) fn parse_yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        // Go's reading: `mode: off` is a text, and 0660 is one that the key may read as octal.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Option<Value>>(text, options)
        .map(|value| value.unwrap_or(Value::Null))
        .map_err(|error| error.to_string())
}

/// Lower-cases keys as RoadRunner does, but for those that are the operator's own, such as ini names.
pub(super) fn fold(path: &str, raw: Value) -> Value {
    match raw {
        Value::Object(map) if schema::find(path).is_none_or(|key| key.setting.is_none()) => {
            let fold_entry = |(name, value): (String, Value)| {
                let name = name.to_lowercase();
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                (name, fold(&path, value))
            };
            map.into_iter().map(fold_entry).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

/// The sections of a dotted key, and its last name. Below a setting that is a map, the rest is one name: ini names have dots.
pub(super) fn split_key(key: &str) -> (Vec<String>, String) {
    let mut levels: Vec<String> = Vec::new();
    let mut rest = key;
    while let Some((name, more)) = rest.split_once('.') {
        levels.push(name.to_lowercase());
        rest = more;
        let section = levels.join(".");
        if schema::find(&section).is_some_and(|key| key.setting.is_some()) {
            return match rest.rsplit_once('.') {
                // Here it is a server and its key.
                Some((server, key)) if section == "tcp.servers" => {
                    levels.push(server.to_owned());
                    (levels, key.to_lowercase())
                }
                _ => (levels, rest.to_owned()),
            };
        }
    }
    (levels, rest.to_lowercase())
}

fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote).and_then(|text: &str| text.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

fn is_php(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("php"))
}

const DEFAULT_FILES: &[&str] = &[".rr.yaml", "config.php"];
/// RoadRunner reads 2.7 with a warning; the keys known here are the same.
const SUPPORTED_VERSIONS: &[&str] = &["3", "2.7"];
