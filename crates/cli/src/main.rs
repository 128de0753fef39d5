//! The `onebit` program: one file per verb.
fn main() {}
