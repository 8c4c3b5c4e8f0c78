//! What the process says about itself: its log.

mod lines;
pub mod logs;
mod seldom;
mod standard;

pub use lines::Lines;
pub use seldom::Seldom;
pub use standard::Standard;
