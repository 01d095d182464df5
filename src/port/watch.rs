//! Hearing of what happens to interfaces, at once: rtnetlink's link events of the namespaces that ports are in.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, select};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkAttribute;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::sys::netns::Netns;

/// linux/rtnetlink.h: the multicast group of link events.
const RTNLGRP_LINK: u32 = 1;
const WAKER: Token = Token(usize::MAX);

/// Something has happened to an interface: it came, changed, or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// The namespace that it is in; `None`: that of the switch.
    pub netns: Option<Netns>,
    /// Which it is: its number, and its name; `None` when events were lost, so that it may be any.
    pub link: Option<(u32, String)>,
}

/// Listens in some namespaces. Dropping it ends that.
pub struct LinkWatch {
    /// The namespaces listened in, and which they were: one of the same name may have come since.
    namespaces: Mutex<HashMap<Option<Netns>, (u64, u64)>>,
    commands: Option<Sender<Command>>,
    /// Nothing is ever sent by it; it goes when all is to end, which whoever waits to be heard notices.
    alive: Option<Sender<Infallible>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Listen(Option<Netns>, Socket),
    Leave(Option<Netns>),
}

impl LinkWatch {
    /// Tells `events` of what happens; waits while that is full, so that only the kernel has to remember.
    ///
    /// # Errors
    /// No thread, or no descriptor, can be had.
    pub fn start(events: Sender<LinkEvent>) -> io::Result<LinkWatch> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (commands, inbox) = crossbeam_channel::unbounded();
        let (alive, ended) = crossbeam_channel::bounded(0);
        let news = News { events, ended };
        let listener = Listener { poll, inbox, news, sockets: HashMap::new(), next: 0 };
        let thread = thread::Builder::new().name("links".into()).spawn(move || listener.run())?;
        Ok(LinkWatch {
            namespaces: Mutex::default(),
            commands: Some(commands),
            alive: Some(alive),
            waker,
            thread: Some(thread),
        })
    }

    /// Listens in a namespace from now on, if not done so already. One that cannot be listened in is looked at now and then
    /// by whoever waits for something there.
    pub fn listen(&self, netns: Option<&Netns>) {
        let identity = match netns.map(|netns| std::fs::metadata(netns.path())) {
            None => (0, 0),
            Some(Ok(file)) => (file.st_dev(), file.st_ino()),
            Some(Err(_)) => return,
        };
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if namespaces.get(&netns.cloned()) == Some(&identity) {
            return;
        }
        match netns.map_or_else(subscribe, |netns| netns.run(subscribe).unwrap_or_else(Err)) {
            Ok(socket) => {
                namespaces.insert(netns.cloned(), identity);
                self.command(Command::Listen(netns.cloned(), socket));
            }
            Err(error) => {
                tracing::info!(%error, "cannot hear of interfaces, which are looked for every second")
            }
        }
    }

    /// Goes on listening only in the namespaces that `wanted` says.
    pub fn retain(&self, wanted: impl Fn(Option<&Netns>) -> bool) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = namespaces.keys().filter(|netns| !wanted(netns.as_ref())).cloned().collect();
        for netns in gone {
            namespaces.remove(&netns);
            self.command(Command::Leave(netns));
        }
    }

    fn command(&self, command: Command) {
        // It fails only when the thread has ended, which was logged.
        let _ = self.commands.as_ref().map(|commands| commands.send(command));
        let _ = self.waker.wake();
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.commands = None;
        self.alive = None;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn subscribe() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(RTNLGRP_LINK)?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// The thread that listens.
struct Listener {
    poll: Poll,
    inbox: Receiver<Command>,
    news: News,
    sockets: HashMap<Token, (Option<Netns>, Socket)>,
    next: usize,
}

impl Listener {
    fn run(mut self) {
        let mut ready = Events::with_capacity(16);
        loop {
            if let Err(error) = self.poll.poll(&mut ready, None)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "cannot hear of interfaces any more");
                return;
            }
            loop {
                match self.inbox.try_recv() {
                    Ok(command) => self.take(command),
                    Err(crossbeam_channel::TryRecvError::Empty) => break,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return,
                }
            }
            for event in &ready {
                if let Some((netns, socket)) = self.sockets.get(&event.token())
                    && read(socket, netns.as_ref(), &self.news).is_none()
                {
                    return; // nobody listens any more
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        let (Command::Listen(netns, _) | Command::Leave(netns)) = &command;
        // A closed descriptor leaves the poll by itself.
        self.sockets.retain(|_, (other, _)| other != netns);
        if let Command::Listen(netns, socket) = command {
            let token = Token(self.next);
            self.next += 1;
            let fd = socket.as_raw_fd();
            match self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE) {
                Ok(()) => _ = self.sockets.insert(token, (netns, socket)),
                Err(error) => tracing::error!(%error, "cannot hear of interfaces"),
            }
        }
    }
}

/// Where what has happened is told.
struct News {
    events: Sender<LinkEvent>,
    ended: Receiver<Infallible>,
}

impl News {
    /// Waits until there is room for it; `None` when nobody wants to be told any more.
    fn tell(&self, event: LinkEvent) -> Option<()> {
        select! {
            send(self.events, event) -> told => told.ok(),
            recv(self.ended) -> _ => None,
        }
    }
}

/// Reads a socket dry; `None` when nobody wants to be told any more.
fn read(socket: &Socket, netns: Option<&Netns>, news: &News) -> Option<()> {
    let tell = |link| news.tell(LinkEvent { netns: netns.cloned(), link });
    loop {
        let answer = match socket.recv_from_full() {
            Ok((answer, _)) => answer,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(()),
            // More happened than the kernel remembers (ENOBUFS).
            Err(_) => {
                tell(None)?;
                continue;
            }
        };
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let Ok(message) = NetlinkMessage::deserialize(rest) else {
                tell(None)?;
                break;
            };
            rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
            let NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
            ) = message.payload
            else {
                continue;
            };
            let name = link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            tell(Some((link.header.index, name.unwrap_or_default())))?;
        }
    }
}
