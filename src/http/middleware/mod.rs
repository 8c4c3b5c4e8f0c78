//! What sees a request before its route does, under RoadRunner's names.

pub mod statics;

pub use statics::Statics;
