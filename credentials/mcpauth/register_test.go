package mcpauth_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-mcp/bulkhead/credentials"
	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

// Who we are: the operator's client, a document, what we have registered, what
// we register.
func TestRegistrationOrder(t *testing.T) {
	t.Parallel()
	const document = "https://app.example/client.json"
	basic := func(i *issuer) { i.doc["token_endpoint_auth_methods_supported"] = []string{"client_secret_basic"} }
	for name, c := range map[string]struct {
		opt        func(*mcpauth.Options)
		issuer     func(*issuer)
		client     string
		header     bool   // a secret in Authorization
		secret     string // in the body
		registered int
	}{
		"the operator's":            {opt: func(o *mcpauth.Options) { o.ClientID, o.DocumentURL = "ours", document }, client: "ours"},
		"the operator's, secret":    {opt: func(o *mcpauth.Options) { o.ClientID, o.ClientSecret = "ours", credentials.NewSecret("s3cret") }, header: true},
		"the operator's, in a body": {opt: func(o *mcpauth.Options) { o.ClientID, o.ClientSecret = "ours", credentials.NewSecret("s3cret") }, issuer: func(i *issuer) { i.doc["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"} }, client: "ours", secret: "s3cret"},
		"a document":                {opt: func(o *mcpauth.Options) { o.DocumentURL = document }, issuer: func(i *issuer) { i.doc["client_id_metadata_document_supported"] = true }, client: document},
		"no document there":         {opt: func(o *mcpauth.Options) { o.DocumentURL = document }, client: "client-1-of-https://auth.example", registered: 1},
		"no document here":          {issuer: func(i *issuer) { i.doc["client_id_metadata_document_supported"] = true }, client: "client-1-of-https://auth.example", registered: 1},
		"registered":                {client: "client-1-of-https://auth.example", registered: 1},
		"with an unwanted secret":   {issuer: func(i *issuer) { i.answer = object{"client_secret": "s3cret"} }, client: "client-1-of-https://auth.example", registered: 1},
		"with a secret":             {issuer: func(i *issuer) { basic(i); i.answer = object{"client_secret": "s3cret"} }, client: "", header: true, registered: 1},
		"with the server's method": {issuer: func(i *issuer) {
			i.answer = object{"client_secret": "s3cret", "token_endpoint_auth_method": "client_secret_post"}
		}, client: "client-1-of-https://auth.example", secret: "s3cret", registered: 1},
		"without the secret that it wants": {issuer: basic, client: "client-1-of-https://auth.example", registered: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(w *world) {
				if c.opt != nil {
					c.opt(&w.opt)
				}
				if c.issuer != nil {
					c.issuer(w.one)
				}
			})
			asked := w.login(w.one)
			form, auth := w.one.last()
			if c.client != "" && (asked.Get("client_id") != c.client || form.Get("client_id") != c.client) || (auth != "") != c.header ||
				form.Get("client_secret") != c.secret || len(w.one.registered) != c.registered {
				t.Errorf("%v %v %q %v", asked, form, auth, w.one.registered)
			}
			for _, q := range []string{asked.Get("resource"), form.Get("resource")} { // RFC 8707: in both
				if q != mcpURL {
					t.Errorf("resource %q", q)
				}
			}
			if asked.Get("redirect_uri") != page || form.Get("redirect_uri") != page {
				t.Errorf("%v %v", asked, form)
			}
			w.mustCall("200 Bearer token-1-of-https://auth.example")
		})
	}
}

func TestRegistrationRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.login(w.one)
	want := object{
		"client_name": "Bulkhead", "redirect_uris": []any{page}, "application_type": "web",
		"grant_types": []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"}, "token_endpoint_auth_method": "none",
	}
	if got := w.one.registered[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	w.login(w.one)
	w.restart()
	w.login(w.one)
	if n := len(w.one.registered); n != 1 {
		t.Errorf("registered %d times", n)
	}
}

// A registration is used again while it is good, for the same redirect, at the
// same issuer and token endpoint.
func TestRegistrationEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after func(*world)
		want          int
	}{
		"not": {want: 1},
		"its secret soon": {before: func(w *world) {
			w.one.answer = object{"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic", "client_secret_expires_at": time.Now().Add(time.Minute).Unix()}
		}, want: 2},
		"its secret later": {before: func(w *world) {
			w.one.answer = object{"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic", "client_secret_expires_at": time.Now().Add(time.Hour).Unix()}
		}, want: 1},
		"its secret never": {before: func(w *world) {
			w.one.answer = object{"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic", "client_secret_expires_at": 0}
		}, want: 1},
		"with the place of tokens": {after: func(w *world) { w.one.doc["token_endpoint"] = "https://evil.example/token" }, want: 2},
		"forgotten":                {after: func(w *world) { w.source.Forget(w.Context()) }, want: 2},
		"not forgotten by Close":   {after: func(w *world) { w.source.Close(w.Context()) }, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.before)
			w.login(w.one)
			if c.after != nil {
				c.after(w)
			}
			w.restart()
			w.begin(w.one)
			if n := len(w.one.registered); n != c.want {
				t.Errorf("registered %d times", n)
			}
		})
	}
}

func TestRegistrationRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*world)
		want   string
		code   string
	}{
		"nobody can":        {func(w *world) { delete(w.one.doc, "registration_endpoint") }, "registers nobody by itself: register a client there, with the redirect http://127.0.0.1/callback, and set its client id", ""},
		"the redirect":      {func(w *world) { w.one.answer = object{"error": "invalid_redirect_uri", "error_description": "s3cret"} }, "registers no client for us", "invalid_redirect_uri"},
		"odd words":         {func(w *world) { w.one.answer = object{"error": "s3cret"} }, "registers no client for us", ""},
		"no client id":      {func(w *world) { w.one.answer = object{"client_id": nil} }, "registers no client for us", ""},
		"an unknown method": {func(w *world) { w.one.answer = object{"token_endpoint_auth_method": "private_key_jwt"} }, "another way to authenticate", ""},
		"another redirect":  {func(w *world) { w.one.answer = object{"redirect_uris": []string{"https://evil.example"}} }, "without our redirect", ""},
		"no method of ours": {func(w *world) { w.one.doc["token_endpoint_auth_methods_supported"] = []string{"tls_client_auth"} }, "of which we have none", ""},
		"no secret of ours": {func(w *world) {
			w.opt.ClientID, w.opt.ClientSecret = "ours", credentials.NewSecret("s3cret")
			w.one.doc["token_endpoint_auth_methods_supported"] = []string{"none"}
		}, "takes no client secret", ""},
		"a redirect, as answer": {func(w *world) { w.one.doc["registration_endpoint"] = "https://mcp.example/moved" }, "registers no client for us", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.change)
			_, err := w.source.Begin(t.Context(), page)
			e := trouble(t, err, credentials.Misconfigured)
			if !strings.Contains(e.Error(), c.want) || e.Code != c.code || strings.Contains(e.Error(), "s3cret") {
				t.Errorf("%v", e)
			}
		})
	}
}

// A client id that is ours belongs to one issuer: a server that names another is
// not believed.
func TestClientIsPinned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.opt.ClientID, w.opt.ClientSecret = "ours", credentials.NewSecret("s3cret") })
	w.login(w.one)
	w.server.now(func() { w.server.issuers = []string{w.other.name} })
	w.restart()
	_, err := w.source.Begin(t.Context(), page)
	if e := trouble(t, err, credentials.Misconfigured); !strings.Contains(e.Error(), "the client id belongs to https://auth.example, but the server now takes tokens of https://other.example") {
		t.Error(e)
	}
	if len(w.other.asked)+len(w.other.registered) > 0 {
		t.Error("the other issuer was sent something")
	}
	w.opt.Issuer = w.other.name
	w.restart()
	w.login(w.other)
}

// A store that cannot be written is told, and in the way of nothing.
func TestRegistrationUnsaved(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []error
	w := newWorld(t, func(w *world) {
		w.shelf.broken = true
		w.opt.Report = func(err error) { mu.Lock(); defer mu.Unlock(); told = append(told, err) }
	})
	l, back := w.begin(w.one)
	if err := l.Finish(t.Context(), back); err == nil || !strings.Contains(err.Error(), "could not be saved") {
		t.Error(err)
	}
	w.mustCall("200 Bearer token-1-of-https://auth.example")
	w.begin(w.one)
	mu.Lock()
	defer mu.Unlock()
	if len(w.one.registered) != 1 || len(told) != 2 || !slices.ContainsFunc(told, func(err error) bool { return strings.Contains(err.Error(), "the registration could not be saved") }) {
		t.Errorf("%d %v", len(w.one.registered), told)
	}
}

func TestNothingShowsSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.opt.ClientID, w.opt.ClientSecret = "ours", credentials.NewSecret("s3cret")
	})
	l, back := w.begin(w.one)
	for _, v := range []any{w.opt, w.source.State()} {
		if s := fmt.Sprintf("%v %+v %#v", v, v, v); strings.Contains(s, "s3cret") {
			t.Errorf("%s", s)
		}
	}
	if err := l.Finish(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	for id, token := range w.shelf.tokens {
		if s := fmt.Sprintf("%s %v %+v", id, token, token); strings.Contains(s, "s3cret") || strings.Contains(s, "refresh-1") {
			t.Errorf("%s", s)
		}
	}
}
