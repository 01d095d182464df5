//! The stages, in the order in which a frame walks through them.

pub(super) mod ingress;

pub(super) mod guard;

pub(super) mod bridge;

pub(super) mod reflect;

pub(super) mod suppress;

pub(super) mod wire;

pub(super) mod route;

pub(super) mod filter;

pub(super) mod egress;

pub(super) mod tunnel;

pub(super) mod mirror;
