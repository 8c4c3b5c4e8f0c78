//! The precompressed forms of a file, and which of them a client prefers.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use http::{HeaderMap, header};

/// A content coding: of a file on disk, or of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Coding {
    Brotli,
    Gzip,
    Identity,
    Zstd,
}

// === impl Coding ===

impl Coding {
    /// The precompressed ones, those that usually come out smallest first.
    pub(super) const COMPRESSED: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
            Self::Zstd => "zstd",
        }
    }

    /// The file of this coding that belongs to the plain one at `path`.
    pub(super) fn beside(self, path: &Path) -> PathBuf {
        let extension = match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
            Self::Identity => "",
            Self::Zstd => ".zst",
        };
        let mut name = OsString::from(path);
        name.push(extension);
        name.into()
    }

    fn from_name(name: &str) -> Option<Self> {
        let known = [
            ("br", Self::Brotli),
            ("gzip", Self::Gzip),
            ("identity", Self::Identity),
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
        ];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| coding)
    }
}

/// The index of the coding in `available` that the client likes best (RFC 9110, 12.5.3); none for the plain file.
pub(crate) fn choose(available: impl Iterator<Item = Coding>, headers: &HeaderMap) -> Option<usize> {
    // In thousandths, by coding; what is not named counts as `*` does.
    let mut weights = [None; 4];
    let mut any = None;
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for item in values.flat_map(|value| value.split(',')) {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = parameters.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.trim_start().strip_prefix('='));
        let weight = weight.map_or(1000, |weight| (weight.trim().parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u16);
        match Coding::from_name(name.trim()) {
            Some(coding) => weights[coding as usize] = Some(weight),
            None if name.trim() == "*" => any = Some(weight),
            None => {}
        }
    }
    let weight_of = |coding: Coding| weights[coding as usize].or(any).unwrap_or(0);
    // Among equals the first: they are ordered by size.
    let (index, weight) =
        available.map(weight_of).enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best })?;
    (weight > 0 && weight >= weight_of(Coding::Identity)).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> &'static str {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accept.parse().unwrap())]);
        choose(Coding::COMPRESSED.into_iter(), &headers).map_or("identity", |index| Coding::COMPRESSED[index].name())
    }

    #[test]
    fn the_client_prefers_and_we_break_ties() {
        assert_eq!(chosen("gzip, deflate, br, zstd"), "br");
        assert_eq!(chosen("gzip, zstd"), "zstd");
        assert_eq!(chosen("x-gzip"), "gzip");
        assert_eq!(chosen("br;q=0.5, gzip;q=0.8"), "gzip");
        assert_eq!(chosen("br;q=0, gzip;q=0"), "identity");
        assert_eq!(chosen("*"), "br");
        assert_eq!(chosen("br;q=0, *"), "zstd");
        assert_eq!(chosen("gzip;q=0.5, identity"), "identity");
        assert_eq!(chosen("deflate"), "identity");
        assert_eq!(chosen(""), "identity");
    }
}
