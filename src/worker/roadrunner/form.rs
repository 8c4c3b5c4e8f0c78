//! Form fields as a tree, by RoadRunner's rules.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::percent_decode;

use super::Error;

/// A level of a form: names in alphabetical order, as RoadRunner's JSON has them.
#[derive(Debug)]
pub(super) struct Tree<T>(BTreeMap<String, Node<T>>);

/// Fields as they came, the values of each name together.
#[derive(Debug)]
pub(super) struct Fields<T> {
    fields: Vec<(String, Vec<T>)>,
    places: HashMap<String, usize>,
}

/// A value of a form, to be written as JSON.
pub(super) trait Value: Sized {
    /// Of several values, the one that counts.
    fn chosen(values: Vec<Self>) -> Option<Self>;
    /// True if it says nothing, and so gives way to whatever else has its name.
    fn is_empty(&self) -> bool;
    fn write(&self, into: &mut Vec<u8>);
}

#[derive(Debug)]
enum Node<T> {
    One(T),
    List(Vec<T>),
    Branch(Tree<T>),
}

/// Levels of a name; a field with more is left out.
const MAX_LEVEL: usize = 127;

/// The fields of a urlencoded body.
pub(super) fn urlencoded(body: &[u8]) -> Fields<String> {
    let mut fields = Fields::default();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let split = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        fields.push(decoded(&pair[..split]), decoded(pair.get(split + 1..).unwrap_or_default()));
    }
    fields
}

/// Percent-decodes, `+` being a space.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

/// Writes `text` as JSON does.
pub(super) fn write_text(text: &str, into: &mut Vec<u8>) {
    serde_json::to_writer(into, text).expect("text is written to memory");
}

fn decoded(text: &[u8]) -> String {
    String::from_utf8_lossy(&decode(text)).into_owned()
}

// === impl Fields ===

impl<T> Default for Fields<T> {
    fn default() -> Self {
        Self { fields: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Value> Fields<T> {
    pub(super) fn push(&mut self, name: String, value: T) {
        match self.places.get(&name) {
            Some(place) => self.fields[*place].1.push(value),
            None => {
                self.places.insert(name.clone(), self.fields.len());
                self.fields.push((name, vec![value]));
            }
        }
    }

    pub(super) fn into_tree(self) -> Result<Tree<T>, Error> {
        let mut tree = Tree(BTreeMap::new());
        for (name, values) in self.fields {
            let keys = keys(&name);
            if keys.len() <= MAX_LEVEL {
                tree.mount(&keys, values)?;
            }
        }
        Ok(tree)
    }
}

/// `a[b][]` → a, b and nothing.
fn keys(name: &str) -> Vec<String> {
    #[derive(PartialEq)]
    enum At {
        Name,
        Opened,
        Closed,
    }
    let mut keys = vec![String::new()];
    let mut at = At::Name;
    for character in name.chars() {
        match character {
            ' ' => {}
            '[' => at = At::Opened,
            ']' => {
                if at == At::Opened {
                    keys.push(String::new());
                }
                at = At::Closed;
            }
            _ => {
                if at != At::Name {
                    keys.push(String::new());
                }
                keys.last_mut().expect("it is never empty").push(character);
                at = At::Name;
            }
        }
    }
    keys
}

// === impl Tree ===

impl<T: Value> Tree<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn write(&self, into: &mut Vec<u8>) {
        into.push(b'{');
        for (place, (name, node)) in self.0.iter().enumerate() {
            if place > 0 {
                into.push(b',');
            }
            write_text(name, into);
            into.push(b':');
            match node {
                Node::One(value) => value.write(into),
                Node::List(values) => write_list(values, into),
                Node::Branch(tree) => tree.write(into),
            }
        }
        into.push(b'}');
    }

    fn mount(&mut self, keys: &[String], values: Vec<T>) -> Result<(), Error> {
        let [key, rest @ ..] = keys else { return Ok(()) };
        let is_leaf = matches!(rest, [] | [_]) && rest.first().is_none_or(String::is_empty);
        let says_nothing = is_blank(&values);
        match self.0.get(key) {
            // An empty field gives way to what is there.
            Some(Node::Branch(_)) if is_leaf && says_nothing => return Ok(()),
            Some(Node::Branch(_)) if is_leaf => return Err(Error::Conflict(key.clone())),
            Some(leaf @ (Node::One(_) | Node::List(_))) if !leaf.is_blank() => {
                if rest.first().is_some_and(|next| !next.is_empty()) {
                    return Err(Error::Conflict(key.clone()));
                }
                if says_nothing {
                    return Ok(());
                }
            }
            _ => {}
        }
        match rest {
            [] => {
                if let Some(value) = T::chosen(values) {
                    self.0.insert(key.clone(), Node::One(value));
                }
                Ok(())
            }
            [next] if next.is_empty() => {
                self.0.insert(key.clone(), Node::List(values));
                Ok(())
            }
            _ => self.branch(key).mount(rest, values),
        }
    }

    /// The branch of that name, in the place of any leaf.
    fn branch(&mut self, key: &str) -> &mut Self {
        let node = self.0.entry(key.to_owned()).or_insert_with(|| Node::Branch(Self(BTreeMap::new())));
        if !matches!(node, Node::Branch(_)) {
            *node = Node::Branch(Self(BTreeMap::new()));
        }
        match node {
            Node::Branch(tree) => tree,
            Node::One(_) | Node::List(_) => unreachable!("made a branch above"),
        }
    }
}

// === impl Node ===

impl<T: Value> Node<T> {
    fn is_blank(&self) -> bool {
        match self {
            Self::One(value) => value.is_empty(),
            Self::List(values) => is_blank(values),
            Self::Branch(_) => false,
        }
    }
}

fn is_blank<T: Value>(values: &[T]) -> bool {
    match values {
        [] => true,
        [value] => value.is_empty(),
        _ => false,
    }
}

fn write_list<T: Value>(values: &[T], into: &mut Vec<u8>) {
    into.push(b'[');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            into.push(b',');
        }
        value.write(into);
    }
    into.push(b']');
}

// === impl Value for String ===

impl Value for String {
    fn chosen(mut values: Vec<Self>) -> Option<Self> {
        values.pop()
    }

    fn is_empty(&self) -> bool {
        str::is_empty(self)
    }

    fn write(&self, into: &mut Vec<u8>) {
        write_text(self, into);
    }
}
