package vendors

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Client is who signs in at a stand-in.
type Client struct{ ID, Secret string }

// matches reports whether a request for a token comes from the client: by the
// Authorization field (RFC 6749, section 2.3.1), or by its body.
func (c Client) matches(r *http.Request, form record, basic bool) bool {
	if !basic {
		return form.text("client_id") == c.ID && form.text("client_secret") == c.Secret && r.Header.Get("Authorization") == ""
	}
	id, secret, ok := r.BasicAuth()
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	return ok && err1 == nil && err2 == nil && id == c.ID && secret == c.Secret
}

// Issued are those that a stand-in has issued. It is safe for concurrent use.
type Issued struct {
	mu      sync.Mutex
	name    string
	issued  int
	access  map[string]issue
	refresh map[string]issue
	spent   map[string]string // refresh tokens that were replaced, and whose they were
	count   map[string]int    // requests by grant
}

type issue struct {
	family  string // of one signing in
	scopes  []string
	access  string
	refresh string // "" without
	ends    time.Time
}

func newIssued(name string) *Issued {
	return &Issued{name: name, access: map[string]issue{}, refresh: map[string]issue{}, spent: map[string]string{}, count: map[string]int{}}
}

// SignIn is what a person's consent brings.
func (t *Issued) SignIn(scopes ...string) (access, refresh string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.mint("", scopes, true, time.Hour)
	return i.access, i.refresh
}

// Granted returns how often tokens were asked for by a grant, such as
// refresh_token.
func (t *Issued) Granted(grant string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count[grant]
}

// EndAll makes all access tokens end now, as if their time were over.
func (t *Issued) EndAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for a, i := range t.access {
		i.ends = time.Time{}
		t.access[a] = i
	}
}

// Spend makes all refresh tokens as if somebody else had used them.
func (t *Issued) Spend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for r, i := range t.refresh {
		t.spent[r] = i.family
	}
	clear(t.refresh)
}

// mint issues a token; t.mu is held. A new family is begun where it is "".
func (t *Issued) mint(family string, scopes []string, refresh bool, life time.Duration) issue {
	t.issued++
	if family == "" {
		family = fmt.Sprint(t.issued)
	}
	i := issue{family: family, scopes: scopes, access: fmt.Sprintf("%s-access-%d", t.name, t.issued), ends: time.Now().Add(life)}
	if refresh {
		i.refresh = fmt.Sprintf("%s-refresh-%d", t.name, t.issued)
		t.refresh[i.refresh] = i
	}
	t.access[i.access] = i
	return i
}

// drop forgets all tokens of a family; t.mu is held.
func (t *Issued) drop(family string) {
	for a, i := range t.access {
		if i.family == family {
			delete(t.access, a)
		}
	}
	for r, i := range t.refresh {
		if i.family == family {
			delete(t.refresh, r)
			t.spent[r] = family
		}
	}
}

// state of a token that a request bears.
type state uint8

const (
	tokenUnknown state = iota
	tokenEnded
	tokenGood
)

// bearer looks at the token of a request.
func (t *Issued) bearer(r *http.Request) (issue, state) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return issue{}, tokenUnknown
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.access[text]
	switch {
	case !ok:
		return issue{}, tokenUnknown
	case time.Now().After(i.ends):
		return i, tokenEnded
	}
	return i, tokenGood
}

// has reports whether one of the scopes was granted.
func (i issue) has(scopes ...string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(i.scopes, s) })
}
