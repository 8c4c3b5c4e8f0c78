//! Where values are kept in a [`Config`], and how they get there.

use serde_json::Value;

use crate::config::{
    edge::{Http3, Ssl},
    form::{Form, Wrong},
    http::Fcgi,
    middleware::Cors,
    types::{Config, Rpc},
};

/// A place in [`Config`] and the form of what it holds.
pub(in super::super) trait Setting: Sync {
    /// Takes the value that `raw` means.
    fn read(&self, config: &mut Config, raw: &Value) -> Result<(), Wrong>;
    /// The value held; `&mut` only because a place is found that way.
    fn show(&self, config: &mut Config) -> Value;
    /// The key was given, if only to ask for its default.
    fn ask(&self, _config: &mut Config) {}
}

/// A place that is always there.
pub(super) struct Field<T: 'static, F>(pub(super) fn(&mut Config) -> &mut T, pub(super) F);
/// A place in a section that is off until one of its keys is given.
pub(super) struct Inside<S: 'static, T: 'static, F>(
    pub(super) fn(&mut Config) -> &mut Option<S>,
    pub(super) fn(&mut S) -> &mut T,
    pub(super) F,
);

// === impl Field ===

impl<T, F: Form<T>> Setting for Field<T, F> {
    fn read(&self, config: &mut Config, raw: &Value) -> Result<(), Wrong> {
        *(self.0)(config) = self.1.read(raw)?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Value {
        self.1.show((self.0)(config))
    }
}

// === impl Inside ===

impl<S: Default, T, F: Form<T>> Setting for Inside<S, T, F> {
    fn read(&self, config: &mut Config, raw: &Value) -> Result<(), Wrong> {
        *(self.1)((self.0)(config).get_or_insert_default()) = self.2.read(raw)?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Value {
        (self.0)(config).as_mut().map_or(Value::Null, |section| self.2.show((self.1)(section)))
    }

    fn ask(&self, config: &mut Config) {
        (self.0)(config).get_or_insert_default();
    }
}

// === sections that may be absent ===

/// Absent until one of its keys is read; with defaults alone it is taken away again.
pub(super) fn rpc(config: &mut Config) -> &mut Rpc {
    config.rpc.get_or_insert_default()
}

/// Absent until one of its keys is read; with defaults alone it is taken away again.
pub(super) fn cors(config: &mut Config) -> &mut Cors {
    config.http.headers.cors.get_or_insert_default()
}

/// Absent until one of its keys is read; without a certificate it is taken away again.
pub(super) fn ssl(config: &mut Config) -> &mut Ssl {
    config.http.ssl.get_or_insert_default()
}

/// Absent until one of its keys is read; without an address it is taken away again.
pub(super) fn http3(config: &mut Config) -> &mut Http3 {
    config.http.http3.get_or_insert_default()
}

/// Absent until one of its keys is read; without an address it is taken away again.
pub(super) fn fcgi(config: &mut Config) -> &mut Fcgi {
    config.http.fcgi.get_or_insert_default()
}
