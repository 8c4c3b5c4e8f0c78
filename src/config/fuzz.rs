//! Fuzz target: a file, an override, the variables of a file.

use super::{
    Dotenv, env,
    resolve::{self, put},
    source::{fold, parse_yaml, split_key},
    types::Config,
};

/// A YAML file; after a NUL, if there is one, an override; after another, a file of variables.
pub(crate) fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.splitn(3, '\0');
    let (yaml, given, variables) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    let dotenv = variables.and_then(|text| env::parse(text).ok()).unwrap_or_else(Dotenv::new);
    let Ok(mut raw) = parse_yaml(yaml) else { return };
    env::expand_all(&mut raw, &|name| dotenv.get(name).cloned());
    let mut raw = fold("", raw);
    if let Some((key, value)) = given.and_then(|given| given.split_once('=')) {
        let (sections, name) = split_key(key);
        put(&mut raw, sections.iter().map(String::as_str), &name, value.into());
    }
    let Ok(config) = resolve::resolve(&raw) else { return };
    let shown = config.to_json();
    let again = Config::from_json(&shown).unwrap_or_else(|error| panic!("what is shown is not read: {error}\n{shown}"));
    assert_eq!(again.to_json(), shown, "what is shown means the same");
}
