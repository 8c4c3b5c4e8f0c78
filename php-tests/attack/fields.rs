//! Fields of a good request, and how they are spoilt.

pub(super) type Field = (&'static str, &'static str);

/// A head that is right.
#[derive(Clone, Copy)]
pub(super) struct Head(pub(super) [Field; 4]);

impl Head {
    /// With `value` where `name` had another.
    pub(super) fn changed(self, name: &str, value: &'static str) -> Vec<Field> {
        self.0.into_iter().map(|(known, is)| (known, if known == name { value } else { is })).collect()
    }

    pub(super) fn without(self, name: &str) -> Vec<Field> {
        self.0.into_iter().filter(|(known, _)| *known != name).collect()
    }

    pub(super) fn with(self, more: &[Field]) -> Vec<Field> {
        [&self.0[..], more].concat()
    }
}
