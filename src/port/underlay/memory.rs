//! An underlay in memory, for benches: datagrams come from a list, and what is sent is only told that it was.

use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::RawFd;

use crate::packet::{Batch, Counters, Datagram, MAX_BATCH_BYTES, Offload, Received};
use crate::port::{Rx, Trouble, Underlay};

/// An underlay whose datagrams are a list that is read for ever, and which takes everything it is sent.
pub struct Memory {
    /// All datagrams' bytes in a row, so that reading them costs as little as a ring of a device would.
    bytes: Vec<u8>,
    datagrams: Vec<(Range<usize>, Received)>,
    next: usize,
}

impl Memory {
    /// An underlay that gives `list` over and over: who sent it, the bytes of one datagram or of several that are glued,
    /// and how many bytes each of these has (see [`Received::stride`]).
    pub fn endless(list: Vec<(IpAddr, Vec<u8>, u32)>) -> Memory {
        let mut memory = Memory { bytes: Vec::new(), datagrams: Vec::new(), next: 0 };
        for (source, datagram, stride) in list {
            let start = memory.bytes.len();
            memory.bytes.extend(datagram);
            memory.datagrams.push((start..memory.bytes.len(), Received { source, stride, tos: 0 }));
        }
        memory
    }
}

impl Underlay for Memory {
    fn rx(&mut self, batch: &mut Batch, received: &mut Vec<Received>, _counters: &mut Counters) -> Rx {
        let (mut taken, mut bytes) = (0, 0);
        for frame in batch.spare() {
            let Some((range, of)) = self.datagrams.get(self.next) else { break };
            frame.fill(&self.bytes[range.clone()], Offload::NONE);
            received.push(*of);
            self.next = (self.next + 1) % self.datagrams.len();
            taken += 1;
            bytes += range.len();
            if bytes >= MAX_BATCH_BYTES {
                break;
            }
        }
        batch.commit(taken);
        if self.datagrams.is_empty() { Rx::Drained } else { Rx::More }
    }

    fn tx(&mut self, _batch: &Batch, datagrams: &mut [Datagram]) {
        datagrams.iter_mut().for_each(|datagram| datagram.outcome = Ok(()));
    }

    fn take_troubles(&mut self) -> Vec<Trouble> {
        Vec::new()
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_for_ever_in_batches_that_fit_the_cache() {
        let source: IpAddr = [10, 8, 0, 2].into();
        let mut memory = Memory::endless(vec![(source, vec![1; 60_000], 1400), (source, vec![2; 50], 50)]);
        let (mut batch, mut received) = (Batch::default(), Vec::new());
        assert_eq!(memory.rx(&mut batch, &mut received, &mut Counters::default()), Rx::More);
        let lengths: Vec<_> = batch.frames().iter().map(|frame| frame.len()).collect();
        assert_eq!(lengths, [60_000, 50, 60_000, 50, 60_000, 50, 60_000, 50, 60_000]);
        assert_eq!(received.len(), batch.len());
        assert_eq!(received[1], Received { source, stride: 50, tos: 0 });
        batch.clear();
        received.clear();
        memory.rx(&mut batch, &mut received, &mut Counters::default());
        assert_eq!((batch.frames()[0].bytes(), received[0].stride), (&[2; 50][..], 50));
    }
}
