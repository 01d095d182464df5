//! Who has a device or a socket open: what `/proc` says of the descriptors of every process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process;

use super::proc;
use crate::control::api::HolderInfo;
use crate::sys::tun::NODE;

/// What holders are looked for of.
pub(super) struct Wanted {
    /// Names of TAP and TUN devices.
    pub(super) devices: BTreeSet<String>,
    /// Inodes of sockets.
    pub(super) inodes: BTreeSet<u64>,
}

/// Who holds what.
#[derive(Default)]
pub(super) struct Holders {
    /// Whether every process could be looked into.
    pub(super) complete: bool,
    processes: BTreeMap<u32, Process>,
}

struct Process {
    name: String,
    /// The network namespace it is in.
    netns: Option<u64>,
    devices: BTreeSet<String>,
    inodes: BTreeSet<u64>,
}

impl Holders {
    /// Who has the device of this name open, in the namespace known by `netns`. `/proc` says the name only: a process in
    /// another namespace may mean another device.
    pub(super) fn of_device(&self, device: &str, netns: Option<u64>) -> Vec<HolderInfo> {
        self.those(netns, |process| process.devices.contains(device))
    }

    /// Who has the socket of this inode.
    pub(super) fn of_socket(&self, inode: u64, netns: Option<u64>) -> Option<HolderInfo> {
        self.those(netns, |process| process.inodes.contains(&inode)).into_iter().next()
    }

    fn those(&self, netns: Option<u64>, which: impl Fn(&Process) -> bool) -> Vec<HolderInfo> {
        let holders = self.processes.iter().filter(|(_, process)| which(process));
        let info = |(&pid, process): (&u32, &Process)| HolderInfo {
            pid,
            name: process.name.clone(),
            own: pid == process::id(),
            same_netns: process.netns.is_some() && process.netns == netns,
        };
        holders.map(info).collect()
    }
}

/// Looks through all processes.
pub(super) fn find(wanted: &Wanted) -> Holders {
    let mut holders = Holders { complete: true, ..Holders::default() };
    if wanted.devices.is_empty() && wanted.inodes.is_empty() {
        return holders;
    }
    let Ok(all) = fs::read_dir("/proc") else { return Holders::default() };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        match process(pid, wanted) {
            Ok(Some(process)) => _ = holders.processes.insert(pid, process),
            Ok(None) => {}
            // It has ended since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => holders.complete = false,
        }
    }
    holders
}

/// What of `wanted` a process has open, if it has any of it.
fn process(pid: u32, wanted: &Wanted) -> io::Result<Option<Process>> {
    let home = Path::new("/proc").join(pid.to_string());
    let (mut devices, mut inodes) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(home.join("fd"))? {
        let entry = entry?;
        let Ok(target) = fs::read_link(entry.path()) else { continue }; // closed since
        let target = target.to_string_lossy();
        if target == NODE {
            let info = fs::read_to_string(home.join("fdinfo").join(entry.file_name())).unwrap_or_default();
            devices.extend(
                proc::tun_device(&info).filter(|name| wanted.devices.contains(*name)).map(str::to_owned),
            );
        } else {
            inodes.extend(proc::socket_inode(&target).filter(|inode| wanted.inodes.contains(inode)));
        }
    }
    if devices.is_empty() && inodes.is_empty() {
        return Ok(None);
    }
    let name = fs::read_to_string(home.join("comm")).unwrap_or_default().trim().to_owned();
    let netns = fs::metadata(home.join("ns/net")).ok().map(|file| file.ino());
    Ok(Some(Process { name, netns, devices, inodes }))
}
