//! Which session a tuple belongs to: the only part of a table that all workers read at once.

use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::HashTable;

use super::hash::{self, Hashes};
use super::session::{Direction, Session};
use crate::packet::Tuple;

pub(super) struct Index(Box<[RwLock<Shard>]>);

/// The tuples with hashes of one shard. A session stands in two places, mostly of different shards.
#[derive(Default)]
struct Shard {
    originals: HashTable<Arc<Session>>,
    replies: HashTable<Arc<Session>>,
}

impl Index {
    pub(super) fn new(limit: usize) -> Index {
        Index((0..hash::shards(limit)).map(|_| RwLock::default()).collect())
    }

    /// The session with this tuple, which may be over.
    pub(super) fn find(&self, hashes: &Hashes, tuple: &Tuple) -> Option<(Arc<Session>, Direction)> {
        let hash = hashes.tuple(tuple);
        let shard = self.of(hash).read().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = shard.originals.find(hash, |session| session.original() == tuple) {
            return Some((Arc::clone(session), Direction::Original));
        }
        let session = shard.replies.find(hash, |session| session.reply() == tuple)?;
        Some((Arc::clone(session), Direction::Reply))
    }

    /// Puts a session in, neither of whose tuples is there. Under the book's lock.
    pub(super) fn insert(&self, hashes: &Hashes, session: &Arc<Session>) {
        // Replies first: no packet of theirs can come before the session is known by its original.
        let hash = hashes.tuple(session.reply());
        let mut shard = self.of(hash).write().unwrap_or_else(PoisonError::into_inner);
        shard.replies.insert_unique(hash, Arc::clone(session), |held| hashes.tuple(held.reply()));
        drop(shard);
        let hash = hashes.tuple(session.original());
        let mut shard = self.of(hash).write().unwrap_or_else(PoisonError::into_inner);
        shard.originals.insert_unique(hash, Arc::clone(session), |held| hashes.tuple(held.original()));
    }

    /// Takes a session out. Under the book's lock.
    pub(super) fn remove(&self, hashes: &Hashes, session: &Session) {
        let is_it = |held: &Arc<Session>| std::ptr::eq(&**held, session);
        let hash = hashes.tuple(session.original());
        let mut shard = self.of(hash).write().unwrap_or_else(PoisonError::into_inner);
        let original = shard.originals.find_entry(hash, is_it).ok().map(|entry| entry.remove().0);
        drop(shard);
        let hash = hashes.tuple(session.reply());
        let mut shard = self.of(hash).write().unwrap_or_else(PoisonError::into_inner);
        let reply = shard.replies.find_entry(hash, is_it).ok().map(|entry| entry.remove().0);
        drop(shard);
        drop((original, reply));
    }

    fn of(&self, hash: u64) -> &RwLock<Shard> {
        &self.0[hash::shard(hash, self.0.len())]
    }
}
