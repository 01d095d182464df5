//! What a running switch is told to be, and how it is told.
//!
//! A change's walk: a request on the unix socket ([`server`]) edits the wanted configuration, as a reload of the file
//! replaces it; [`config`] turns the text into checked, typed values or into errors that name file, line and key;
//! [`plan`] compares them with what runs and lists the changes, without touching anything. Only when all of that has
//! succeeded are they applied by the [`yard`], all or nothing. [`api`] holds the requests and answers, [`attach`]
//! what a guest is told, `export` what a collector is, [`host`] what is seen of the machine, [`client`] the other end,
//! [`daemon`] the life of the process around it, [`log`] what is heard of it, [`socket`] what keeps two of them apart.
//!
//! What runs is also to be seen over [`http`], where nothing can be changed: `site` has the pages and what their
//! script asks for, `metrics` writes one of them.

pub mod api;
pub mod attach;
mod capture;
pub mod client;
pub mod config;
pub mod daemon;
mod deadline;
mod export;
pub mod host;
pub mod http;
pub mod log;
pub mod metrics;
mod opening;
mod overlay;
pub mod plan;
mod probe;
mod routing;
pub mod server;
mod shape;
mod show;
mod site;
pub mod socket;
mod talkers;
mod trace;
mod watching;
pub mod yard;
