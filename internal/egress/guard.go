package egress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Options of a [Guard]. The zero value lets through the public internet only.
type Options struct {
	// Allow lists what is let through although it is no host of the public
	// internet: "host" (on the default port of the URL's scheme), "host:port", or
	// a network in CIDR form, on all ports. A host may have any address. Metadata
	// services of clouds stay refused.
	Allow []string
	// MaxBody is how many bytes an answer may have; 0 is 1 MiB.
	MaxBody int64
	// Timeout is how long an exchange may take, to the end of the answer; 0 is
	// 15 s. The error is context.DeadlineExceeded.
	Timeout time.Duration
}

const (
	defaultBody    = 1 << 20
	defaultTimeout = 15 * time.Second
	guardIdle      = 2 // connections; what is asked here is asked rarely
	leastDial      = 2 * time.Second
)

// Guard is a transport for URLs that came from outside: from an upstream, from
// discovery, from a redirect that somebody reports. It resolves a name, checks
// every address that it has, and dials one of those that it has checked, on each
// new connection anew: a name that changes its address in between gains nothing.
// It speaks https, and http to loopback addresses if those are allowed. It
// refuses redirects, so the client above cannot follow any. What it refuses it
// answers with a *[RefusedError].
type Guard struct {
	allow         allowed
	maxBody       int64
	timeout       time.Duration
	secure, plain *Transport
	lookup        func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial          func(ctx context.Context, network, address string) (net.Conn, error)
}

// RefusedError is a URL that may not be asked, or an answer that is not taken.
// Its text leaves out the address of a name, because it may reach whoever gave
// us the URL, who would learn from it what a name means inside this network.
type RefusedError struct {
	Host   string     // host:port as it was given, cut to 253 characters
	Addr   netip.Addr // that was refused, for the operator's log; may be zero
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("request to %q refused: %s", e.Host, e.Reason)
}

// NewGuard checks opt. A Guard belongs to one upstream.
func NewGuard(opt Options) (*Guard, error) {
	allow, err := parseAllowed(opt.Allow)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{KeepAlive: keepAlive}
	g := &Guard{
		allow: allow, maxBody: opt.MaxBody, timeout: opt.Timeout,
		lookup: net.DefaultResolver.LookupNetIP, dial: dialer.DialContext,
		secure: New(guardIdle), plain: New(guardIdle),
	}
	if g.maxBody <= 0 {
		g.maxBody = defaultBody
	}
	if g.timeout <= 0 {
		g.timeout = defaultTimeout
	}
	for scheme, tr := range map[string]*Transport{"https": g.secure, "http": g.plain} {
		tr.MaxResponseHeaderBytes = 64 << 10
		tr.DialContext = counting(func(ctx context.Context, network, address string) (net.Conn, error) {
			return g.connect(ctx, scheme, network, address)
		})
	}
	return g, nil
}

// RoundTrip implements http.RoundTripper.
func (g *Guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, err := g.admit(req.URL); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as RoundTripper demands; there is nobody to tell
		}
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), g.timeout)
	out := req.WithContext(ctx)
	out.Host = "" // what is dialled is what is asked for
	tr := g.secure
	if req.URL.Scheme == "http" {
		tr = g.plain
	}
	resp, err := tr.RoundTrip(out)
	if err != nil {
		cancel()
		return nil, err
	}
	over := refused(req.URL.Host, fmt.Sprintf("an answer of more than %d bytes", g.maxBody))
	body := &capped{body: resp.Body, left: g.maxBody, over: over, cancel: cancel}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		_ = body.Close() // the answer is not wanted
		return nil, refused(req.URL.Host, fmt.Sprintf("it answers with a redirect (HTTP %d)", resp.StatusCode))
	}
	resp.Body, resp.Request = body, req
	return resp, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the pools.
func (g *Guard) CloseIdleConnections() {
	g.secure.CloseIdleConnections()
	g.plain.CloseIdleConnections()
}

func refused(host, reason string) *RefusedError {
	if len(host) > 253 {
		host = host[:253]
	}
	return &RefusedError{Host: host, Reason: reason}
}

// admit checks what can be seen without looking a name up.
func (g *Guard) admit(u *url.URL) (target, error) {
	if u == nil {
		return target{}, refused("", "no URL")
	}
	t, err := targetOf(u)
	if err != nil {
		return t, refused(u.Host, err.Error())
	}
	if !t.addr.IsValid() {
		return t, nil
	}
	return t, g.check(u.Scheme, t, []netip.Addr{t.addr})
}

// check returns an error if one of the target's addresses may not be dialled: a
// name that is partly inside is no slip.
func (g *Guard) check(scheme string, t target, addrs []netip.Addr) error {
	byName := g.allow.host(scheme, t)
	for _, addr := range addrs {
		err := refused(t.String(), "")
		err.Addr = addr
		switch s := g.allow.refuse(addr, byName); {
		case addr.Zone() != "":
			err.Reason = "an address with a zone is one of this machine's own networks"
		case s != nil && s.never:
			err.Reason = "its address is of a kind that is never allowed: " + s.String()
		case s != nil:
			err.Reason = fmt.Sprintf("its address is not of the public internet: %v; the operator can allow %s", s, t)
		case scheme == "http" && !addr.IsLoopback():
			err.Reason = "the scheme must be https"
		default:
			continue
		}
		return err
	}
	return nil
}

// connect is the only way to a connection: it looks up, checks and dials what
// it has checked.
func (g *Guard) connect(ctx context.Context, scheme, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	t, err := g.admit(&url.URL{Scheme: scheme, Host: address})
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{t.addr}
	if !t.addr.IsValid() {
		if addrs, err = g.lookup(ctx, "ip", t.host); err != nil {
			return nil, err
		}
		for i := range addrs {
			addrs[i] = addrs[i].Unmap() // how the resolver writes IPv4
		}
		if err := g.check(scheme, t, addrs); err != nil {
			return nil, err
		}
	}
	err = fmt.Errorf("%s has no address", t.host)
	for i, addr := range addrs {
		var conn net.Conn
		conn, err = g.try(ctx, network, netip.AddrPortFrom(addr, t.port), len(addrs)-i)
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// try dials one address with its share of the time, of which left addresses
// have yet to get theirs.
func (g *Guard) try(ctx context.Context, network string, addr netip.AddrPort, left int) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	share := max(time.Until(deadline)/time.Duration(left), leastDial)
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	return g.dial(ctx, network, net.JoinHostPort(addr.Addr().String(), strconv.Itoa(int(addr.Port()))))
}

// capped is the body of an answer, with its limits of size and time.
type capped struct {
	body   io.ReadCloser
	left   int64
	over   error
	cancel context.CancelFunc
}

// Read implements io.Reader.
func (c *capped) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, c.over
	}
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1] // one byte more tells too much from enough
	}
	n, err := c.body.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return n - 1, c.over
	}
	return n, err
}

// Close implements io.Closer.
func (c *capped) Close() error {
	err := c.body.Close()
	c.cancel()
	return err
}
