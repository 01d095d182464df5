//! The blocks of a capture as they come from the switch.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::packet::pcapng::{self, Packet, Reader, Source};

/// How long nothing comes until it is looked whether somebody wants an end.
const PULSE: Duration = Duration::from_millis(100);

/// What comes next.
pub(super) enum Next {
    /// A whole block.
    Block(Vec<u8>),
    /// Nothing just now.
    Nothing,
    /// Nothing any more.
    End,
}

/// A stream of blocks, and what was read of them.
pub(in crate::cli) struct Blocks {
    stream: BufReader<UnixStream>,
    /// The start of a block whose end has not come yet.
    begun: Vec<u8>,
    reader: Reader,
    /// Packets that were read, by interface.
    packets: Vec<u64>,
    /// The time of the last of them.
    latest: u64,
    /// Nothing was there the last time it was asked.
    idle: bool,
}

impl Blocks {
    pub(super) fn new(stream: BufReader<UnixStream>) -> Result<Blocks, String> {
        let set = stream.get_ref().set_read_timeout(Some(PULSE));
        set.map_err(|error| format!("cannot read the capture: {error}"))?;
        Ok(Blocks {
            stream,
            begun: Vec::new(),
            reader: Reader::default(),
            packets: Vec::new(),
            latest: 0,
            idle: false,
        })
    }

    /// The next block. That nothing is there is said before it is waited for.
    pub(super) fn next(&mut self) -> Result<Next, String> {
        loop {
            if self.stream.buffer().is_empty() && !self.idle {
                self.idle = true;
                return Ok(Next::Nothing);
            }
            let wanted = self.wanted()?;
            if wanted == self.begun.len() {
                return Ok(Next::Block(std::mem::take(&mut self.begun)));
            }
            let came = match self.stream.fill_buf() {
                Ok([]) => return Ok(Next::End),
                Ok(came) => came,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Next::Nothing),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Next::End),
                Err(error) => return Err(format!("cannot read the capture: {error}")),
            };
            self.idle = false;
            let part = came.len().min(wanted - self.begun.len());
            self.begun.extend_from_slice(&came[..part]);
            self.stream.consume(part);
        }
    }

    /// How long the block is that has begun, as far as that can be told yet.
    fn wanted(&self) -> Result<usize, String> {
        match self.begun.len() {
            0..8 => Ok(8),
            _ => self.reader.block_len(&self.begun),
        }
    }

    /// Takes note of a block, and gives the packet that is in it, if one is.
    pub(super) fn read<'a>(&mut self, block: &'a [u8]) -> Result<Option<Packet<'a>>, String> {
        let packet = self.reader.block(block)?;
        if let Some(packet) = &packet {
            let interface = packet.interface as usize;
            if self.packets.len() <= interface {
                self.packets.resize(interface + 1, 0);
            }
            self.packets[interface] += 1;
            self.latest = packet.nanos;
        }
        Ok(packet)
    }

    /// Takes note of a block that comes after the last packet that is wanted; `false` when it is one more.
    pub(super) fn look(&mut self, block: &[u8]) -> Result<bool, String> {
        Ok(self.reader.block(block)?.is_none())
    }

    /// Has the stream end. What was captured until now comes still.
    pub(super) fn end(&self) {
        // That it has ended already is just as well.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    /// Blocks that say how many packets of each interface were read, and how many were missed.
    pub(super) fn statistics(&self) -> impl Iterator<Item = Vec<u8>> {
        let packets = self.packets.iter().copied().chain(std::iter::repeat(0));
        self.reader.sources().iter().zip(packets).zip(0..).map(|((source, packets), number)| {
            let mut block = Vec::new();
            let missed = source.missed;
            pcapng::statistics(&mut block, number, self.latest, packets + missed, missed, "");
            block
        })
    }

    /// Why the switch has ended the stream, if it has said so.
    pub(super) fn why_over(&self) -> Option<&str> {
        self.reader.sources().iter().find_map(|source| source.comment.as_deref())
    }

    /// An interface of the stream.
    pub(super) fn source(&self, interface: u32) -> Option<&Source> {
        self.reader.source(interface)
    }

    /// Packets that were read.
    pub(super) fn packets(&self) -> u64 {
        self.packets.iter().sum()
    }

    /// Packets that the switch has told to be missed.
    pub(super) fn missed(&self) -> u64 {
        self.reader.sources().iter().map(|source| source.missed).sum()
    }
}
