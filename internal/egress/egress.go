// Package egress makes the transports at the bottom of everything that Bulkhead
// sends over HTTP: [New] for URLs that the operator wrote, [NewGuard] for URLs
// that somebody else gave us. One for each upstream, so that nothing is shared
// between two.
//
// It owns connection pools, TLS settings, and which addresses may be dialled. It
// must not know credentials, who an upstream is, or any protocol above HTTP.
package egress

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	tlsTimeout  = 10 * time.Second
	keepAlive   = 30 * time.Second
	idleTimeout = 90 * time.Second
	// A connection of HTTP/2 carries many calls, so one that is dead without a
	// word would take all of them with it: after pingAfter of silence it is
	// asked, and given up when it has not answered within pingWait.
	pingAfter = 30 * time.Second
	pingWait  = 15 * time.Second
)

// New returns a transport of its own: pool, TLS sessions and all. idle is how
// many connections it keeps for reuse; give it the upstream's concurrency, or
// calls beside each other keep dialling (net/http's default is 2).
//
// It takes no proxy from the environment: that would send one upstream's
// credential wherever a variable points. It does not decompress, so that an
// answer's size is known before it is read.
func New(idle int) *Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &Transport{&http.Transport{
		Proxy:                  once,
		DialContext:            counting(dialer.DialContext),
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsTimeout,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 1 << 20,
		ExpectContinueTimeout:  time.Second,
	}}
}
