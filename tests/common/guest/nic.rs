//! A guest's network device, and how QEMU is to attach it.

use std::path::{Path, PathBuf};

/// A network device to be.
#[derive(Clone)]
pub(crate) struct Nic {
    link: Link,
    mac: String,
    options: String,
}

#[derive(Clone)]
enum Link {
    Tap { device: String, queues: u32 },
    Stream { path: PathBuf, server: bool },
    Dgram { local: PathBuf, remote: PathBuf },
    VhostUser { path: PathBuf, server: bool, queues: u32 },
}

impl Nic {
    /// On a TAP device, which QEMU opens.
    pub(crate) fn tap(mac: &str, device: &str) -> Nic {
        Nic::new(mac, Link::Tap { device: device.to_owned(), queues: 1 })
    }

    /// On a stream socket, which somebody else listens at.
    pub(crate) fn stream(mac: &str, path: &Path) -> Nic {
        Nic::new(mac, Link::Stream { path: fits(path), server: false })
    }

    /// On a stream socket, which QEMU listens at.
    pub(crate) fn stream_server(mac: &str, path: &Path) -> Nic {
        Nic::new(mac, Link::Stream { path: fits(path), server: true })
    }

    /// On a datagram socket at `local`, whose frames are for `remote`.
    pub(crate) fn dgram(mac: &str, local: &Path, remote: &Path) -> Nic {
        Nic::new(mac, Link::Dgram { local: fits(local), remote: fits(remote) })
    }

    /// By vhost-user, to a back-end that listens; QEMU connects anew when that was gone.
    pub(crate) fn vhost_user(mac: &str, path: &Path) -> Nic {
        Nic::new(mac, Link::VhostUser { path: fits(path), server: false, queues: 1 })
    }

    /// By vhost-user, to a back-end that connects to QEMU; the guest waits for that before it boots.
    pub(crate) fn vhost_user_server(mac: &str, path: &Path) -> Nic {
        Nic::new(mac, Link::VhostUser { path: fits(path), server: true, queues: 1 })
    }

    /// The same with so many pairs of queues, and as many processors in the guest.
    pub(crate) fn with_queues(mut self, number: u32) -> Nic {
        match &mut self.link {
            Link::Tap { queues, .. } | Link::VhostUser { queues, .. } => *queues = number,
            Link::Stream { .. } | Link::Dgram { .. } => panic!("a socket has one queue"),
        }
        self
    }

    /// The same with options of `virtio-net-pci`, such as `packed=on,mrg_rxbuf=off`.
    pub(crate) fn with(mut self, options: &str) -> Nic {
        self.options = format!(",{options}");
        self
    }

    fn new(mac: &str, link: Link) -> Nic {
        Nic { link, mac: mac.to_owned(), options: String::new() }
    }

    pub(super) fn queues(&self) -> u32 {
        match self.link {
            Link::Tap { queues, .. } | Link::VhostUser { queues, .. } => queues,
            Link::Stream { .. } | Link::Dgram { .. } => 1,
        }
    }

    /// QEMU's arguments for the device number `n`.
    pub(super) fn arguments(&self, n: usize) -> Vec<String> {
        let mut arguments = Vec::new();
        let on = |yes: bool| if yes { "on" } else { "off" };
        let netdev = match &self.link {
            Link::Tap { device, queues } => {
                format!("tap,ifname={device},script=no,downscript=no,queues={queues}")
            }
            Link::Stream { path, server } => {
                format!("stream,server={},addr.type=unix,addr.path={}", on(*server), path.display())
            }
            Link::Dgram { local, remote } => format!(
                "dgram,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                local.display(),
                remote.display()
            ),
            Link::VhostUser { path, server, queues } => {
                let meeting = if *server { "server=on" } else { "reconnect=1" };
                let chardev = format!("socket,id=char{n},path={},{meeting}", path.display());
                arguments.extend(["-chardev".to_owned(), chardev]);
                format!("vhost-user,chardev=char{n},queues={queues}")
            }
        };
        let queues = match (&self.link, self.queues()) {
            // Without MSI-X: where there is no KVM to deliver them, QEMU 7.2 crashes at the vectors of vhost-user.
            (Link::VhostUser { .. }, 1) => ",vectors=0".to_owned(),
            (Link::VhostUser { .. }, _) => ",vectors=0,mq=on".to_owned(),
            (_, 1) => String::new(),
            // Each queue has a vector for either direction; there are two more.
            (_, queues) => format!(",mq=on,vectors={}", 2 * queues + 2),
        };
        arguments.extend(["-netdev".to_owned(), format!("{netdev},id=net{n}")]);
        let device =
            format!("virtio-net-pci,netdev=net{n},mac={},romfile={queues}{}", self.mac, self.options);
        arguments.extend(["-device".to_owned(), device]);
        arguments
    }
}

/// The path, which is short enough for a socket.
fn fits(path: &Path) -> PathBuf {
    assert!(path.as_os_str().len() < 108, "too long for a socket: {}", path.display());
    path.to_owned()
}
