package egress

import (
	"net/netip"
	"slices"
)

// special is a range of addresses that no host of the public internet has.
type special struct {
	prefix netip.Prefix
	name   string
	source string // where the range is defined
	// never marks what stays refused for a host that the operator allowed:
	// services that hand out a machine's own credentials.
	never bool
}

// String says what the range is for and who says so.
func (s *special) String() string { return s.name + " (" + s.source + ")" }

func row(prefix, name, source string) special {
	return special{prefix: netip.MustParsePrefix(prefix), name: name, source: source}
}

func metadata(prefix, source string) special {
	s := row(prefix, "a metadata service", source)
	s.never = true
	return s
}

// specials are all rows of the IANA registries of special-purpose addresses for
// IPv4 and IPv6, also those that are globally reachable, since no source of
// data lives there; and beside them multicast, ranges that were given up, what
// embeds IPv4, and the clouds' metadata services. Sorted by address, a wider
// range before what it contains.
var specials = []special{
	row("0.0.0.0/8", "this network", "RFC 791"),
	row("0.0.0.0/32", "this host", "RFC 1122"),
	row("10.0.0.0/8", "private use", "RFC 1918"),
	row("100.64.0.0/10", "shared address space of providers", "RFC 6598"),
	metadata("100.100.100.200/32", "Alibaba Cloud"),
	row("127.0.0.0/8", "loopback", "RFC 1122"),
	metadata("168.63.129.16/32", "Azure"),
	// All of it: AWS, Google, Azure, Oracle, Scaleway and Tencent each have
	// several addresses in here, and nothing else should have any.
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local and metadata services", "RFC 3927", true},
	row("172.16.0.0/12", "private use", "RFC 1918"),
	row("192.0.0.0/24", "IETF protocol assignments", "RFC 6890"),
	row("192.0.0.0/29", "IPv4 service continuity", "RFC 7335"),
	row("192.0.0.8/32", "IPv4 dummy address", "RFC 7600"),
	row("192.0.0.9/32", "port control anycast", "RFC 7723"),
	row("192.0.0.10/32", "relay anycast", "RFC 8155"),
	row("192.0.0.170/31", "NAT64 discovery", "RFC 8880"),
	metadata("192.0.0.192/32", "Oracle Cloud"),
	row("192.0.2.0/24", "documentation", "RFC 5737"),
	row("192.31.196.0/24", "AS112", "RFC 7535"),
	row("192.52.193.0/24", "automatic multicast tunnelling", "RFC 7450"),
	row("192.88.99.0/24", "6to4 relay", "RFC 7526"),
	row("192.88.99.2/32", "6a44 relay", "RFC 6751"),
	row("192.168.0.0/16", "private use", "RFC 1918"),
	row("192.175.48.0/24", "AS112", "RFC 7534"),
	row("198.18.0.0/15", "benchmarking", "RFC 2544"),
	row("198.51.100.0/24", "documentation", "RFC 5737"),
	row("203.0.113.0/24", "documentation", "RFC 5737"),
	row("224.0.0.0/4", "multicast", "RFC 5771"),
	row("240.0.0.0/4", "reserved", "RFC 1112"),
	row("255.255.255.255/32", "broadcast", "RFC 919"),

	row("::/8", "reserved", "RFC 4291"),
	row("::/96", "IPv4-compatible", "RFC 4291"),
	row("::/128", "unspecified", "RFC 4291"),
	row("::1/128", "loopback", "RFC 4291"),
	row("::ffff:0.0.0.0/96", "IPv4-mapped", "RFC 4291"),
	row("::ffff:0:0:0/96", "IPv4-translated", "RFC 2765"),
	row("64:ff9b::/96", "NAT64", "RFC 6052"),
	row("64:ff9b:1::/48", "NAT64 for local use", "RFC 8215"),
	row("100::/64", "discard only", "RFC 6666"),
	row("100:0:0:1::/64", "dummy prefix", "RFC 9780"),
	row("2001::/23", "IETF protocol assignments", "RFC 2928"),
	row("2001::/32", "Teredo", "RFC 4380"),
	row("2001:1::1/128", "port control anycast", "RFC 7723"),
	row("2001:1::2/128", "relay anycast", "RFC 8155"),
	row("2001:1::3/128", "service registration anycast", "RFC 9665"),
	row("2001:2::/48", "benchmarking", "RFC 5180"),
	row("2001:3::/32", "automatic multicast tunnelling", "RFC 7450"),
	row("2001:4:112::/48", "AS112", "RFC 7535"),
	row("2001:10::/28", "ORCHID", "RFC 4843"),
	row("2001:20::/28", "ORCHIDv2", "RFC 7343"),
	row("2001:30::/28", "drone identifiers", "RFC 9374"),
	row("2001:db8::/32", "documentation", "RFC 3849"),
	row("2002::/16", "6to4", "RFC 3056"),
	row("2620:4f:8000::/48", "AS112", "RFC 7534"),
	row("3ffe::/16", "6bone", "RFC 3701"),
	row("3fff::/20", "documentation", "RFC 9637"),
	row("5f00::/16", "segment routing", "RFC 9602"),
	row("fc00::/7", "unique local", "RFC 4193"),
	metadata("fd00:42::42/128", "Scaleway"),
	metadata("fd00:ec2::/32", "AWS"),
	metadata("fd20:ce::254/128", "Google Cloud"),
	row("fe80::/10", "link-local", "RFC 4291"),
	metadata("fe80::a9fe:a9fe/128", "OpenStack"),
	row("fec0::/10", "site-local", "RFC 3879"),
	row("ff00::/8", "multicast", "RFC 4291"),
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	unassigned    = special{name: "not assigned to hosts", source: "IANA IPv6 address space"}
)

// classify returns the narrowest special range that addr is in; nil for an
// address of the public internet. Of IPv6 only what IANA has given to hosts is
// public, so that a range invented tomorrow is refused today.
func classify(addr netip.Addr) *special {
	for i := range slices.Backward(specials) {
		if specials[i].prefix.Contains(addr) {
			return &specials[i]
		}
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return &unassigned
	}
	return nil
}

// Where IPv6 addresses carry an IPv4 address: at which byte.
var carriers = []struct {
	prefix netip.Prefix
	at     int
	mask   byte
}{
	{netip.MustParsePrefix("::/96"), 12, 0},
	{netip.MustParsePrefix("::ffff:0.0.0.0/96"), 12, 0},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0},
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12, 0}, // RFC 6052 has other places too, for other lengths
	{netip.MustParsePrefix("2001::/32"), 4, 0},       // Teredo: its server
	{netip.MustParsePrefix("2001::/32"), 12, 0xff},   // and its client, inverted
	{netip.MustParsePrefix("2002::/16"), 2, 0},
}

// embedded returns the IPv4 addresses that addr is a way to.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	var out []netip.Addr
	b := addr.As16()
	for _, c := range carriers {
		if !c.prefix.Contains(addr) {
			continue
		}
		var v4 [4]byte
		for i := range v4 {
			v4[i] = b[c.at+i] ^ c.mask
		}
		out = append(out, netip.AddrFrom4(v4))
	}
	return out
}
