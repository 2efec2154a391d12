package egress_test

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

func TestRangesAreSorted(t *testing.T) {
	ranges := egress.Ranges()
	for i, p := range ranges {
		if p != p.Masked() {
			t.Errorf("%v is %v", p, p.Masked())
		}
		if i > 0 && p.Compare(ranges[i-1]) <= 0 {
			t.Errorf("%v stands after %v", p, ranges[i-1])
		}
	}
}

// Each address, alone and as what a name means.
func TestAddresses(t *testing.T) {
	const in, out = false, true
	for addr, want := range map[string]bool{
		"0.0.0.0": in, "0.1.2.3": in, "10.0.0.0": in, "10.255.255.255": in, "100.64.0.1": in, "100.127.255.255": in, "100.100.100.200": in,
		"127.0.0.1": in, "127.255.0.1": in, "168.63.129.16": in, "169.254.0.1": in, "169.254.169.254": in, "169.254.170.2": in, "172.16.0.1": in,
		"172.31.255.255": in, "192.0.0.1": in, "192.0.0.8": in, "192.0.0.171": in, "192.0.0.192": in, "192.0.2.1": in, "192.31.196.1": in, "192.52.193.1": in,
		"192.88.99.1": in, "192.168.255.1": in, "192.175.48.1": in, "198.18.0.1": in, "198.19.255.255": in, "198.51.100.7": in, "203.0.113.7": in,
		"224.0.0.1": in, "239.255.255.255": in, "240.0.0.1": in, "255.255.255.255": in,
		"::": in, "::1": in, "::7f00:1": in, "::a9fe:a9fe": in, "::5db8:d822": in, "::ffff:127.0.0.1": in, "::ffff:93.184.216.34": in, "::ffff:0:127.0.0.1": in,
		"64:ff9b::7f00:1": in, "64:ff9b::5db8:d822": in, "64:ff9b:1::1": in, "64:ff9b:1:ffff::a00:1": in, "100::1": in, "100:0:0:1::1": in, "200::1": in, "1000::1": in,
		"2001::1": in, "2001:0:7f00:1::": in, "2001:1::1": in, "2001:1::3": in, "2001:2::1": in, "2001:3::1": in, "2001:4:112::1": in, "2001:10::1": in, "2001:20::1": in,
		"2001:30::1": in, "2001:1ff:ffff::1": in, "2001:db8::1": in, "2002:7f00:1::1": in, "2002:5db8:d822::1": in, "2620:4f:8000::1": in, "3ffe::1": in, "3fff::1": in,
		"3fff:fff:ffff::1": in, "4000::1": in, "5f00::1": in, "8000::1": in, "fc00::1": in, "fd00:ec2::254": in, "fd12:3456::1": in, "fdff::1": in, "fe00::1": in,
		"fe80::1": in, "fe80::a9fe:a9fe": in, "febf::1": in, "fec0::1": in, "feff::1": in, "ff02::1": in, "ff0e::1": in,

		public: out, "1.1.1.1": out, "9.255.255.255": out, "11.0.0.0": out, "100.63.255.255": out, "100.128.0.0": out, "126.255.255.255": out, "128.0.0.1": out,
		"168.63.129.17": out, "169.253.255.255": out, "169.255.0.0": out, "172.15.255.255": out, "172.32.0.0": out, "192.0.1.1": out, "192.0.3.0": out, "192.167.255.255": out,
		"192.169.0.0": out, "198.17.255.255": out, "198.20.0.0": out, "203.0.112.255": out, "223.255.255.255": out,
		"2000::1": out, "2001:200::1": out, "2001:4860:4860::8888": out, "2001:db7::1": out, "2001:db9::1": out, "2003::1": out, "2606:4700::1111": out, "2a00::1": out,
		"3ffd::1": out, "3fff:1000::1": out,
	} {
		w, g := newWorld(t, egress.Options{}, hello, map[string][]string{"name.example": {addr}})
		dialed := net.JoinHostPort(addr, "443")
		hosts := map[string]string{net.JoinHostPort(addr, "443"): dialed}
		if addr != "::ffff:93.184.216.34" { // which is how a resolver writes the IPv4 address
			hosts["name.example"] = dialed
		}
		for host, dialed := range hosts {
			_, err := getURL(t, g, &url.URL{Scheme: "https", Host: host})
			_, isRefused := errors.AsType[*egress.RefusedError](err)
			if got := w.dials(); isRefused == want || want && got != dialed || !want && got != "" {
				t.Errorf("%s as %s: dialled %q, %v", addr, host, got, err)
			}
		}
	}
}

// Spellings that some reader takes for an address, or that are no host at all.
// None of them gets as far as a look-up.
func TestSpellings(t *testing.T) {
	w, g := newWorld(t, egress.Options{}, hello, nil)
	for _, host := range []string{
		"2130706433", "017700000001", "0x7f000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "127.0.0.01", "127.0.0.1.", "127.0.0.0x1", "1.2.3.4.5",
		"127.000.000.001", "256.1.1.1", "example.com.", "example.0x7f", "..", ".example.com", "a..b", "", ":443", "@example.com", "a b", "a%41b", "a_b.1",
		"１２７.０.０.１", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⅼocalhost", "exam\u00adple.com", "bücher.example", "[::1%25lo]", "[fe80::1%eth0]", "[127.0.0.1]", "::1", "[::1", "[v1.x]",
		"example.com:0", "example.com:65536", "example.com:-1", "example.com:http", "example.com\x00", "example.com\n", "example.com#", "example.com\\@10.0.0.1", "[[::1]]",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "example",
	} {
		_, err := getURL(t, g, &url.URL{Scheme: "https", Host: host})
		if _, ok := errors.AsType[*egress.RefusedError](err); !ok {
			t.Errorf("%q: %v", host, err)
		}
	}
	for _, u := range []*url.URL{
		nil, {}, {Scheme: "ftp", Host: public}, {Scheme: "HTTPS", Host: public}, {Scheme: "file", Path: "/etc/passwd"}, {Scheme: "https", Opaque: "//" + public},
		{Scheme: "https", Host: public, User: url.User("u")}, {Scheme: "unix", Path: "/run/x.sock"},
	} {
		if _, err := getURL(t, g, u); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%v: %v", u, err)
		}
	}
	if len(w.asked) != 0 || w.dials() != "" {
		t.Errorf("looked up %q", w.asked)
	}
}

// inetAton reads an address as the older C function of that name does.
func inetAton(host string) (netip.Addr, bool) {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	var v uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 0, 32)
		last := i == len(parts)-1
		if len(parts) > 4 || err != nil || strings.Contains(p, "_") || !last && n > 255 || last && n >= 1<<(8*(5-len(parts))) {
			return netip.Addr{}, false
		}
		if last {
			v |= n
		} else {
			v |= n << (24 - 8*i)
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// Whatever the host: nothing inside is dialled, and a resolver is asked only for
// plain names, never for what anybody could take for an address.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "0x7f.1", "[::ffff:7f00:1]:443", "example.com:8443", "１.1.1.1", "a.b.", "[64:ff9b::1]", "fe80::1%eth0", "localhost", "0b1.1", "1_0.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		w, g := newWorld(t, egress.Options{}, hello, map[string][]string{"localhost": {"127.0.0.1"}, "example.com": {"10.0.0.1"}})
		_, err := getURL(t, g, &url.URL{Scheme: "https", Host: host})
		for _, name := range w.asked {
			if _, ok := inetAton(name); ok || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
				t.Errorf("%q: the resolver is asked for %q", host, name)
			}
		}
		dials := w.dials()
		if dials == "" && err == nil {
			t.Errorf("%q: an answer without a connection", host)
		}
		for d := range strings.FieldsSeq(dials) {
			a := netip.MustParseAddrPort(d).Addr()
			if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is4In6() || a.Is6() && a.As16()[0]>>5 != 1 {
				t.Errorf("%q: %v was dialled", host, d)
			}
		}
	})
}
