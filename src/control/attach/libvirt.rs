//! The XML of libvirt.

use std::fmt::Write;
use std::path::Path;

use super::{End, Nic, Socket, USUAL_MTU};

/// What a domain of libvirt has for this network device, which QEMU's `arguments` are for: an interface, or the arguments
/// themselves where libvirt knows no interface of the kind.
pub(super) fn xml(nic: &Nic<'_>, arguments: &[String]) -> String {
    match &nic.end {
        End::Tap { device, .. } => {
            let target = format!("<target dev='{}' managed='no'/>", text(device));
            interface("ethernet", nic, &target)
        }
        End::VhostUser { socket, .. } => {
            SHARED_MEMORY.to_owned() + &interface("vhostuser", nic, &source(socket))
        }
        End::Stream(_) | End::Dgram { .. } => command_line(arguments),
    }
}

const SHARED_MEMORY: &str = "\
<!-- The guest shares its memory with the switch. Beside <devices>:
<memoryBacking>
  <source type='memfd'/>
  <access mode='shared'/>
</memoryBacking>
-->
";

fn interface(kind: &str, nic: &Nic<'_>, end: &str) -> String {
    let mut xml = format!("<interface type='{kind}'>\n  <mac address='{}'/>\n  {end}\n", nic.mac);
    xml += "  <model type='virtio'/>\n";
    if nic.queues > 1 {
        let _ = writeln!(xml, "  <driver queues='{}'/>", nic.queues);
    }
    if nic.mtu != USUAL_MTU {
        let _ = writeln!(xml, "  <mtu size='{}'/>", nic.mtu);
    }
    xml + "</interface>\n"
}

fn source(socket: &Socket) -> String {
    let path = path(&socket.path);
    match socket.listened_at {
        true => format!(
            "<source type='unix' path='{path}' mode='client'>\n    <reconnect enabled='yes' timeout='1'/>\n  </source>"
        ),
        false => format!("<source type='unix' path='{path}' mode='server'/>"),
    }
}

fn command_line(arguments: &[String]) -> String {
    let mut xml =
        String::from("<!-- In <domain>, behind <devices>: libvirt has no interface of this kind. -->\n");
    xml += "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n";
    for argument in arguments {
        let _ = writeln!(xml, "  <qemu:arg value='{}'/>", text(argument));
    }
    xml + "</qemu:commandline>\n"
}

fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// Text inside an attribute.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}
