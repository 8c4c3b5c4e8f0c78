//! Environment variables in values, and files of them.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::error::Error;

/// Variables of a file given with `--dotenv`; those of the process win over them.
pub type Dotenv = HashMap<String, String>;

/// Reads a file of `NAME=value` lines: `export`, quotes, comments, and `$NAME` of earlier lines or of the process.
pub fn read_dotenv(path: &Path) -> Result<Dotenv, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|message| Error::File { path: PathBuf::from(path), message })
}

/// The value of `name`: the process's, else the file's.
pub(super) fn lookup(name: &str, dotenv: &Dotenv) -> Option<String> {
    std::env::var(name).ok().or_else(|| dotenv.get(name).cloned())
}

/// Expands the variables in every text below `value`; keys are left alone.
pub(super) fn expand_all(value: &mut Value, lookup: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) if text.contains('$') => *text = expand(text, lookup),
        Value::Array(list) => list.iter_mut().for_each(|one| expand_all(one, lookup)),
        Value::Object(map) => map.values_mut().for_each(|one| expand_all(one, lookup)),
        _ => {}
    }
}

/// `$NAME`, `${NAME}` and `${NAME:-what stands for an unset or empty one}`, as Go's `os.Expand` takes them: no escape.
///
/// But `$1` stays: it can be no variable, and means something in `http.rewrite`.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(braced) = rest.strip_prefix('{') {
            let Some(end) = braced.find('}') else {
                rest = braced;
                continue;
            };
            let (name, default) = braced[..end].split_once(":-").unwrap_or((&braced[..end], ""));
            expanded.push_str(&lookup(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
            rest = &braced[end + 1..];
            continue;
        }
        let name = &rest[..rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len()];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            // The shell's own variables, which nobody sets, vanish as they do in Go.
            match rest.chars().next() {
                Some('*' | '#' | '$' | '@' | '!' | '?' | '-') => rest = &rest[1..],
                _ => expanded.push('$'),
            }
            continue;
        }
        expanded.push_str(&lookup(name).unwrap_or_default());
        rest = &rest[name.len()..];
    }
    expanded.push_str(rest);
    expanded
}

pub(super) fn parse(text: &str) -> Result<Dotenv, String> {
    let mut vars = Dotenv::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line_of = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(vars);
        }
        let line = rest.lines().next().unwrap_or_default();
        if line.starts_with('#') {
            rest = &rest[line.len()..];
            continue;
        }
        let begin = rest;
        let wrong = || format!("line {}: expected NAME=value", line_of(begin));
        let at = line.find(['=', ':']).ok_or_else(wrong)?;
        let name = line[..at].trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')) {
            return Err(wrong());
        }
        let tail = rest[at + 1..].trim_start_matches([' ', '\t']);
        let (value, after) = match tail.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let end = closing(&tail[1..], quote).ok_or_else(|| format!("line {}: no closing {quote}", line_of(begin)))?;
                (quoted(&tail[1..=end], quote, &vars), &tail[end + 2..])
            }
            _ => {
                let line = tail.lines().next().unwrap_or_default();
                let value = line.find(" #").map_or(line, |comment| &line[..comment]).trim_end();
                (expand(value, &|name| vars.get(name).cloned().or_else(|| std::env::var(name).ok())), &tail[line.len()..])
            }
        };
        vars.insert(name.to_owned(), value);
        let left = after.lines().next().unwrap_or_default().trim();
        if !left.is_empty() && !left.starts_with('#') {
            return Err(format!("line {}: unexpected text after the closing quote", line_of(after)));
        }
        rest = after.find('\n').map_or("", |end| &after[end..]);
    }
}

/// Where, in bytes, the text that a quote opened ends.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped && quote == '"';
        ends.then_some(at)
    })
}

fn quoted(text: &str, quote: char, vars: &Dotenv) -> String {
    if quote == '\'' {
        return text.to_owned();
    }
    let (mut value, mut literal) = (String::new(), String::new());
    let lookup = |name: &str| vars.get(name).cloned().or_else(|| std::env::var(name).ok());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => literal.push('\n'),
                Some('r') => literal.push('\r'),
                Some('$') => {
                    value.push_str(&expand(&literal, &lookup));
                    literal.clear();
                    value.push('$');
                }
                Some(other) => literal.push(other),
                None => {}
            },
            _ => literal.push(c),
        }
    }
    value.push_str(&expand(&literal, &lookup));
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vars(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("example".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_expand_as_in_roadrunner() {
        for (text, expanded) in [
            ("$HOST:80", "example:80"),
            ("${HOST}s", "examples"),
            ("tcp://127.0.0.1:${PORT:-6001}/x", "tcp://127.0.0.1:6001/x"),
            ("${EMPTY:-default}", "default"),
            ("${HOST:-default}", "example"),
            ("${PORT:-}", ""),
            ("$PORT$HOST", "example"),
            ("${}x", "x"),
            ("${HOST", "HOST"),
            ("costs 5$", "costs 5$"),
            ("$ $/", "$ $/"),
            ("a$$b", "ab"),
            ("/new/$1", "/new/$1"),
            ("a:-b $HOST", "a:-b example"),
        ] {
            assert_eq!(expand(text, &vars), expanded, "{text}");
        }
    }

    #[test]
    fn every_text_but_no_key_expands() {
        let mut value = json!({"$HOST": ["$HOST", {"x": "$HOST"}, 1]});
        expand_all(&mut value, &vars);
        assert_eq!(value, json!({"$HOST": ["example", {"x": "example"}, 1]}));
    }

    #[test]
    fn a_dotenv_file_may_quote_comment_and_refer_back() {
        let read = parse(
            "# first\nA=1\nexport B = \"two # words\\n\"  # note\nC='$A'\nD=x # note\n\nE: y\nF=\"${A}-\\$A\"\nG=\nH=$A-$D\nI=\"line\nline\"\n",
        )
        .unwrap();
        let expect = [
            ("A", "1"),
            ("B", "two # words\n"),
            ("C", "$A"),
            ("D", "x"),
            ("E", "y"),
            ("F", "1-$A"),
            ("G", ""),
            ("H", "1-x"),
            ("I", "line\nline"),
        ];
        assert_eq!(read, expect.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_dotenv_fault_names_its_line() {
        assert_eq!(parse("A=1\nnonsense\n").unwrap_err(), "line 2: expected NAME=value");
        assert_eq!(parse("A=1\n\nB=\"x\n").unwrap_err(), "line 3: no closing \"");
    }
}
