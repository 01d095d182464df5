//! What QEMU does with a TAP, without QEMU: it holds the descriptors, and reads and writes frames with a header before each.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};

use tapyard::sys::tun::{self, Mode};

use super::{Host, wait_for};

/// Bytes of virtio_net_hdr before each frame.
const HEADER: usize = 12;

/// A guest that holds a TAP, until it is dropped.
pub(crate) struct Guest {
    queues: Vec<File>,
    turn: Cell<usize>,
}

/// Opens queues of the TAP `device`, in the namespace and as the user that the calling thread is in. A TAP that is not
/// there is made, and goes with the guest.
pub(crate) fn attach(device: &str, queues: usize) -> io::Result<Guest> {
    let open = |_| {
        let queue = tun::open()?;
        tun::attach(&queue, device, Mode::Tap, queues > 1)?;
        tun::set_header_len(&queue, HEADER)?;
        tun::set_offload(&queue, tun::OFFLOAD_TSO)?;
        Ok(queue)
    };
    Ok(Guest { queues: (0..queues).map(open).collect::<io::Result<_>>()?, turn: Cell::new(0) })
}

impl Guest {
    /// Boots: opens the TAP `device` of `host` with so many queues.
    pub(crate) fn boot(host: &Host, device: &str, queues: usize) -> Guest {
        host.enter(|| attach(device, queues))
            .unwrap_or_else(|error| panic!("a guest on {device} of {host}: {error}"))
    }

    /// Sends one frame, by each queue in turn.
    pub(crate) fn send(&self, frame: &[u8]) {
        let turn = self.turn.replace(self.turn.get() + 1);
        let bytes = [&[0; HEADER][..], frame].concat();
        (&self.queues[turn % self.queues.len()]).write_all(&bytes).expect("the device takes a frame");
    }

    /// The next frame that is `expected`; what else comes is passed over.
    pub(crate) fn expect(&self, expected: &[u8]) {
        wait_for("a frame to come to the guest", || {
            let mut bytes = [0; 2048];
            self.queues.iter().find_map(|mut queue| {
                let read = queue.read(&mut bytes).ok()?;
                (bytes.get(HEADER..read) == Some(expected)).then_some(())
            })
        });
    }
}
