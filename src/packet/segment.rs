//! Cutting superframes and finishing checksums in software.
