//! `PHP_VALUE` and `PHP_ADMIN_VALUE`: php.ini syntax in a parameter.

use crate::worker::IniValue;

use super::params::Params;

/// The directives in force for this request; those of `PHP_ADMIN_VALUE` come last, and so win.
///
/// The parameters stay among the others: php-fpm shows them in `$_SERVER` too.
pub(super) fn values(params: &Params) -> Vec<IniValue> {
    let mut values = Vec::new();
    for (name, locked) in [("PHP_VALUE", false), ("PHP_ADMIN_VALUE", true)] {
        if let Some(text) = params.get(name) {
            parse(&String::from_utf8_lossy(text), locked, &mut values);
        }
    }
    values
}

fn parse(text: &str, locked: bool, values: &mut Vec<IniValue>) {
    for line in text.split(['\r', '\n']) {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '[']) {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim();
        if name.is_empty() {
            continue;
        }
        if REFUSED.contains(&name) {
            tracing::warn!(directive = name, "refused: it cannot be undone after one request");
            continue;
        }
        values.push(IniValue { name: name.to_owned(), value: value_of(value.trim()), locked });
    }
}

/// What the scanner of php.ini makes of the right side of a line.
fn value_of(text: &str) -> String {
    if let Some(quoted) = text.strip_prefix('"') {
        return double_quoted(quoted);
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        return quoted.split('\'').next().unwrap_or_default().to_owned();
    }
    let text = text.split(';').next().unwrap_or_default().trim_end();
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => "1".to_owned(),
        "false" | "off" | "no" | "none" | "null" => String::new(),
        _ => Expression { rest: text }.evaluate().map_or_else(|| text.to_owned(), |number| number.to_string()),
    }
}

fn double_quoted(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\' | '\'')) => value.push(escaped),
                Some(other) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            _ => value.push(character),
        }
    }
    value
}

/// `E_ALL & ~E_NOTICE`: the one kind of expression that such directives hold in practice.
struct Expression<'t> {
    rest: &'t str,
}

// === impl Expression ===

impl Expression<'_> {
    /// None unless every word is a number or a constant of error levels, and one at least is a constant.
    fn evaluate(mut self) -> Option<i64> {
        if !self.rest.contains("E_") {
            return None;
        }
        let value = self.sum(DEPTH)?;
        self.rest.is_empty().then_some(value)
    }

    // As in php.ini all operators have one precedence.
    fn sum(&mut self, depth: u8) -> Option<i64> {
        let mut left = self.operand(depth)?;
        loop {
            let Some(operator) = self.rest.chars().next().filter(|sign| "|&^".contains(*sign)) else { return Some(left) };
            self.skip(1);
            let right = self.operand(depth)?;
            left = match operator {
                '|' => left | right,
                '&' => left & right,
                _ => left ^ right,
            };
        }
    }

    fn operand(&mut self, depth: u8) -> Option<i64> {
        let depth = depth.checked_sub(1)?;
        match self.rest.chars().next()? {
            '~' => {
                self.skip(1);
                Some(!self.operand(depth)?)
            }
            '!' => {
                self.skip(1);
                Some(i64::from(self.operand(depth)? == 0))
            }
            '(' => {
                self.skip(1);
                let value = self.sum(depth)?;
                self.rest.starts_with(')').then(|| self.skip(1))?;
                Some(value)
            }
            _ => {
                let end = self.rest.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(self.rest.len());
                let word = &self.rest[..end];
                let value = word.parse().ok().or_else(|| LEVELS.iter().find(|level| level.0 == word).map(|level| level.1))?;
                self.skip(end);
                Some(value)
            }
        }
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest[count..].trim_start();
    }
}

/// Directives that php-fpm applies to the process for good.
const REFUSED: [&str; 4] = ["disable_functions", "disable_classes", "extension", "zend_extension"];

const DEPTH: u8 = 16;

const LEVELS: [(&str, i64); 16] = [
    ("E_ERROR", 1),
    ("E_WARNING", 2),
    ("E_PARSE", 4),
    ("E_NOTICE", 8),
    ("E_CORE_ERROR", 16),
    ("E_CORE_WARNING", 32),
    ("E_COMPILE_ERROR", 64),
    ("E_COMPILE_WARNING", 128),
    ("E_USER_ERROR", 256),
    ("E_USER_WARNING", 512),
    ("E_USER_NOTICE", 1024),
    ("E_STRICT", 2048),
    ("E_RECOVERABLE_ERROR", 4096),
    ("E_DEPRECATED", 8192),
    ("E_USER_DEPRECATED", 16384),
    ("E_ALL", 30719),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        let mut values = Vec::new();
        parse(text, false, &mut values);
        values.into_iter().map(|value| (value.name, value.value)).collect()
    }

    fn one(line: &str) -> String {
        parsed(line).pop().expect("one directive").1
    }

    #[test]
    fn lines_are_directives() {
        let expected = [("memory_limit", "64M"), ("a.b", "x y")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parsed("memory_limit=64M\r\n; note\n[section]\n\n  a.b = \"x y\" ; end\nnovalue\n= 1"), expected);
    }

    #[test]
    fn values_are_read_as_in_php_ini() {
        for (line, expected) in [
            ("k=On", "1"),
            ("k=off", ""),
            ("k=none", ""),
            ("k=", ""),
            ("k=/tmp:/srv ; note", "/tmp:/srv"),
            ("k='a\"b;c'", "a\"b;c"),
            (r#"k="a\"b\\c;d""#, r#"a"b\c;d"#),
            ("k=E_ALL & ~E_NOTICE", "30711"),
            ("k=(E_ERROR|E_WARNING)^2", "1"),
            ("k=E_ALL & WHAT", "E_ALL & WHAT"),
            ("k=1|2", "1|2"),
        ] {
            assert_eq!(one(line), expected, "{line}");
        }
        let deep = format!("k={}E_ALL", "(".repeat(10_000));
        assert!(one(&deep).ends_with("E_ALL"));
    }

    #[test]
    fn what_cannot_be_undone_is_refused() {
        assert!(parsed("disable_functions=exec\ndisable_classes=X\nextension=evil.so").is_empty());
    }
}
