//! YAML in and out: text to a tree with positions, and values to text.
//!
//! The reading side follows go-yaml v3, because that decides which existing files load:
//! YAML 1.1 booleans and octal numbers, merge keys, one document. What a value means to a
//! section is decided in `decode`, not here.

pub mod emit;
pub mod parse;
pub mod scalar;
pub mod tree;
