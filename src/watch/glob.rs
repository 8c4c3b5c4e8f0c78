//! Patterns in the manner of `.gitignore`, with braces besides: `*.php` in any directory, `src/**/*.{php,yaml}` from the top,
//! `./*.php` at the top alone. What matches a directory covers all that is below it.

/// One pattern without braces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Glob(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    /// `**`: any directories, also none.
    Any,
    /// A name, with `*`, `?` and `[a-z]`.
    Name(Box<[u8]>),
}

/// What braces may come to; `{a,b}` five times over are 32.
const MOST: usize = 256;

// === impl Glob ===

impl Glob {
    /// The patterns that `text` means, one for each choice that its braces leave.
    pub(super) fn parse(text: &str) -> Vec<Self> {
        expand(text).iter().map(|text| Self::plain(text)).filter(|glob| !glob.0.is_empty()).collect()
    }

    fn plain(text: &str) -> Self {
        let text = text.trim_end_matches('/');
        let anchored = text.contains('/');
        let names = text.split('/').filter(|name| !matches!(*name, "" | "."));
        let parts = names.map(|name| if name == "**" { Part::Any } else { Part::Name(name.as_bytes().into()) });
        Self((!anchored).then_some(Part::Any).into_iter().chain(parts).collect())
    }

    /// Whether it matches `path` or a directory that `path` is in.
    pub(super) fn covers(&self, path: &[&[u8]]) -> bool {
        covers(&self.0, path)
    }

    /// Whether it may cover something below the directory `path`.
    pub(super) fn reaches_below(&self, path: &[&[u8]]) -> bool {
        reaches(&self.0, path)
    }
}

fn covers(parts: &[Part], path: &[&[u8]]) -> bool {
    match parts {
        [] => true,
        [Part::Any, rest @ ..] => (0..=path.len()).any(|skipped| covers(rest, &path[skipped..])),
        [Part::Name(pattern), rest @ ..] => {
            path.split_first().is_some_and(|(name, below)| matches(pattern, name) && covers(rest, below))
        }
    }
}

fn reaches(parts: &[Part], path: &[&[u8]]) -> bool {
    match (parts, path) {
        ([] | [Part::Any, ..], _) | (_, []) => true,
        ([Part::Name(pattern), rest @ ..], [name, below @ ..]) => matches(pattern, name) && reaches(rest, below),
    }
}

fn matches<'a>(mut pattern: &'a [u8], mut name: &'a [u8]) -> bool {
    // Most names fail here: `*.php` is tried on every file there is.
    if let (Some(last @ (b'a'..=b'z')), Some(other)) = (pattern.last(), name.last())
        && last != other
    {
        return false;
    }
    // Where the last `*` stands, and what it has not swallowed yet.
    let mut star: Option<(&'a [u8], &'a [u8])> = None;
    loop {
        match pattern.split_first() {
            Some((b'*', rest)) => {
                star = Some((rest, name));
                pattern = rest;
                continue;
            }
            None if name.is_empty() => return true,
            _ => {}
        }
        if let Some((after, left)) = step(pattern, name) {
            (pattern, name) = (after, left);
            continue;
        }
        let Some((after, [_, left @ ..])) = star else { return false };
        star = Some((after, left));
        (pattern, name) = (after, left);
    }
}

/// Takes one character off both, if they agree on it.
fn step<'a>(pattern: &'a [u8], name: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (&wanted, after) = pattern.split_first()?;
    let (&byte, left) = name.split_first()?;
    match wanted {
        b'?' => {
            // The rest of a character of several bytes.
            let more = left.iter().take_while(|byte| (**byte & 0xC0) == 0x80).count();
            Some((after, &left[more..]))
        }
        b'[' => {
            let end = after.iter().skip(1).position(|byte| *byte == b']').map(|at| at + 1);
            match end {
                Some(end) => in_class(&after[..end], byte).then_some((&after[end + 1..], left)),
                None => (byte == b'[').then_some((after, left)),
            }
        }
        wanted => (wanted == byte).then_some((after, left)),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, mut class) = match class {
        [b'!' | b'^', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let mut found = false;
    while let [first, rest @ ..] = class {
        class = rest;
        match rest {
            [b'-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&byte);
                class = rest;
            }
            _ => found |= *first == byte,
        }
    }
    found != negated
}

/// `a{b,c}d` is `abd` and `acd`; a brace that is not closed is a character like others.
fn expand(text: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        let Some((before, choices, after)) = braces(&text).filter(|_| done.len() + open.len() < MOST) else {
            done.push(text);
            continue;
        };
        open.extend(choices.iter().rev().map(|choice| format!("{before}{choice}{after}")));
    }
    done
}

/// The first group of braces, cut at its commas.
fn braces(text: &str) -> Option<(&str, Vec<&str>, &str)> {
    let start = text.find('{')?;
    let mut depth = 0;
    let mut from = start + 1;
    let mut choices = Vec::new();
    for (at, character) in text[start..].char_indices().map(|(at, character)| (start + at, character)) {
        match character {
            '{' => depth += 1,
            ',' if depth == 1 => {
                choices.push(&text[from..at]);
                from = at + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    choices.push(&text[from..at]);
                    return Some((&text[..start], choices, &text[at + 1..]));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Vec<&[u8]> {
        path.split('/').map(str::as_bytes).collect()
    }

    fn covers(pattern: &str, path: &str) -> bool {
        Glob::parse(pattern).iter().any(|glob| glob.covers(&parts(path)))
    }

    fn reaches(pattern: &str, path: &str) -> bool {
        Glob::parse(pattern).iter().any(|glob| glob.reaches_below(&parts(path)))
    }

    #[test]
    fn a_name_is_found_in_any_directory_and_a_path_from_the_top() {
        for (pattern, path) in [
            ("*.php", "a.php"),
            ("*.php", "src/deep/a.php"),
            ("**/*.php", "a.php"),
            ("src/**/*.php", "src/a.php"),
            ("src/**/*.php", "src/x/y/a.php"),
            ("./*.php", "a.php"),
            ("/var", "var/cache/x"),
            ("node_modules", "a/node_modules/b/c.js"),
            (".env*", ".env.local"),
            ("*.{php,y{a,}ml}", "config/a.yml"),
            ("*.{php,y{a,}ml}", "config/a.yaml"),
            ("a?c", "aéc"),
            ("[a-c]x[!0-9]", "bxy"),
            ("*a*b*", "xaxxbx"),
            ("src/", "src/a"),
            ("{open", "{open"),
        ] {
            assert!(covers(pattern, path), "{pattern} should cover {path}");
        }
        for (pattern, path) in [
            ("*.php", "a.phps"),
            ("*.php", "php"),
            ("src/**/*.php", "tests/a.php"),
            ("./*.php", "src/a.php"),
            ("/var", "src/var"),
            ("[a-c]x[!0-9]", "bx1"),
            ("*a*b", "xaxbx"),
            ("a?c", "ac"),
        ] {
            assert!(!covers(pattern, path), "{pattern} should not cover {path}");
        }
    }

    #[test]
    fn a_pattern_tells_which_directories_it_may_reach() {
        for (pattern, path) in [("src/a/*.php", "src"), ("src/a/*.php", "src/a"), ("*.php", "x/y"), ("src", "src/deep")] {
            assert!(reaches(pattern, path), "{pattern} may reach below {path}");
        }
        for (pattern, path) in [("src/a/*.php", "src/b"), ("src/*.php", "lib"), ("vendor/autoload.php", "vendor/x")] {
            assert!(!reaches(pattern, path), "{pattern} cannot reach below {path}");
        }
    }

    #[test]
    fn braces_have_a_bound() {
        assert!(Glob::parse(&"{a,b}".repeat(40)).len() <= MOST + 1);
    }
}
