//! Bounded tables. Each file opens with what it holds, how it is bounded and who pays when it is full.

pub mod classifier;
pub mod fdb;
pub mod fdb_cache;
mod ledger;
pub mod lpm;
pub mod strangers;
pub mod token_bucket;
pub mod vlan_set;
