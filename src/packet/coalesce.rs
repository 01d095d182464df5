//! stub
use super::*;
/// p
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// p
    pub at: u32,
    /// p
    pub len: u32,
    /// p
    pub layer: Layer,
    /// p
    pub mtu: u32,
    /// p
    pub owner: u32,
}
/// p
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// p
    pub frame: u32,
    /// p
    pub owner: u32,
}
/// p
#[derive(Default)]
pub struct Coalescer;
impl Coalescer {
    /// p
    pub fn begin(&mut self) {}
    /// p
    pub fn unpack(
        &mut self,
        batch: &mut Batch,
        buffer: usize,
        pieces: &[Piece],
        out: &mut Vec<Unpacked>,
    ) -> usize {
        for p in pieces {
            let i = batch.add().unwrap();
            let (a, b) = batch.pair(buffer, i);
            b.fill(&a.bytes()[p.at as usize..(p.at + p.len) as usize], Offload::NONE);
            b.layer = p.layer;
            out.push(Unpacked { frame: i as u32, owner: p.owner });
        }
        0
    }
}
