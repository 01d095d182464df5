//! What a port of one worker has seen. Plain numbers with one writer: nothing is shared on the hot path, and a reader
//! asks the worker for a copy.

use std::ops::AddAssign;

use super::DropReason;

/// Frames and bytes of one port. Over all ports of a switch, at any time between two batches:
/// `rx_frames + copies = tx_frames + replied + Σ drops`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Frames read from the port, also those dropped at once.
    pub rx_frames: u64,
    /// Their bytes, without any virtio_net_hdr.
    pub rx_bytes: u64,
    /// Frames that the port took.
    pub tx_frames: u64,
    /// Their bytes, without any virtio_net_hdr.
    pub tx_bytes: u64,
    /// Frames the switch made itself: the second and later copies of a flooded frame, the second and later segments of a
    /// superframe (counted at the port that needed them), answers, and echoes to other switches.
    pub copies: u64,
    /// Frames from here that were for the switch itself: answered, or taken as an answer.
    pub replied: u64,
    /// Frames from here that were flooded because they are for all stations, or for a group of them.
    pub groups: u64,
    /// Frames from here that were flooded because no table had the one station that they are for.
    pub unknown: u64,
    drops: [u64; DropReason::COUNT],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            rx_frames: 0,
            rx_bytes: 0,
            tx_frames: 0,
            tx_bytes: 0,
            copies: 0,
            replied: 0,
            groups: 0,
            unknown: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl Counters {
    /// Counts one dropped frame.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts a frame of `bytes` bytes that was read and dropped at once, without entering the switch.
    pub fn discard(&mut self, reason: DropReason, bytes: usize) {
        self.rx_frames += 1;
        self.rx_bytes += bytes as u64;
        self.drop(reason);
    }

    /// Counts frames that came and were lost before anybody could read them; nobody knows how long they were.
    pub fn missed(&mut self, reason: DropReason, frames: u64) {
        self.rx_frames += frames;
        self.drops[reason as usize] += frames;
    }

    /// Counts one frame of `bytes` bytes that the port took.
    #[inline]
    pub fn sent(&mut self, bytes: usize) {
        self.tx_frames += 1;
        self.tx_bytes += bytes as u64;
    }

    /// Frames dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Frames dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// The reasons that have dropped something, with their counts, in the order of [`DropReason::ALL`].
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&r| (r, self.dropped(r))).filter(|&(_, n)| n > 0)
    }

    /// Whether every frame is accounted for; `self` must be a sum over all ports.
    pub fn conserved(&self) -> bool {
        self.rx_frames + self.copies == self.tx_frames + self.replied + self.dropped_total()
    }
}

impl AddAssign<&Counters> for Counters {
    fn add_assign(&mut self, other: &Counters) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.copies += other.copies;
        self.replied += other.replied;
        self.groups += other.groups;
        self.unknown += other.unknown;
        for (sum, n) in self.drops.iter_mut().zip(other.drops) {
            *sum += n;
        }
    }
}
