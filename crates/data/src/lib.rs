//! Data sets and input encoders.
