// Package egress makes the transport at the bottom of every HTTP upstream: one
// for each, so that nothing is shared between two.
//
// It owns connection pools and TLS settings. It must not know credentials, who
// an upstream is, or any protocol above HTTP.
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
)

// New returns a transport of its own: pool, TLS sessions and all. idle is how
// many connections it keeps for reuse; give it the upstream's concurrency, or
// calls beside each other keep dialling (net/http's default is 2).
//
// It takes no proxy from the environment: that would send one upstream's
// credential wherever a variable points. It does not decompress, so that an
// answer's size is known before it is read.
func New(idle int) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsTimeout,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 1 << 20,
		ExpectContinueTimeout:  time.Second,
	}
}
