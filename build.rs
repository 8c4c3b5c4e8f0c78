//! Finds PHP and links it.

fn main() {}
