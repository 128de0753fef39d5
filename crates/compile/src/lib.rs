//! Net to Program, and the passes over Programs.
