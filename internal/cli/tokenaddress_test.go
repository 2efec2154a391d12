package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/e2e/vendors"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// organization is a Salesforce organization at https://acme.my.salesforce.com, which
// only the answer with the token says, and the built-in connector before it. The
// names that are dialled lead to where it really is.
func organization(t *testing.T) (org *vendors.Salesforce, a upstream.Adapter, dialled func() []string) {
	t.Helper()
	org = vendors.NewSalesforce(vendors.SalesforceOptions{Client: vendors.Client{ID: "app", Secret: "s3cret"}, Accounts: 250, Instance: "https://acme.my.salesforce.com"})
	instance, login := httptest.NewUnstartedServer(org), httptest.NewServer(org)
	cert, roots := certificateFor(t, "acme.my.salesforce.com")
	instance.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} //nolint:gosec // of a test
	instance.StartTLS()
	t.Cleanup(func() { instance.Close(); login.Close() })

	t.Setenv("SECRET", "s3cret")
	_, w, _, _ := wired(t, "[upstream.sf]\nconnector = 'salesforce'\nvalues = { domain = 'acme' }\n"+
		"auth = { token_url = '"+login.URL+"/services/oauth2/token', client_id = 'app', client_secret = { env = 'SECRET' } }")
	u := w.cfg.Upstreams[0]
	s, err := w.signIn(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var names []string
	base := transport(u)
	base.TLSClientConfig.RootCAs = roots
	base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		names = append(names, address)
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, instance.Listener.Addr().String())
	}
	h, err := signedHTTP(t.Context(), u, s, base, s.closing(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	d, err := definition(u.REST.Connector, u.REST.Definition.Path)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = w.overREST(u, d, h); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return org, a, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Clone(names))
	}
}

// certificateFor makes a certificate for a host, which signs itself, and what trusts
// it alone.
func certificateFor(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: []string{host}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// Where a Salesforce organization is, only the answer with the token says: it is
// asked there and for its further pages, and again when the token has ended.
func TestAddressOfTheToken(t *testing.T) {
	org, a, dialled := organization(t)
	var page struct {
		Next string `json:"next_cursor"`
	}
	for n, args := range []map[string]string{{}, {}} {
		args["soql"] = "SELECT Id, Name FROM Account"
		if n > 0 {
			args["cursor"] = page.Next
		}
		arguments, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Call(t.Context(), &upstream.Call{
			ID: "test", Principal: upstream.Local(), Op: upstream.CallTool, Name: "query_records", Tool: &upstream.Tool{Name: "query_records"},
			Arguments: arguments, Timing: &upstream.Timing{},
		})
		if err != nil {
			t.Fatalf("page %d: %v", n, err)
		}
		structured, _ := r.Get("structuredContent")
		if err := json.Unmarshal(structured, &page); err != nil || r.IsError || !strings.Contains(string(structured), `"total":250`) {
			t.Fatalf("page %d: %s", n, r.Raw)
		}
		org.EndAll() // the next token says it anew
	}
	if n, path := org.Granted("client_credentials"), org.Last().Path; n != 2 || path != "/services/data/v67.0/query/01g0Account-200" {
		t.Errorf("%d tokens, last it asked %s", n, path)
	}
	if got := dialled(); !slices.Equal(got, []string{"acme.my.salesforce.com:443"}) {
		t.Errorf("it dialled %q", got)
	}
}
