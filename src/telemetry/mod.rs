//! What the process says about itself: its log.

mod lines;
pub mod logs;
mod seldom;

pub use lines::Lines;
pub use seldom::Seldom;
