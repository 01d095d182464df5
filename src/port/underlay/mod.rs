//! Underlays: the sockets that carry tunnels' datagrams to peers and from them.
