package egress

import (
	"context"
	"net"
	"net/netip"
)

// SetNetwork gives tests the resolver and the network in place of the real ones.
func (g *Guard) SetNetwork(
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error),
	dial func(ctx context.Context, network, address string) (net.Conn, error),
) {
	g.lookup, g.dial = lookup, dial
}

// Trust makes the guard trust the test server's certificate.
func (g *Guard) Trust() { g.secure.TLSClientConfig.InsecureSkipVerify = true }

// Ranges returns the table of special ranges.
func Ranges() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range specials {
		out = append(out, s.prefix)
	}
	return out
}
