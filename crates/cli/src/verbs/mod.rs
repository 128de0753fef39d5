//! The verbs, one file each: its options and what it does with them.

pub mod bench;
pub mod compile;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod emit;
pub mod eval;
pub mod import;
pub mod inspect;
pub mod run;
pub mod train;
pub mod verify;
