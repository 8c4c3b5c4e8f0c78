//! Forms of values that keys of several sections have.

use crate::config::form::{Count, Size, Text, Time};

pub(super) const BACKLOG: Count = Count(1, 65_535);
pub(super) const ACCOUNT: Text = Text("the name or number of an account", |text| !text.is_empty() && !text.contains(':'));
pub(super) const EXTENSION: Text =
    Text("an extension with its dot, such as .php", |text| text.starts_with('.') && !text.contains('/'));
pub(super) const HEADER: Text = Text("a header's value", |text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
pub(super) const OUTPUT: Text = Text("stderr, stdout or a file's path", |text| !text.is_empty());
/// Bytes of a flow that is not bounded by what has to be kept at once.
pub(super) const WINDOW: Size = Size(1024);
pub(super) const TIME: Time = Time { zero: true };
/// A wait that must end.
pub(super) const BOUND: Time = Time { zero: false };
