package mcpauth_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bulkhead-mcp/bulkhead/credentials/mcpauth"
)

func TestParseChallenge(t *testing.T) {
	t.Parallel()
	type challenge = mcpauth.Challenge
	const meta = "https://mcp.example.com/.well-known/oauth-protected-resource"
	for name, c := range map[string]struct {
		fields []string
		want   challenge
		none   bool
	}{
		"of the specification, 401": {
			fields: []string{"Bearer resource_metadata=\"" + meta + "\",\n                         scope=\"files:read\""},
			none:   true, // folded lines are no field value; net/http unfolds them
		},
		"of the specification, 401, unfolded": {
			fields: []string{`Bearer resource_metadata="` + meta + `",    scope="files:read"`},
			want:   challenge{Metadata: meta, Scopes: []string{"files:read"}},
		},
		"of the specification, 403": {
			fields: []string{`Bearer error="insufficient_scope", scope="files:write", resource_metadata="` + meta + `", error_description="File write permission required for this operation"`},
			want:   challenge{Metadata: meta, Scopes: []string{"files:write"}, Error: "insufficient_scope"},
		},
		"of RFC 9728":            {fields: []string{`Bearer resource_metadata="https://resource.example.com/.well-known/oauth-protected-resource"`}, want: challenge{Metadata: "https://resource.example.com/.well-known/oauth-protected-resource"}},
		"of RFC 6750":            {fields: []string{`Bearer realm="example", error="invalid_token", error_description="The access token expired"`}, want: challenge{Error: "invalid_token"}},
		"the scheme alone":       {fields: []string{"Bearer"}},
		"in any case":            {fields: []string{`bEARER SCOPE=a, Error=invalid_token`}, want: challenge{Scopes: []string{"a"}, Error: "invalid_token"}},
		"each scope once":        {fields: []string{`Bearer scope="b a  b"`}, want: challenge{Scopes: []string{"b", "a"}}},
		"an empty scope":         {fields: []string{`Bearer scope=""`}},
		"spaces around":          {fields: []string{" ,, Bearer  scope = \"a\" ,\t, error = invalid_token ,"}, want: challenge{Scopes: []string{"a"}, Error: "invalid_token"}},
		"quoted pairs":           {fields: []string{`Bearer realm="a\"b\\, Basic c", resource_metadata="https:\/\/h\/p"`}, want: challenge{Metadata: "https://h/p"}},
		"after others":           {fields: []string{`Negotiate dG9rZW4=, Basic realm="a, Bearer scope=x", Bearer scope="y", Digest realm=z`}, want: challenge{Scopes: []string{"y"}}},
		"of several fields":      {fields: []string{`Basic realm="x"`, `Bearer scope="y"`}, want: challenge{Scopes: []string{"y"}}},
		"the one that tells":     {fields: []string{`Bearer scope=a`, `Bearer scope=b, resource_metadata="https://h"`}, want: challenge{Metadata: "https://h", Scopes: []string{"b"}}},
		"the first":              {fields: []string{`Bearer scope=a, Bearer scope=b`}, want: challenge{Scopes: []string{"a"}}},
		"an unknown error":       {fields: []string{`Bearer error="<script>"`}},
		"a scope that is none":   {fields: []string{"Bearer scope=\"a \xc3\xa9\", error=invalid_token"}, want: challenge{Error: "invalid_token"}},
		"too many scopes":        {fields: []string{`Bearer scope="` + manyScopes(65) + `"`}},
		"many scopes":            {fields: []string{`Bearer scope="` + manyScopes(64) + `"`}, want: challenge{Scopes: strings.Fields(manyScopes(64))}},
		"others only":            {fields: []string{`Basic realm="x"`, "DPoP algs=\"ES256\""}, none: true},
		"nothing":                {none: true},
		"empty":                  {fields: []string{"", " , "}, none: true},
		"an unended string":      {fields: []string{`Bearer scope="a`}, none: true},
		"an unended pair":        {fields: []string{`Bearer scope="a\`}, none: true},
		"text after a string":    {fields: []string{`Bearer scope="a"b`}, none: true},
		"a parameter twice":      {fields: []string{`Bearer scope=a, scope=b`}, none: true},
		"a parameter twice, odd": {fields: []string{`Bearer scope=a, SCOPE=b`}, none: true},
		"a control character":    {fields: []string{"Bearer scope=\"a\x00\""}, none: true},
		"no value":               {fields: []string{`Bearer scope=, error=x`}},
		"rubbish":                {fields: []string{`{"error":1}`, "=", `"`, `\`}, none: true},
		"rubbish after":          {fields: []string{`Bearer scope=a, "`}, none: true},
		"good before rubbish":    {fields: []string{`Bearer scope=a, Basic realm="`}, want: challenge{Scopes: []string{"a"}}},
		"a field too long":       {fields: []string{`Bearer scope=a, x="` + strings.Repeat("y", 8<<10) + `"`}, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := mcpauth.ParseChallenge(c.fields)
			if ok == c.none || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v; want %+v, %v", got, ok, c.want, !c.none)
			}
		})
	}
}

func manyScopes(n int) string {
	var all []string
	for i := range n {
		all = append(all, strings.Repeat("s", i+1))
	}
	return strings.Join(all, " ")
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(`Bearer realm="a\"b", scope="x y", Basic Zm9v==, Digest a=b`, "Bearer")
	f.Add(`Negotiate`, `Bearer resource_metadata="`)
	f.Fuzz(func(t *testing.T, one, other string) {
		c, ok := mcpauth.ParseChallenge([]string{one, other})
		if !ok && !reflect.DeepEqual(c, mcpauth.Challenge{}) {
			t.Errorf("%+v", c)
		}
		for _, s := range c.Scopes {
			if s == "" || strings.ContainsAny(s, "\" \\\t\r\n\x00") {
				t.Errorf("%q", s)
			}
		}
		if strings.ContainsAny(c.Metadata, "\r\n\x00") {
			t.Errorf("%q", c.Metadata)
		}
	})
}
