package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
)

// Poison makes http.DefaultTransport, and with it http.DefaultClient and every
// client without a transport, fail each request before it is sent. They are one
// pool for everybody, take a proxy from the environment and follow redirects
// anywhere; a library that falls back to them would carry one upstream's
// requests past all that keeps upstreams apart. It is called first thing in main
// and in tests. The value itself is changed, so copies that libraries took of
// the pointer, and clones, fail too.
func Poison() {
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("the default HTTP client is shut: a client comes from its upstream's grant")
	}
	tr, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		tr = &http.Transport{}
		http.DefaultTransport = tr
	}
	tr.Proxy, tr.DialContext, tr.DialTLSContext = nil, refuse, refuse
}
