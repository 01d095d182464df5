//! Bounded tables. Each file opens with what it holds, how it is bounded and who pays when it is full.

pub mod bindings;
pub mod classifier;
pub mod conntrack;
pub mod fdb;
pub mod fdb_cache;
mod ledger;
pub mod lpm;
pub mod neighbors;
pub mod reassembly;
pub mod strangers;
pub mod token_bucket;
pub mod vlan_set;
