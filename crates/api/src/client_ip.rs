//! Which address a request came from, as far as it can be known.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderValue, X_FORWARDED_FOR};
use ipnet::IpNet;

/// Bits of an IPv6 address that tell clients apart: whoever has one address of a /64 has them all.
const IPV6_CLIENT_BITS: u32 = 64;

/// The proxies whose word is taken for where a request came from.
pub(crate) struct TrustedProxies(pub(crate) Vec<IpNet>);

impl TrustedProxies {
    /// Who asks: the peer, or where that is a trusted proxy, the last address that none of ours has added. What limits
    /// are counted by: an IPv6 address is cut to its first 64 bits.
    pub(crate) fn client_of(&self, request: &HttpRequest) -> IpAddr {
        // Only a connection that is no TCP connection has no address; we listen for no such.
        let peer = request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.ip());
        if self.0.is_empty() {
            return counted_as(peer.to_canonical());
        }
        let forwarded = request.headers().get_all(X_FORWARDED_FOR).map(HeaderValue::as_bytes);
        counted_as(self.client(peer, forwarded))
    }

    /// Each proxy appends the address that it was called from. Read from the right, all is true up to the first address
    /// that is not a proxy of ours; what stands to the left of it anybody may have written.
    fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a [u8]>) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut hops = forwarded.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        while self.trusts(client) {
            // The proxy says nothing, or nothing that can be read: then it is who asks.
            let Some(next) = hops.next().and_then(address) else { break };
            client = next;
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|proxies| proxies.contains(&address))
    }
}

/// One entry: an address, with or without a port, which some proxies add.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn counted_as(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - IPV6_CLIENT_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn proxies(nets: &[&str]) -> TrustedProxies {
        TrustedProxies(nets.iter().map(|net| net.parse().expect("a network")).collect())
    }

    fn client(proxies: &TrustedProxies, peer: &str, forwarded: &[&str]) -> String {
        let peer: IpAddr = peer.parse().expect("an address");
        let request = TestRequest::default().peer_addr((peer, 4_711).into());
        let add = |request: TestRequest, line: &&str| request.append_header((X_FORWARDED_FOR, *line));
        proxies.client_of(&forwarded.iter().fold(request, add).to_http_request()).to_string()
    }

    #[test]
    fn where_nobody_is_trusted_the_peer_is_the_client_whatever_is_forwarded() {
        for forwarded in [&[][..], &["1.2.3.4"], &["1.2.3.4, 10.0.0.1", "::1"]] {
            assert_eq!(client(&proxies(&[]), "192.0.2.7", forwarded), "192.0.2.7");
            assert_eq!(client(&proxies(&["10.0.0.0/8"]), "192.0.2.7", forwarded), "192.0.2.7", "not of our proxies");
        }
    }

    #[test]
    fn behind_proxies_the_client_is_the_rightmost_address_that_is_none_of_them() {
        let ours = proxies(&["10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1/32"]);
        for (peer, forwarded, expected) in [
            ("10.0.0.1", &["198.51.100.9"][..], "198.51.100.9"),
            ("10.0.0.1", &["198.51.100.9, 10.9.9.9"], "198.51.100.9"),
            ("10.0.0.1", &["198.51.100.9", "10.9.9.9"], "198.51.100.9"),
            // What a client has put in front counts for nothing.
            ("10.0.0.1", &["203.0.113.1, 198.51.100.9"], "198.51.100.9"),
            ("10.0.0.1", &["203.0.113.1", "198.51.100.9,10.2.2.2 , 127.0.0.1"], "198.51.100.9"),
            ("10.0.0.1", &["nonsense, 198.51.100.9"], "198.51.100.9"),
            // Nothing but proxies, or nothing to be read: the outermost proxy asks.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &["198.51.100.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.9, "], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.9, unknown, 10.2.2.2"], "10.2.2.2"),
            // Other ways to write an address.
            ("10.0.0.1", &["198.51.100.9:8080"], "198.51.100.9"),
            ("10.0.0.1", &["[2001:db8:7::1]:443"], "2001:db8:7::"),
            ("10.0.0.1", &["[2001:db8:7::1]"], "2001:db8:7::"),
            ("2001:db8:1::5", &["::ffff:198.51.100.9"], "198.51.100.9"),
            ("::ffff:10.0.0.1", &["198.51.100.9"], "198.51.100.9"),
        ] {
            assert_eq!(client(&ours, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn an_ipv6_client_is_counted_by_its_first_64_bits_and_an_ipv4_client_by_all() {
        let nobody = proxies(&[]);
        assert_eq!(client(&nobody, "2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::");
        assert_eq!(client(&nobody, "2001:db8:1:2:ffff::", &[]), "2001:db8:1:2::");
        assert_eq!(client(&nobody, "2001:db8:1:3::", &[]), "2001:db8:1:3::");
        assert_eq!(client(&nobody, "::ffff:192.0.2.7", &[]), "192.0.2.7");
    }
}
