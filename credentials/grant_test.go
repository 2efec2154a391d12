package credentials_test

import (
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials"
)

func TestSpecsThatAreRefused(t *testing.T) {
	s := credentials.NewSecret
	origin := []string{"https://example.com"}
	for name, c := range map[string]struct {
		spec credentials.Spec
		want string
	}{
		"path":           {credentials.Spec{Origins: []string{"https://example.com/mcp"}}, "scheme://host"},
		"userinfo":       {credentials.Spec{Origins: []string{"https://u:s3cret@example.com"}}, "scheme://host"},
		"no host":        {credentials.Spec{Origins: []string{"https://"}}, "scheme://host"},
		"scheme":         {credentials.Spec{Origins: []string{"ftp://example.com"}}, "http or https"},
		"port":           {credentials.Spec{Origins: []string{"https://example.com:0"}}, "port"},
		"no origin":      {credentials.Spec{Attach: credentials.Bearer(s("s3cret"))}, "without an origin"},
		"empty token":    {credentials.Spec{Origins: origin, Attach: credentials.Bearer(s(""))}, "token is empty"},
		"line break":     {credentials.Spec{Origins: origin, Attach: credentials.Bearer(s("s3cret\nX: y"))}, "line break"},
		"outer space":    {credentials.Spec{Origins: origin, Attach: credentials.Header("X-Key", s("s3cret "))}, "line break"},
		"empty header":   {credentials.Spec{Origins: origin, Attach: credentials.Header("X-Key", credentials.Secret{})}, "empty"},
		"header name":    {credentials.Spec{Origins: origin, Attach: credentials.Header("X Key", s("s3cret"))}, "no name for a header"},
		"colon in user":  {credentials.Spec{Origins: origin, Attach: credentials.Basic("a:b", s("s3cret"))}, "colon"},
		"env name":       {credentials.Spec{Env: map[string]credentials.Secret{"A=B": s("s3cret")}}, "A=B"},
		"env value":      {credentials.Spec{Env: map[string]credentials.Secret{"A": s("s3cret\x00")}}, "environment variable"},
		"env empty name": {credentials.Spec{Env: map[string]credentials.Secret{"": s("s3cret")}}, "environment variable"},
	} {
		c.spec.Name = "crm"
		g, err := credentials.NewGrant(c.spec)
		if err == nil || g != nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "crm") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	s := credentials.NewSecret
	base := func() credentials.Spec {
		return credentials.Spec{Name: "crm", Origins: []string{"https://a.example", "https://b.example"}, Attach: credentials.Bearer(s("t")), Dir: "/d",
			Env: map[string]credentials.Secret{"A": s("1"), "B": s("2")}}
	}
	want := grant(t, base()).Fingerprint()
	same := base()
	same.Origins = []string{"HTTPS://B.example:443", "https://a.example/"}
	if got := grant(t, same).Fingerprint(); got != want {
		t.Error("equal grants differ")
	}
	seen := map[string]string{want: "base"}
	for name, change := range map[string]func(*credentials.Spec){
		"name":    func(s *credentials.Spec) { s.Name = "crn" },
		"origins": func(s *credentials.Spec) { s.Origins = s.Origins[:1] },
		"token":   func(spec *credentials.Spec) { spec.Attach = credentials.Bearer(s("u")) },
		"kind":    func(spec *credentials.Spec) { spec.Attach = credentials.Header("Authorization", s("Bearer t")) },
		"field":   func(spec *credentials.Spec) { spec.Attach = credentials.Header("X-Key", s("Bearer t")) },
		"none":    func(spec *credentials.Spec) { spec.Attach = credentials.None() },
		"dir":     func(s *credentials.Spec) { s.Dir = "" },
		"env":     func(spec *credentials.Spec) { spec.Env["A"] = s("2") },
		"shift":   func(spec *credentials.Spec) { spec.Env = map[string]credentials.Secret{"A": s("1B2")} },
		"no env":  func(s *credentials.Spec) { s.Env = nil },
	} {
		spec := base()
		change(&spec)
		got := grant(t, spec).Fingerprint()
		if before, ok := seen[got]; ok {
			t.Errorf("%s has the fingerprint of %s", name, before)
		}
		seen[got] = name
	}
}
