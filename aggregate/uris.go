package aggregate

import (
	"cmp"
	"maps"
	"slices"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// claims are the lists whose entries claim URIs; a tool claims its page.
var claims = [...]upstream.List{upstream.Resources, upstream.Templates, upstream.Skills, upstream.Tools}

// uris says to which upstream of a view a URI leads that is on no list.
type uris struct {
	from      []*contents
	clash     *clash
	templates []claimed          // the most literal ones first
	room      int                // how many parts the upstream at hand may still have matched
	pages     map[string]*member // that tools are shown with
	schemes   map[string]*member // nil where several upstreams use one
	sole      *member            // who alone claims anything; nil if several do
}

// maxMatched is how many parts the templates of one upstream have together that
// URIs are matched with. What comes from a further one is still found by its
// scheme or its alias.
const maxMatched = 2000

// claimed is a template of one upstream.
type claimed struct {
	template
	m *member
}

// clash says which URIs several upstreams claim, or one that reads like an alias
// of what is another's. nil is none. It never changes.
type clash struct {
	of       map[string][]upstream.ID // by URI; sorted
	involved map[upstream.ID]bool
}

// expose returns the URI by which clients know uri of an upstream.
func (c *clash) expose(id upstream.ID, uri string) string {
	if c == nil || c.of[uri] == nil {
		return uri
	}
	return alias(id, uri)
}

// involves reports whether others claim a URI of the upstream's.
func (c *clash) involves(id upstream.ID) bool { return c != nil && c.involved[id] }

// newURIs makes the routes of a view, unless the ones before still hold.
func newURIs(members []*member, old *uris) *uris {
	u := &uris{pages: make(map[string]*member), schemes: make(map[string]*member)}
	for _, m := range members {
		for _, l := range claims {
			u.from = append(u.from, m.contents(l))
		}
	}
	if old != nil && slices.Equal(old.from, u.from) {
		return old
	}
	owners := make(map[string][]upstream.ID)
	several := false
	for _, m := range members {
		u.room = maxMatched
		for _, l := range claims {
			for _, t := range u.claimsOf(m, l) {
				if by := owners[t.uri]; len(by) == 0 || by[len(by)-1] != m.ID {
					owners[t.uri] = append(by, m.ID)
				}
				several = several || u.sole != nil && u.sole != m
				u.sole = m
				u.claim(m, l, t)
			}
		}
	}
	if several {
		u.sole = nil
	}
	slices.SortStableFunc(u.templates, func(x, y claimed) int { return cmp.Compare(y.literal, x.literal) })
	u.clash = newClash(owners, func(id upstream.ID) bool { return memberCalled(members, id) != nil })
	if old != nil && u.clash.equal(old.clash) {
		u.clash = old.clash // so that what hangs on it is not made anew
	}
	return u
}

// claimsOf returns the things on a list of m that claim a URI.
func (u *uris) claimsOf(m *member, l upstream.List) []thing {
	c := m.contents(l)
	if c == nil {
		return nil
	}
	if l != upstream.Tools {
		return c.offered
	}
	var out []thing
	for _, t := range c.offered {
		if t.uri != "" {
			out = append(out, t)
		}
	}
	return out
}

// claim notes one thing of m.
func (u *uris) claim(m *member, l upstream.List, t thing) {
	switch l {
	case upstream.Tools:
		u.pages[t.uri] = m // if another's too, it clashes, and this is never asked
	case upstream.Templates:
		if parsed, ok := parseTemplate(t.uri); ok && len(parsed.parts) <= u.room {
			u.templates = append(u.templates, claimed{parsed, m})
			u.room -= len(parsed.parts)
		}
	}
	if s := scheme(t.uri); s != "" {
		if by, known := u.schemes[s]; known && by != m {
			u.schemes[s] = nil
		} else {
			u.schemes[s] = m
		}
	}
}

func newClash(owners map[string][]upstream.ID, member func(upstream.ID) bool) *clash {
	maps.DeleteFunc(owners, func(uri string, by []upstream.ID) bool {
		id, _, ok := unalias(uri)
		return len(by) < 2 && !(ok && member(id))
	})
	if len(owners) == 0 {
		return nil
	}
	c := &clash{of: owners, involved: make(map[upstream.ID]bool)}
	for _, by := range owners {
		for _, id := range by {
			c.involved[id] = true
		}
	}
	return c
}

func (c *clash) equal(o *clash) bool {
	if c == nil || o == nil {
		return c == o
	}
	return maps.EqualFunc(c.of, o.of, slices.Equal[[]upstream.ID])
}

// locate finds the upstream that a URI leads to, and what that calls it. Where
// several claim it there is none, but the aliases to choose from. An alias means
// what it says, whoever lists something that reads like it.
func (o *offer) locate(uri string) (m *member, own string, aliases []string) {
	if id, original, ok := unalias(uri); ok {
		if m := memberCalled(o.members, id); m != nil {
			return m, original, nil
		}
	}
	for _, l := range []upstream.List{upstream.Resources, upstream.Skills} {
		if e := o.list(l).index[uri]; e != nil {
			return e.m, e.key, nil
		}
	}
	if c := o.uris.clash; c != nil && c.of[uri] != nil {
		return nil, "", aliasesOf(c.of[uri], uri)
	}
	switch by := o.uris.matching(uri); len(by) {
	case 0:
		return o.uris.guess(uri, o.members), uri, nil
	case 1:
		return memberCalled(o.members, by[0]), uri, nil
	default:
		return nil, "", aliasesOf(by, uri)
	}
}

// matching returns the upstreams that have the template which says most about a
// URI: the one with the longest literal text.
func (u *uris) matching(uri string) (by []upstream.ID) {
	most := -1
	for _, t := range u.templates {
		if t.literal < most {
			break
		}
		if t.match(uri) && !slices.Contains(by, t.m.ID) {
			by, most = append(by, t.m.ID), t.literal
		}
	}
	return by
}

// guess returns the upstream of a URI that is on no list and matches none; nil
// if several may have it.
func (u *uris) guess(uri string, members []*member) *member {
	if m := u.pages[uri]; m != nil {
		return m
	}
	if m := u.schemes[scheme(uri)]; m != nil {
		return m
	}
	if u.sole == nil && len(members) == 1 {
		if _, more := members[0].Adapter.(upstream.Lister); more {
			return members[0]
		}
	}
	return u.sole
}

func aliasesOf(by []upstream.ID, uri string) []string {
	out := make([]string, len(by))
	for i, id := range by {
		out[i] = alias(id, uri)
	}
	return out
}
