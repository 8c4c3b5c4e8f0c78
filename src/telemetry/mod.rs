//! What the process says about itself.

pub mod collectors;
mod lines;
pub mod logs;
mod seldom;

pub use lines::Lines;
pub use seldom::Seldom;
