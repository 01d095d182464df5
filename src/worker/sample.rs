//! What is told of a frame that was sampled, and which frames are.
//!
//! Sampling is uniform and probabilistic (RFC 5475 section 5.2): each frame is picked with the same probability, whatever
//! came before. Nobody draws lots for every frame, though: [`Skips`] draws how many pass until the next one, which is
//! the same (the distances are geometric), and costs a frame that is not picked one decrement.

use std::ops::Deref;

use crate::packet::{DropReason, Layer, PortId, Vid};

/// Most bytes that are kept of a frame.
pub const MAX_HEADER: usize = 256;

/// A frame that was picked, and what became of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The port it came in by.
    pub port: PortId,
    /// Its VLAN; 0: its bridge tells none apart, or it was dropped before that was known.
    pub vlan: Vid,
    /// What it begins with.
    pub layer: Layer,
    /// Its bytes as it came, without any virtio_net_hdr.
    pub length: u32,
    /// The packets it is on the wire: those a superframe stands for, else 1.
    pub packets: u32,
    /// What became of it.
    pub fate: Fate,
    /// Frames of its port that have passed since the last sample from there that was told, this one with them.
    pub pool: u64,
    /// Samples of its port that nobody had room for, since the last one that was told.
    pub missed: u32,
    /// Its first bytes.
    pub header: Header,
}

/// The first bytes of a frame, at most [`MAX_HEADER`]. Reads as a slice.
#[derive(Clone, Debug)]
pub struct Header {
    len: u16,
    bytes: [u8; MAX_HEADER],
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// It left.
    Sent {
        /// By this port, the first of them.
        port: PortId,
        /// By so many ports, at least 1.
        ports: u16,
    },
    /// It was for the switch itself, or is kept by it.
    Taken,
    /// It was dropped.
    Dropped(DropReason),
}

impl Sample {
    /// A sample of the frame `bytes`, of which not more than `keep` are kept, and not more than [`MAX_HEADER`]; the
    /// frame is as long as that, one packet, and was taken, until somebody says otherwise.
    pub fn new(port: PortId, layer: Layer, bytes: &[u8], keep: usize) -> Sample {
        let len = bytes.len().min(keep).min(MAX_HEADER);
        let mut header = Header { len: len as u16, bytes: [0; MAX_HEADER] };
        header.bytes[..len].copy_from_slice(&bytes[..len]);
        Sample {
            port,
            vlan: 0,
            layer,
            length: bytes.len() as u32,
            packets: 1,
            fate: Fate::Taken,
            pool: 1,
            missed: 0,
            header,
        }
    }
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Draws how far it is to the next frame that is picked, one in a given number on average.
#[derive(Clone, Debug)]
pub struct Skips {
    /// Of xorshift64*; never zero.
    state: u64,
    /// The logarithm of the probability that a frame is not picked: below zero; minus infinity when every frame is.
    log_passed: f64,
}

impl Skips {
    /// Picks one frame in `rate` on average, at least 1. The same `seed` draws the same numbers.
    pub fn new(rate: u32, seed: u64) -> Skips {
        let probability = 1.0 / f64::from(rate.max(1));
        Skips { state: seed | 1, log_passed: (-probability).ln_1p() }
    }

    /// The distance to the next frame that is picked; 1: it is the very next one.
    pub fn draw(&mut self) -> u32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let bits = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        // Above 0 and at most 1, in steps of 2^-53.
        let uniform = (bits + 1) as f64 / (1_u64 << 53) as f64;
        // A cast from a float saturates.
        ((uniform.ln() / self.log_passed) as u32).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_the_mean_and_the_spread_of_lots_drawn_for_each_frame() {
        for rate in [1, 2, 10, 1000, 100_000] {
            let mut skips = Skips::new(rate, 0x5eed);
            let draws: Vec<f64> = (0..200_000).map(|_| f64::from(skips.draw())).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            let (rate, expected) = (f64::from(rate), f64::from(rate) * (f64::from(rate) - 1.0));
            assert!((mean / rate - 1.0).abs() < 0.02, "1 in {rate}: mean {mean}");
            assert!((variance - expected).abs() <= 0.05 * expected, "1 in {rate}: variance {variance}");
            assert!(draws.iter().all(|draw| *draw >= 1.0));
        }
    }

    #[test]
    fn seeds_draw_apart() {
        let draws = |seed| {
            let mut skips = Skips::new(1000, seed);
            (0..8).map(|_| skips.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(11));
        assert!(draws(0).iter().any(|draw| *draw != 1), "a seed of zero draws too");
    }

    #[test]
    fn a_sample_keeps_the_beginning() {
        let frame: Vec<u8> = (0..=255).chain(0..=255).collect();
        for (keep, kept) in [(128, 128), (256, 256), (4096, 256)] {
            let sample = Sample::new(PortId(1), Layer::Ethernet, &frame, keep);
            assert_eq!((&sample.header[..], sample.length), (&frame[..kept], 512));
        }
        assert_eq!(*Sample::new(PortId(1), Layer::Ethernet, &frame[..60], 128).header, frame[..60]);
    }
}
