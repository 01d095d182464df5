//! Many datagrams in one system call: recvmmsg and sendmmsg over arrays that are made once.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_uint, socklen_t};
use socket2::{SockAddr, SockAddrStorage};

use super::check;

/// Most datagrams in one call.
pub const MAX_MESSAGES: usize = 32;

/// The arrays that the kernel reads and writes.
pub struct Messages {
    headers: [libc::mmsghdr; MAX_MESSAGES],
}

// SAFETY: the pointers in `headers` are set anew at the start of each call and never followed after it.
unsafe impl Send for Messages {}

impl Messages {
    /// Arrays for [`MAX_MESSAGES`] datagrams.
    pub fn new() -> Box<Messages> {
        // SAFETY: plain C structures of integers and pointers, for which all zero is valid.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    /// Receives datagrams, one into each of `areas`, without waiting, and gives how many came. Those past
    /// [`MAX_MESSAGES`] stay unused.
    ///
    /// # Errors
    /// Of the first datagram only: one that a later datagram meets is told by the next call.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, areas: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.receive_into(socket, areas, None)
    }

    /// Receives datagrams as [`Messages::receive`] does, and tells who sent the last of them, if it has an address.
    ///
    /// # Errors
    /// As there.
    pub fn receive_from(
        &mut self,
        socket: BorrowedFd<'_>,
        areas: &mut [IoSliceMut<'_>],
    ) -> io::Result<(usize, Option<SockAddr>)> {
        let mut storage = SockAddrStorage::zeroed();
        let received = self.receive_into(socket, areas, Some(&mut storage))?;
        let len = received.checked_sub(1).map_or(0, |last| self.headers[last].msg_hdr.msg_namelen);
        let named = len as usize > size_of::<libc::sa_family_t>() && len <= storage.size_of();
        // SAFETY: the kernel wrote an address of `len` bytes there, the last time for the last datagram.
        Ok((received, named.then(|| unsafe { SockAddr::new(storage, len) })))
    }

    /// All datagrams have the address of who sent them written to `from`, one after the other.
    fn receive_into(
        &mut self,
        socket: BorrowedFd<'_>,
        areas: &mut [IoSliceMut<'_>],
        from: Option<&mut SockAddrStorage>,
    ) -> io::Result<usize> {
        let (name, name_len) =
            from.map_or((ptr::null_mut(), 0), |from| (ptr::from_mut(from), from.size_of()));
        let count = areas.len().min(MAX_MESSAGES);
        for (header, area) in self.headers.iter_mut().zip(areas) {
            header.msg_hdr.msg_name = name.cast();
            header.msg_hdr.msg_namelen = name_len;
            header.msg_hdr.msg_iov = ptr::from_mut(area).cast();
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
        }
        let (headers, flags) = (self.headers.as_mut_ptr(), libc::MSG_DONTWAIT | libc::MSG_TRUNC);
        // SAFETY: `count` headers were set above. Each points to one IoSliceMut, which has the layout of an iovec and
        // borrows its bytes exclusively, and unless null to an address of the length it says; all live across the call.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers, count as c_uint, flags as _, ptr::null_mut())
        };
        Ok(check(received)? as usize)
    }

    /// The length of datagram `index` of the last [`Messages::receive`]; more than its area when it was cut.
    pub fn len_of(&self, index: usize) -> usize {
        self.headers[index].msg_len as usize
    }

    /// Sends datagrams without waiting, and gives how many the kernel took: the first ones. Those past [`MAX_MESSAGES`]
    /// are not tried.
    ///
    /// # Errors
    /// Of the first datagram only: one that a later datagram meets cuts the count.
    pub fn send(&mut self, socket: BorrowedFd<'_>, datagrams: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_to(socket, None, datagrams)
    }

    /// Sends datagrams as [`Messages::send`] does, all to the address `to` if there is one.
    ///
    /// # Errors
    /// As there.
    pub fn send_to(
        &mut self,
        socket: BorrowedFd<'_>,
        to: Option<&SockAddr>,
        datagrams: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let (name, name_len) = to.map_or((ptr::null(), 0 as socklen_t), |to| (to.as_ptr(), to.len()));
        let count = datagrams.len().min(MAX_MESSAGES);
        for (header, datagram) in self.headers.iter_mut().zip(datagrams) {
            header.msg_hdr.msg_name = name.cast_mut().cast();
            header.msg_hdr.msg_namelen = name_len;
            header.msg_hdr.msg_iov = ptr::from_ref(datagram).cast_mut().cast();
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
        }
        let (headers, flags) = (self.headers.as_mut_ptr(), libc::MSG_DONTWAIT);
        // SAFETY: `count` headers were set above. Each points to one IoSlice, which has the layout of an iovec and lives
        // across the call with the bytes it borrows, and to the same address, which does too; the kernel only reads through
        // them.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count as c_uint, flags as _) };
        Ok(check(sent)? as usize)
    }
}
