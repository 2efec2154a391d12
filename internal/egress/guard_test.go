package egress_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/egress"
)

const public = "93.184.216.34" // as good as any address of the public internet

// world is a network in which every name means what the test says, and every
// dial ends at one server and is written down.
type world struct {
	mu     sync.Mutex
	names  map[string][]string // answers in turn; the last one stays
	asked  []string
	dialed []string
	down   map[string]bool // addresses that do not answer
	server *httptest.Server
}

func (w *world) lookup(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, host)
	answers := w.names[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		w.names[host] = answers[1:]
	}
	var out []netip.Addr
	for a := range strings.SplitSeq(answers[0], " ") {
		addr := netip.MustParseAddr(a)
		if addr.Is4() {
			addr = netip.AddrFrom16(addr.As16()) // as the real one does
		}
		out = append(out, addr)
	}
	return out, nil
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, address)
	down := w.down[address]
	w.mu.Unlock()
	if down {
		return nil, errors.New("nobody there")
	}
	return (&net.Dialer{}).DialContext(ctx, network, w.server.Listener.Addr().String())
}

func (w *world) dials() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := strings.Join(w.dialed, " ")
	w.dialed = nil
	return out
}

func newWorld(t *testing.T, opt egress.Options, h http.HandlerFunc, names map[string][]string) (*world, *egress.Guard) {
	t.Helper()
	w := &world{names: names, down: map[string]bool{}, server: httptest.NewUnstartedServer(h)}
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	g, err := egress.NewGuard(opt)
	if err != nil {
		t.Fatal(err)
	}
	g.SetNetwork(w.lookup, w.dial)
	g.Trust()
	t.Cleanup(g.CloseIdleConnections)
	return w, g
}

func get(t *testing.T, g http.RoundTripper, rawURL string) (string, error) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	return getURL(t, g, u)
}

func getURL(t *testing.T, g http.RoundTripper, u *url.URL) (string, error) {
	t.Helper()
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, Host: "foreign.example"}).WithContext(t.Context())
	resp, err := g.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), err
}

func hello(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello "+r.Host) }

// A name that is public when it is checked and private when it is dialled: there
// is one look-up for each connection, and what it gave is what is dialled.
func TestNameThatChangesItsAddress(t *testing.T) {
	w, g := newWorld(t, egress.Options{}, hello, map[string][]string{
		"flip.example": {public, "127.0.0.1"}, "flop.example": {"10.0.0.1", public},
	})
	for range 2 { // the second takes the connection of the first
		if got, err := get(t, g, "https://flip.example/"); err != nil || got != "hello flip.example" {
			t.Fatal(got, err)
		}
	}
	if got := w.dials(); got != public+":443" || len(w.asked) != 1 {
		t.Errorf("dialled %q after looking up %v", got, w.asked)
	}
	g.CloseIdleConnections()
	_, err := get(t, g, "https://flip.example/")
	if re, ok := errors.AsType[*egress.RefusedError](err); !ok || re.Addr != netip.MustParseAddr("127.0.0.1") || !strings.Contains(re.Reason, "loopback (RFC 1122)") {
		t.Errorf("the next connection: %v", err)
	}
	if _, err := get(t, g, "https://flop.example/"); err == nil {
		t.Error("a private address was dialled")
	}
	if got := w.dials(); got != "" {
		t.Errorf("dialled %q", got)
	}
}

func TestEveryAddressIsChecked(t *testing.T) {
	w, g := newWorld(t, egress.Options{}, hello, map[string][]string{
		"mixed.example": {public + " 2606:2800:220:1::1 10.0.0.1"}, "mapped.example": {public + " ::ffff:10.0.0.1"}, "zone.example": {"fe80::1%lo"},
		"two.example": {"2606:2800:220:1::1 " + public},
	})
	for _, host := range []string{"mixed", "mapped", "zone"} {
		_, err := get(t, g, "https://"+host+".example/")
		if re, ok := errors.AsType[*egress.RefusedError](err); !ok || re.Host != host+".example:443" || strings.Contains(err.Error(), re.Addr.String()) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if got := w.dials(); got != "" {
		t.Errorf("dialled %q", got)
	}
	w.down["[2606:2800:220:1::1]:443"] = true
	if _, err := get(t, g, "https://two.example/"); err != nil {
		t.Errorf("with one of two addresses down: %v", err)
	}
	if got, want := w.dials(), "[2606:2800:220:1::1]:443 "+public+":443"; got != want {
		t.Errorf("dialled %q, want %q", got, want)
	}
	if _, err := get(t, g, "https://nobody.example/"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("unknown name: %v", err)
	}
}

func TestAllowed(t *testing.T) {
	names := map[string][]string{
		"idp.corp": {"10.1.2.3"}, "other.corp": {"10.1.2.4"}, "net.corp": {"10.20.0.9"}, "meta.corp": {"169.254.169.254"}, "meta6.corp": {"fd00:ec2::254"},
		"zone.corp": {"fe80::a9fe:a9fe%lo"}, "nat64.corp": {"64:ff9b::5db8:d822"}, "nat64in.corp": {"64:ff9b::a00:1"}, "nat64net.corp": {"64:ff9b::a14:9"}, "nat64meta.corp": {"64:ff9b::a9fe:a9fe"},
	}
	opt := egress.Options{Allow: []string{"IDP.corp", "idp.corp:8443", "10.20.0.0/16", "64:ff9b::/96", "meta.corp", "zone.corp", "2001::/32", "meta6.corp", "nat64meta.corp", "192.168.7.7:9000", "[fd12::1]", "0.0.0.0/8"}}
	w, g := newWorld(t, opt, hello, names)
	for rawURL, want := range map[string]string{ // what is dialled; "" is refused
		"https://idp.corp/": "10.1.2.3:443", "https://IDP.CORP:8443/": "10.1.2.3:8443", "https://idp.corp:9443/": "",
		"https://other.corp/": "", "https://net.corp:7/": "10.20.0.9:7", "https://10.20.1.1/": "10.20.1.1:443", "https://10.21.1.1/": "",
		"https://meta.corp/": "", "https://meta6.corp/": "", "https://169.254.169.254/": "", "https://nat64meta.corp/": "",
		"https://nat64.corp/": "[64:ff9b::5db8:d822]:443", "https://nat64in.corp/": "", "https://nat64net.corp/": "[64:ff9b::a14:9]:443",
		"https://192.168.7.7:9000/": "192.168.7.7:9000", "https://192.168.7.7/": "", "https://[FD12::1]/": "[fd12::1]:443", "https://[fd12::2]/": "",
		"https://[2001:0:5db8:d822::a247:27dd]/": "[2001:0:5db8:d822::a247:27dd]:443", "https://[2001:0:5db8:d822::3f57:fffe]/": "", "https://[2001:0:a00:1::a247:27dd]/": "",
		"https://zone.corp/": "", "https://[::ffff:10.20.1.1]/": "", "http://idp.corp/": "", "http://idp.corp:8443/": "",
	} {
		_, err := get(t, g, rawURL)
		_, isRefused := errors.AsType[*egress.RefusedError](err)
		if got := w.dials(); got != want || isRefused != (want == "") {
			t.Errorf("%s: dialled %q, want %q: %v", rawURL, got, want, err)
		}
	}
}

func TestPlainHTTPToLoopbackOnly(t *testing.T) {
	local := httptest.NewServer(http.HandlerFunc(hello))
	defer local.Close()
	_, port, _ := net.SplitHostPort(local.Listener.Addr().String())
	open, err := egress.NewGuard(egress.Options{Allow: []string{"127.0.0.0/8", "localhost:" + port, "::1/128"}})
	if err != nil {
		t.Fatal(err)
	}
	defer open.CloseIdleConnections()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if got, err := get(t, open, "http://"+host+":"+port); err != nil || got != "hello "+host+":"+port {
			t.Errorf("%s: %q %v", host, got, err)
		}
	}
	shut, err := egress.NewGuard(egress.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*egress.Guard{open, shut} {
		for _, rawURL := range []string{"http://" + public + "/", "http://10.0.0.1/", "http://[::ffff:127.0.0.1]:" + port} {
			if _, err := get(t, g, rawURL); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("%s: %v", rawURL, err)
			}
		}
	}
	for _, rawURL := range []string{local.URL, "http://localhost:" + port, "https://127.0.0.1:" + port} {
		if _, err := get(t, shut, rawURL); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", rawURL, err)
		}
	}
}

func TestNoRedirect(t *testing.T) {
	w, g := newWorld(t, egress.Options{}, func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.URL.Query().Get("code"), &code)
		w.Header().Set("Location", "https://"+public+"/")
		w.WriteHeader(code)
	}, nil)
	client := &http.Client{Transport: g}
	for _, code := range []int{301, 302, 303, 307, 308} {
		_, err := client.Get(fmt.Sprintf("https://%s/?code=%d", public, code))
		if _, ok := errors.AsType[*egress.RefusedError](err); !ok || !strings.Contains(err.Error(), fmt.Sprintf("a redirect (HTTP %d)", code)) {
			t.Errorf("%d: %v", code, err)
		}
		if n := len(strings.Fields(w.dials())); n > 1 {
			t.Errorf("%d: %d connections", code, n)
		}
	}
	for _, code := range []int{200, 304, 404} {
		resp, err := client.Get(fmt.Sprintf("https://%s/?code=%d", public, code))
		if err != nil || resp.StatusCode != code {
			t.Fatalf("%d: %v", code, err)
		}
		_ = resp.Body.Close()
	}
}

func TestCaps(t *testing.T) {
	stop := make(chan struct{})
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fits":
			_, _ = io.WriteString(w, strings.Repeat("x", 100))
		case "/announced":
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
		case "/endless":
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, strings.Repeat("x", 64))
				w.(http.Flusher).Flush()
			}
		case "/header":
			w.Header().Set("X", strings.Repeat("x", 80<<10))
		case "/trickle":
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			fallthrough
		case "/silent":
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}
	}
	_, g := newWorld(t, egress.Options{MaxBody: 100, Timeout: time.Minute}, answer, nil)
	_, brief := newWorld(t, egress.Options{MaxBody: 100, Timeout: 300 * time.Millisecond}, answer, nil)
	defer close(stop)
	if got, err := get(t, g, "https://"+public+"/fits"); err != nil || len(got) != 100 {
		t.Errorf("fits: %d %v", len(got), err)
	}
	for path, want := range map[string]string{
		"announced": "more than 100 bytes", "endless": "more than 100 bytes", "header": "",
		"trickle": "context deadline exceeded", "silent": "context deadline exceeded",
	} {
		of := g
		if path == "trickle" || path == "silent" {
			of = brief
		}
		got, err := get(t, of, "https://"+public+"/"+path)
		if err == nil || !strings.Contains(err.Error(), want) || len(got) > 100 {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+public+"/silent", nil)
	if _, err := g.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's own deadline: %v", err)
	}
}

func TestWhatIsAllowedIsChecked(t *testing.T) {
	for entry, want := range map[string]string{
		"https://idp.corp": "no scheme and no path", "idp.corp/x": "no scheme", "10.0.0.1/8": "the network is 10.0.0.0/8", "169.254.0.0/16": "never allowed",
		"169.254.169.254": "never allowed", "[fd00:ec2::254]:80": "never allowed: a metadata service (AWS)", "::ffff:169.254.169.254": "never allowed", "": "no host",
		"idp.corp:0": "port", "idp.corp:x": "port", "0x7f.1": "unusual spelling", "fe80::1%eth0": "zone", "idp.corp.": "dot", "*.corp": "letters", "fd00:ec2::/64": "never",
	} {
		if _, err := egress.NewGuard(egress.Options{Allow: []string{entry}}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", entry)) {
			t.Errorf("%q: %v, want %q", entry, err, want)
		}
	}
}
