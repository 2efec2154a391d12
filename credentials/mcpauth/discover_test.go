package mcpauth_test

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

// Where documents are looked for, in which order: every request is noted.
func TestDiscoverOrder(t *testing.T) {
	t.Parallel()
	const (
		mcp  = "GET https://mcp.example"
		auth = "GET https://auth.example"
		root = "https://auth.example"
	)
	tenant := root + "/tenant1"
	for name, c := range map[string]struct {
		server    string // "" is mcpURL
		challenge string // resource_metadata
		issuer    string // pinned
		mcp, auth pages
		want      []string
		found     string // issuer; "" if none
		resource  string // "" is mcpURL
	}{
		"the challenge": {
			challenge: "https://mcp.example/custom.json",
			mcp:       pages{"/custom.json": protected(mcpURL, root)}, auth: pages{asPath: honest(root)},
			want: []string{mcp + "/custom.json", auth + asPath}, found: root,
		},
		"the path": {
			mcp: pages{prmPath + "/public/mcp": protected(mcpURL, root)}, auth: pages{oidcPath: honest(root)},
			want: []string{mcp + prmPath + "/public/mcp", auth + asPath, auth + oidcPath}, found: root,
		},
		"the root": {
			mcp: pages{prmPath: protected("https://mcp.example", tenant)}, auth: pages{asPath + "/tenant1": honest(tenant)},
			want: []string{mcp + prmPath + "/public/mcp", mcp + prmPath, auth + asPath + "/tenant1"}, found: tenant, resource: "https://mcp.example",
		},
		"a server at the root": {
			server: "https://mcp.example/",
			mcp:    pages{prmPath: protected("https://mcp.example/", tenant)}, auth: pages{"/tenant1" + oidcPath: honest(tenant)},
			want:  []string{mcp + prmPath, auth + asPath + "/tenant1", auth + oidcPath + "/tenant1", auth + "/tenant1" + oidcPath},
			found: tenant, resource: "https://mcp.example/",
		},
		"path inserted for OpenID": {
			mcp: pages{prmPath + "/public/mcp": protected(mcpURL, tenant)}, auth: pages{oidcPath + "/tenant1": honest(tenant)},
			want: []string{mcp + prmPath + "/public/mcp", auth + asPath + "/tenant1", auth + oidcPath + "/tenant1"}, found: tenant,
		},
		"a slash at the end of the issuer": {
			mcp: pages{prmPath + "/public/mcp": protected(mcpURL, root+"/")}, auth: pages{asPath: with(honest(root), object{"issuer": root + "/"})},
			want: []string{mcp + prmPath + "/public/mcp", auth + asPath}, found: root + "/",
		},
		"pages instead of documents": {
			mcp:  pages{prmPath + "/public/mcp": "<html>", prmPath: protected(mcpURL, root)},
			auth: pages{asPath: "[1]", oidcPath: honest(root)},
			want: []string{mcp + prmPath + "/public/mcp", mcp + prmPath, auth + asPath, auth + oidcPath}, found: root,
		},
		"the second of two issuers": {
			mcp:  pages{prmPath + "/public/mcp": protected(mcpURL, "http://auth.example", root)},
			auth: pages{asPath: honest(root)},
			want: []string{mcp + prmPath + "/public/mcp", auth + asPath}, found: root,
		},
		"the pinned of two issuers": {
			issuer: tenant,
			mcp:    pages{prmPath + "/public/mcp": protected(mcpURL, root, tenant)},
			auth:   pages{asPath: honest(root), asPath + "/tenant1": honest(tenant)},
			want:   []string{mcp + prmPath + "/public/mcp", auth + asPath + "/tenant1"}, found: tenant,
		},
		"the pinned without metadata": {
			issuer: root, auth: pages{asPath: honest(root)},
			want: []string{mcp + prmPath + "/public/mcp", mcp + prmPath, auth + asPath}, found: root,
		},
		"another than the pinned": {
			issuer: "https://other.example",
			mcp:    pages{prmPath + "/public/mcp": protected(mcpURL, root)}, auth: pages{asPath: honest(root)},
			want: []string{mcp + prmPath + "/public/mcp"},
		},
		"of 2025-03-26, without metadata of the server": {
			mcp:  pages{asPath: honest("https://mcp.example")},
			want: []string{mcp + prmPath + "/public/mcp", mcp + prmPath, mcp + asPath}, found: "https://mcp.example",
		},
		"nothing anywhere": {
			want: []string{mcp + prmPath + "/public/mcp", mcp + prmPath, mcp + asPath, mcp + oidcPath},
		},
		"a challenge that points nowhere": {
			challenge: "https://mcp.example/custom.json",
			mcp:       pages{prmPath: protected(mcpURL, root)},
			want:      []string{mcp + "/custom.json"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := &strangers{hosts: map[string]http.Handler{"mcp.example": c.mcp, "auth.example": c.auth}}
			opt := options(net)
			opt.Issuer = c.issuer
			if c.server != "" {
				opt.Server = c.server
			}
			plan, err := mcpauth.Discover(t.Context(), opt, mcpauth.Challenge{Metadata: c.challenge}, "")
			if got := net.requests(); !slices.Equal(got, c.want) {
				t.Errorf("asked %q\nwant  %q", got, c.want)
			}
			if c.found == "" {
				trouble(t, err, credentials.Misconfigured)
				return
			}
			resource := mcpURL
			if c.resource != "" {
				resource = c.resource
			}
			if err != nil || plan.Server.Issuer != c.found || plan.Resource != resource {
				t.Errorf("%+v, %v", plan, err)
			}
		})
	}
}

// Metadata of a server that lie: no document of theirs is used, and nobody is
// asked for more.
func TestHostileResource(t *testing.T) {
	t.Parallel()
	const own = "https://mcp.example"
	good := protected(mcpURL, "https://auth.example")
	for name, page := range map[string]any{
		"about another server":         protected("https://evil.example/public/mcp", "https://auth.example"),
		"about another path":           protected(own+"/other", "https://auth.example"),
		"about all of the host":        protected(own, "https://auth.example"), // from below a path
		"about a path above":           protected(own+"/public", "https://auth.example"),
		"about a path that looks like": protected(mcpURL+"x", "https://auth.example"),
		"about another port":           protected("https://mcp.example:8443/public/mcp", "https://auth.example"),
		"about another scheme":         protected("http://mcp.example/public/mcp", "https://auth.example"),
		"about another query":          protected(mcpURL+"?tenant=2", "https://auth.example"),
		"with a fragment":              protected(mcpURL+"#x", "https://auth.example"),
		"with an empty fragment":       protected(mcpURL+"#", "https://auth.example"),
		"about nothing":                with(good, object{"resource": nil}),
		"about a number":               with(good, object{"resource": 7}),
		"without servers":              with(good, object{"authorization_servers": nil}),
		"with no servers":              with(good, object{"authorization_servers": []string{}}),
		"with one for a list":          with(good, object{"authorization_servers": "https://auth.example"}),
		"with numbers":                 with(good, object{"authorization_servers": []int{1}}),
		"servers over http":            protected(mcpURL, "http://auth.example"),
		"servers on this machine":      protected(mcpURL, "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"),
		"servers of odd schemes":       protected(mcpURL, "file:///etc/passwd", "javascript:alert(1)", "auth.example", "//auth.example"),
		"servers with a password":      protected(mcpURL, "https://user:pw@auth.example"),
		"servers with a query":         protected(mcpURL, "https://auth.example?x=1", "https://auth.example?"),
		"servers with a fragment":      protected(mcpURL, "https://auth.example#x", "https://auth.example#"),
		"in another case":              `{"Resource":"` + mcpURL + `","Authorization_Servers":["https://auth.example"]}`,
		"a redirect":                   http.StatusTemporaryRedirect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := &strangers{hosts: map[string]http.Handler{
				"mcp.example": pages{prmPath + "/public/mcp": page}, "auth.example": pages{asPath: honest("https://auth.example")},
			}}
			_, err := mcpauth.Discover(t.Context(), options(net), mcpauth.Challenge{}, "")
			trouble(t, err, credentials.Misconfigured)
			for _, r := range net.requests() {
				if !strings.HasPrefix(r, "GET "+own+prmPath) {
					t.Errorf("asked %s", r)
				}
			}
		})
	}
}

// A challenge may not send us elsewhere: what it names is not fetched, and the
// server's own places are asked instead.
func TestChallengeElsewhere(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"http://169.254.169.254/latest/meta-data", "http://127.0.0.1/x", "https://evil.example/x", "http://mcp.example" + prmPath, "https://mcp.example:8443/x",
		"https://mcp.example@evil.example/x", "https://user@mcp.example/x", "//evil.example/x", "/x", "file:///etc/passwd", "https://mcp.example.evil.example/", `https://mcp.example\@evil.example`,
	} {
		net := &strangers{hosts: map[string]http.Handler{
			"mcp.example": pages{prmPath + "/public/mcp": protected(mcpURL, "https://auth.example")}, "auth.example": pages{asPath: honest("https://auth.example")},
		}}
		plan, err := mcpauth.Discover(t.Context(), options(net), mcpauth.Challenge{Metadata: url}, "")
		if want := []string{"GET https://mcp.example" + prmPath + "/public/mcp", "GET https://auth.example" + asPath}; err != nil || !slices.Equal(net.requests(), want) {
			t.Errorf("%s: %+v, %v: %q", url, plan, err, net.requests())
		}
	}
}

// Metadata of an authorization server that lie are not used.
func TestHostileIssuer(t *testing.T) {
	t.Parallel()
	const issuer = "https://auth.example"
	good := honest(issuer)
	for name, page := range map[string]any{
		"another issuer":              with(good, object{"issuer": "https://honest.example"}),
		"a slash more":                with(good, object{"issuer": issuer + "/"}),
		"another case":                with(good, object{"issuer": "https://Auth.example"}),
		"the port written":            with(good, object{"issuer": issuer + ":443"}),
		"no issuer":                   with(good, object{"issuer": nil}),
		"the issuer twice":            `{"issuer":"https://auth.example","issuer":"https://evil.example"}`,
		"the issuer twice, escaped":   `{"issuer":"https://auth.example","\u0069ssuer":"https://evil.example"}`,
		"the issuer in another case":  with(with(good, object{"issuer": nil}), object{"Issuer": issuer}),
		"no PKCE":                     with(good, object{"code_challenge_methods_supported": nil}),
		"PKCE in plain":               with(good, object{"code_challenge_methods_supported": []string{"plain", "s256"}}),
		"no token endpoint":           with(good, object{"token_endpoint": nil}),
		"no authorization endpoint":   with(good, object{"authorization_endpoint": ""}),
		"token over http":             with(good, object{"token_endpoint": "http://auth.example/token"}),
		"authorize over http":         with(good, object{"authorization_endpoint": "http://auth.example/authorize"}),
		"register over http":          with(good, object{"registration_endpoint": "http://auth.example/register"}),
		"authorize by script":         with(good, object{"authorization_endpoint": "javascript:alert(1)"}),
		"authorize by a file":         with(good, object{"authorization_endpoint": "file:///bin/sh"}),
		"authorize without a scheme":  with(good, object{"authorization_endpoint": "/authorize"}),
		"token on this machine":       with(good, object{"token_endpoint": "http://127.0.0.1:6379/"}),
		"token with a password":       with(good, object{"token_endpoint": "https://u:p@auth.example/token"}),
		"token with a fragment":       with(good, object{"token_endpoint": issuer + "/token#x"}),
		"token at the metadata host":  with(good, object{"token_endpoint": "http://169.254.169.254/latest/api/token"}),
		"too deep":                    `{"issuer":"https://auth.example","x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
		"huge":                        `{"issuer":"https://auth.example","x":"` + strings.Repeat("y", 300<<10) + `"}`,
		"no JSON at all":              "\x1f\x8b",
		"a redirect to another place": http.StatusTemporaryRedirect,
		"a redirect for good":         http.StatusPermanentRedirect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := &strangers{hosts: map[string]http.Handler{
				"mcp.example": pages{prmPath: protected(mcpURL, issuer)}, "auth.example": pages{asPath: page},
			}}
			opt := options(net)
			_, err := mcpauth.Discover(t.Context(), opt, mcpauth.Challenge{}, "")
			e := trouble(t, err, credentials.Misconfigured)
			want := []string{"GET https://mcp.example" + prmPath + "/public/mcp", "GET https://mcp.example" + prmPath, "GET " + issuer + asPath, "GET " + issuer + oidcPath}
			if got := net.requests(); !slices.Equal(got, want) {
				t.Errorf("asked %q", got)
			}
			if text := e.Error(); len(text) > 2000 || strings.ContainsAny(text, "\n\x1b") || strings.Contains(text, "yyyy") || strings.Contains(text, "u:p") {
				t.Errorf("the error: %q", text)
			}
		})
	}
}

// Trouble that passes is no reason to look elsewhere, where another issuer may be.
func TestDiscoverTransient(t *testing.T) {
	t.Parallel()
	failing := func(status int) pages {
		fail := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
		return pages{prmPath + "/public/mcp": fail, asPath: fail}
	}
	for _, status := range []int{500, 503, 429, 408} {
		net := &strangers{hosts: map[string]http.Handler{"mcp.example": failing(status)}}
		_, err := mcpauth.Discover(t.Context(), options(net), mcpauth.Challenge{}, "")
		trouble(t, err, credentials.Transient)
		if got := net.requests(); len(got) != 1 {
			t.Errorf("%d: asked %q", status, got)
		}
		net = &strangers{hosts: map[string]http.Handler{
			"mcp.example":  pages{prmPath + "/public/mcp": protected(mcpURL, "https://auth.example", "https://other.example")},
			"auth.example": failing(status), "other.example": pages{asPath: honest("https://other.example")},
		}}
		_, err = mcpauth.Discover(t.Context(), options(net), mcpauth.Challenge{}, "")
		trouble(t, err, credentials.Transient)
		if got := net.requests(); len(got) != 2 {
			t.Errorf("%d: asked %q", status, got)
		}
	}
	net := &strangers{hosts: map[string]http.Handler{}} // nobody can be reached
	_, err := mcpauth.Discover(t.Context(), options(net), mcpauth.Challenge{}, "")
	trouble(t, err, credentials.Transient)
}

// hanging never answers.
type hanging struct{}

func (hanging) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// dripping answers, and never comes to an end.
type dripping struct{}

func (dripping) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: drip{req}, Request: req}, nil
}

type drip struct{ req *http.Request }

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-d.req.Context().Done():
		return 0, d.req.Context().Err()
	}
}

func (drip) Close() error { return nil }

func TestSlowMetadata(t *testing.T) {
	t.Parallel()
	for _, slow := range []http.RoundTripper{hanging{}, dripping{}} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			opt := mcpauth.Options{Name: "docs", Server: mcpURL, Client: &http.Client{Transport: slow}}
			_, err := mcpauth.Discover(t.Context(), opt, mcpauth.Challenge{}, "")
			trouble(t, err, credentials.Transient)
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("%T: gave up after %v", slow, took)
			}
		})
	}
}

// What is at another origin than the issuer is taken, and told.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	doc := with(honest("https://auth.example"), object{
		"token_endpoint": "https://tokens.example/token", "authorization_endpoint": "https://auth.example:443/authorize", "registration_endpoint": "https://tokens.example/r",
		"client_id_metadata_document_supported": true, "token_endpoint_auth_methods_supported": nil, "scopes_supported": []string{"a", "offline_access"},
	})
	net := &strangers{hosts: map[string]http.Handler{
		"mcp.example":  pages{prmPath: with(protected(mcpURL, "https://auth.example"), object{"scopes_supported": []string{"b", "a", "b"}})},
		"auth.example": pages{asPath: doc},
	}}
	plan, err := mcpauth.Discover(t.Context(), options(net), mcpauth.Challenge{}, "")
	want := mcpauth.Plan{Resource: mcpURL, Supported: []string{"b", "a"}, Server: mcpauth.Server{
		Issuer: "https://auth.example", AuthorizeURL: "https://auth.example:443/authorize", TokenURL: "https://tokens.example/token", RegisterURL: "https://tokens.example/r",
		IssuerSent: true, Documents: true, Methods: []string{"client_secret_basic"}, Scopes: []string{"a", "offline_access"}, Elsewhere: []string{"https://tokens.example"},
	}}
	if err != nil || !reflect.DeepEqual(plan, want) {
		t.Errorf("%+v, %v", plan, err)
	}
}

// On this machine http will do, for a server that is on it too, or an issuer
// that the operator names.
func TestLoopback(t *testing.T) {
	t.Parallel()
	const issuer = "http://127.0.0.1:9000"
	for server, pinned := range map[string]string{"http://localhost:8000/mcp": "", "http://[::1]:8000/mcp": "", "https://mcp.example/mcp": issuer} {
		host := strings.Split(server, "/")[2]
		net := &strangers{hosts: map[string]http.Handler{
			host: pages{prmPath: protected(server, issuer)}, "127.0.0.1:9000": pages{asPath: honest(issuer)},
		}}
		opt := mcpauth.Options{Name: "docs", Server: server, Issuer: pinned, Client: net.client()}
		if plan, err := mcpauth.Discover(t.Context(), opt, mcpauth.Challenge{}, ""); err != nil || plan.Server.Issuer != issuer {
			t.Errorf("%s: %+v, %v", server, plan, err)
		}
	}
}

// The operator can say which resource a server is, where its metadata say another.
func TestResourceOverride(t *testing.T) {
	t.Parallel()
	net := &strangers{hosts: map[string]http.Handler{
		"mcp.example":  pages{prmPath + "/public/mcp": protected("https://mcp.example", "https://auth.example")},
		"auth.example": pages{asPath: honest("https://auth.example")},
	}}
	opt := options(net)
	_, err := mcpauth.Discover(t.Context(), opt, mcpauth.Challenge{}, "")
	if e := trouble(t, err, credentials.Misconfigured); !strings.Contains(e.Error(), `"https://mcp.example" instead of "`+mcpURL+`"`) {
		t.Error(e)
	}
	opt.Resource = "https://mcp.example"
	if plan, err := mcpauth.Discover(t.Context(), opt, mcpauth.Challenge{}, ""); err != nil || plan.Resource != opt.Resource {
		t.Errorf("%+v, %v", plan, err)
	}
}

// Of several issuers the one that somebody has signed in with stays.
func TestPrefer(t *testing.T) {
	t.Parallel()
	net := &strangers{hosts: map[string]http.Handler{
		"mcp.example":   pages{prmPath: protected(mcpURL, "https://evil.example", "https://auth.example")},
		"auth.example":  pages{asPath: honest("https://auth.example")},
		"evil.example":  pages{asPath: honest("https://evil.example")},
		"third.example": pages{asPath: honest("https://third.example")},
	}}
	for prefer, want := range map[string]string{"": "https://evil.example", "https://auth.example": "https://auth.example", "https://third.example": "https://evil.example"} {
		if plan, err := mcpauth.Discover(t.Context(), options(net), mcpauth.Challenge{}, prefer); err != nil || plan.Server.Issuer != want {
			t.Errorf("%q: %+v, %v", prefer, plan, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	base := options(&strangers{})
	for want, change := range map[string]func(*mcpauth.Options){
		"must be https":               func(o *mcpauth.Options) { o.Server = "http://mcp.example/mcp" },
		"is not of the form":          func(o *mcpauth.Options) { o.Server = "mcp.example" },
		"no HTTP client":              func(o *mcpauth.Options) { o.Client = nil },
		"the issuer":                  func(o *mcpauth.Options) { o.Issuer = "http://auth.example" },
		"must have a path":            func(o *mcpauth.Options) { o.DocumentURL = "https://app.example/" },
		"the client's document":       func(o *mcpauth.Options) { o.DocumentURL = "http://localhost/client.json" },
		"secret without a client id":  func(o *mcpauth.Options) { o.ClientSecret = credentials.NewSecret("s") },
		"scopes must be words":        func(o *mcpauth.Options) { o.Scopes = []string{"a b"} },
		"the redirect":                func(o *mcpauth.Options) { o.Redirect = "http://app.example/callback" },
		"neither user information":    func(o *mcpauth.Options) { o.Server = "https://u:secret@mcp.example/mcp" },
		"user information nor fragme": func(o *mcpauth.Options) { o.Server = mcpURL + "#" },
	} {
		opt := base
		change(&opt)
		_, err := mcpauth.NewSource(opt)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "docs: ") || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
