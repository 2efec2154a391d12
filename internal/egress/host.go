package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// target is where a URL goes, in its one spelling.
type target struct {
	host string     // lower case, without brackets
	addr netip.Addr // if the host is an address
	port uint16
}

func (t target) String() string {
	host := t.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(t.port))
}

func defaultPort(scheme string) uint16 {
	if scheme == "http" {
		return 80
	}
	return 443
}

// targetOf takes a URL apart. Whatever can be read in two ways is refused: what
// one reader takes for a name, another (the resolver, a proxy, an older C
// library) may take for an address.
func targetOf(u *url.URL) (target, error) {
	t := target{port: defaultPort(u.Scheme)}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return t, errors.New("the scheme must be https")
	case u.Opaque != "":
		return t, errors.New("an opaque URL may name another host")
	case u.User != nil:
		return t, errors.New("a user name in the URL")
	}
	host := u.Hostname()
	if bracketed := strings.HasPrefix(u.Host, "["); bracketed != strings.Contains(host, ":") {
		return t, errors.New("brackets are for IPv6 addresses, and needed there")
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return t, errors.New("the port must be a number from 1 to 65535")
		}
		t.port = uint16(n)
	}
	var err error
	t.host, t.addr, err = parseHost(host)
	return t, err
}

// parseHost returns a host in its one spelling, and its address if it is one.
func parseHost(host string) (string, netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return "", netip.Addr{}, errors.New("an address with a zone is one of this machine's own networks")
		}
		return addr.String(), addr, nil
	}
	host = strings.ToLower(host)
	return host, netip.Addr{}, checkName(host)
}

// checkName wants a DNS name of letters, digits, hyphens and underscores, which
// leaves no room for what IDNA would turn into digits or dots. Its last label
// must not look like a number, or it is an address in the older spellings (RFC
// 6943, section 3.1.1): decimal, octal, hexadecimal, with fewer parts than four.
func checkName(name string) error {
	if name == "" {
		return errors.New("no host")
	}
	if len(name) > 253 {
		return errors.New("a name of more than 253 characters")
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("a name must not begin or end with a dot or have two in a row")
		case len(label) > 63:
			return errors.New("a part of the name has more than 63 characters")
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Errorf("a name has letters, digits, hyphens and dots only (of other scripts: their xn-- form), not %q", rune(c))
			}
		}
		last = label
	}
	if last[0] >= '0' && last[0] <= '9' {
		return errors.New("an address in an unusual spelling; write IPv4 as four decimal numbers")
	}
	return nil
}

// allowed is what the operator lets through besides the public internet.
type allowed struct {
	hosts []target // port 0 is the default of the URL's scheme
	nets  []netip.Prefix
}

// parseAllowed reads hosts (host, host:port, [IPv6]:port) and networks (CIDR).
func parseAllowed(entries []string) (allowed, error) {
	var a allowed
	for _, raw := range entries {
		if err := a.add(raw); err != nil {
			return allowed{}, fmt.Errorf("allowed host %q: %w", raw, err)
		}
	}
	return a, nil
}

func (a *allowed) add(raw string) error {
	if strings.Contains(raw, "/") {
		p, err := netip.ParsePrefix(raw)
		if err != nil {
			return errors.New("write a host, host:port or a network such as 10.20.0.0/16; no scheme and no path")
		}
		if p.Masked() != p {
			return fmt.Errorf("the network is %v", p.Masked())
		}
		if s := classify(p.Addr()); s != nil && s.never && s.prefix.Bits() <= p.Bits() {
			return fmt.Errorf("never allowed: %v", s)
		}
		a.nets = append(a.nets, p)
		return nil
	}
	host, port := raw, uint16(0)
	_, err := netip.ParseAddr(raw)
	if i := strings.LastIndexByte(raw, ':'); err != nil && i > strings.LastIndexByte(raw, ']') {
		n, err := strconv.ParseUint(raw[i+1:], 10, 16)
		if err != nil || n == 0 {
			return errors.New("the port must be a number from 1 to 65535")
		}
		host, port = raw[:i], uint16(n)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	host, addr, err := parseHost(host)
	if err != nil {
		return err
	}
	if s := never(addr); s != nil {
		return fmt.Errorf("never allowed: %v", s)
	}
	a.hosts = append(a.hosts, target{host, addr, port})
	return nil
}

// host reports whether t was allowed by name.
func (a *allowed) host(scheme string, t target) bool {
	for _, h := range a.hosts {
		if h.host == t.host && (h.port == t.port || h.port == 0 && t.port == defaultPort(scheme)) {
			return true
		}
	}
	return false
}

// refuse returns why addr may not be dialled; nil if it may. byName says that
// the operator allowed the host. An address that leads to an IPv4 address must
// be fit to be dialled, and that one too.
func (a *allowed) refuse(addr netip.Addr, byName bool) *special {
	if s := never(addr); s != nil || byName {
		return s
	}
	for _, at := range append(embedded(addr), addr) {
		if s := classify(at); s != nil && !a.net(at) {
			return s
		}
	}
	return nil
}

func (a *allowed) net(addr netip.Addr) bool {
	for _, p := range a.nets {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// never returns the metadata service that addr is, or is a way to.
func never(addr netip.Addr) *special {
	for _, at := range append(embedded(addr), addr) {
		if s := classify(at); s != nil && s.never {
			return s
		}
	}
	return nil
}
