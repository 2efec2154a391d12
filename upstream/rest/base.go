package rest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/httpcall"
)

// bases is the address of the source, which may depend on the token in use.
type bases struct {
	fixed    *url.URL // nil if it depends
	template string
	tokens   []Value // by which it depends
	suffixes []string
	value    func(ctx context.Context, c *upstream.Call, member string) (string, error)
	last     atomic.Pointer[resolved]
}

type resolved struct {
	text string
	url  *url.URL
}

func newBases(o *Options, values map[string]string) (*bases, error) {
	text := o.BaseURL
	b := &bases{value: o.TokenValue}
	if text == "" {
		text = fill(o.Definition.BaseURL, values)
		names := placeholders(o.Definition.BaseURL)
		for _, v := range o.Definition.Values {
			if names[v.Name] && v.Token != "" {
				b.tokens = append(b.tokens, v)
			}
			if names[v.Name] && strings.ContainsAny(values[v.Name], `/\?#@`) && !strings.HasPrefix(o.Definition.BaseURL, "{"+v.Name+"}") {
				return nil, fmt.Errorf("values.%s: it stands inside the base URL and cannot have one of / \\ ? # @ in it", v.Name)
			}
			if names[v.Name] {
				b.suffixes = append(b.suffixes, v.Suffixes...)
			}
		}
	}
	if text == "" {
		return nil, errors.New("there is no base URL: neither the definition has one nor is one given")
	}
	if b.tokens != nil {
		if b.template = text; o.TokenValue == nil {
			return nil, errors.New("base_url: it depends on the token response, and there is none; give the base URL")
		}
		return b, nil
	}
	u, err := parseBase(text)
	if err == nil {
		err = b.check(u)
	}
	if err != nil {
		return nil, fmt.Errorf("the base URL %w", err)
	}
	b.fixed = u
	return b, nil
}

// check holds the host to the suffixes, at a boundary between labels.
func (b *bases) check(u *url.URL) error {
	if len(b.suffixes) == 0 {
		return nil
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if u.Scheme != "https" || !slices.ContainsFunc(b.suffixes, func(s string) bool {
		s = strings.TrimPrefix(s, ".")
		return host == s || strings.HasSuffix(host, "."+s)
	}) {
		return fmt.Errorf("must be https and its host end in one of %s", strings.Join(b.suffixes, ", "))
	}
	return nil
}

// get returns the address for a call.
func (b *bases) get(ctx context.Context, c *upstream.Call) (*url.URL, error) {
	if b.fixed != nil {
		return b.fixed, nil
	}
	values := make(map[string]string, len(b.tokens))
	for _, v := range b.tokens {
		text, err := b.value(ctx, c, v.Token)
		if err != nil {
			if ctx.Err() != nil {
				return nil, httpcall.Ended(ctx, false)
			}
			return nil, httpcall.Failure(err, false)
		}
		values[v.Name] = strings.TrimSuffix(text, "/")
	}
	text := fill(b.template, values)
	if last := b.last.Load(); last != nil && last.text == text {
		return last.url, nil
	}
	u, err := parseBase(text)
	if err == nil {
		err = b.check(u)
	}
	if err != nil {
		return nil, &upstream.Error{Kind: upstream.Denied, Public: "its sign-in names an address that the definition does not allow", Err: err}
	}
	b.last.Store(&resolved{text, u})
	return u, nil
}
