//! The only `unsafe` code: thin, safe wrappers over system calls that the standard library has none for.
#![allow(unsafe_code)]

pub mod peer;
