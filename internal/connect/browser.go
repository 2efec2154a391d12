package connect

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const (
	browserLasts = 15 * time.Minute
	maxBrowsers  = 10_000
	maxPending   = 8 // of one browser: tabs
)

// browser is what is known of one browser. Whoever has its cookie is it.
type browser struct {
	id      string
	form    string // comes with each form of its pages
	expires time.Time
	who     upstream.Principal // the zero value until it is proved
	awaited *ticket            // whom it has to be proved to be; nil if anybody will do
	source  string             // whose page it goes back to when it is proved
	pending []pending
}

// pending is an answer that a browser may come back with: to signing in at a
// source, or to proving who it is.
type pending struct {
	source string // "" for proving
	Pending
	login Login
}

func (p *pending) mine(query url.Values) bool {
	if p.source == "" {
		return p.login.Mine(query)
	}
	return p.Mine(query)
}

// browsers remembers the browsers. A browser is only looked at and changed under
// its lock.
type browsers struct {
	cookie string
	secure bool

	mu  sync.Mutex
	all map[string]*browser
}

func newBrowsers(secure bool) *browsers {
	b := &browsers{cookie: "bulkhead-connect", secure: secure, all: make(map[string]*browser)}
	if secure {
		b.cookie = "__Host-" + b.cookie // RFC 6265bis, section 4.1.3.2
	}
	return b
}

// with calls f with the browser that a request comes from; nil if it is not known.
// f must not wait.
func (b *browsers) with(r *http.Request, f func(*browser)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var known *browser
	if c, err := r.Cookie(b.cookie); err == nil {
		if known = b.all[c.Value]; known != nil && !time.Now().Before(known.expires) {
			delete(b.all, known.id)
			known = nil
		}
	}
	f(known)
}

// admit remembers a browser under a new cookie, in the place of old if that is not
// nil. b.mu is held.
func (b *browsers) admit(w http.ResponseWriter, old *browser, who upstream.Principal) *browser {
	if old != nil {
		delete(b.all, old.id)
	}
	b.makeRoom()
	n := &browser{id: rand.Text(), form: rand.Text(), who: who, expires: time.Now().Add(browserLasts)}
	b.all[n.id] = n
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // G124: it is secure wherever the pages are https
		Name: b.cookie, Value: n.id, Path: "/", Secure: b.secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(browserLasts.Seconds()), // it has to come along from the authorization server
	})
	return n
}

// makeRoom forgets those that have expired, or else some that are nobody's yet, or
// else any. b.mu is held.
func (b *browsers) makeRoom() {
	if len(b.all) < maxBrowsers {
		return
	}
	now := time.Now()
	for _, may := range []func(*browser) bool{
		func(o *browser) bool { return !now.Before(o.expires) },
		func(o *browser) bool { return !o.who.Valid() },
		func(*browser) bool { return true },
	} {
		for id, o := range b.all {
			if len(b.all) < maxBrowsers*9/10 {
				return
			}
			if may(o) {
				delete(b.all, id)
			}
		}
		if len(b.all) < maxBrowsers {
			return
		}
	}
}

// forget ends what is known of a browser.
func (b *browsers) forget(r *http.Request) {
	b.with(r, func(known *browser) {
		if known != nil {
			delete(b.all, known.id)
		}
	})
}

// expect notes that a browser has been sent somewhere.
func (b *browser) expect(p pending) {
	if len(b.pending) >= maxPending {
		b.pending = slices.Delete(b.pending, 0, 1)
	}
	b.pending = append(b.pending, p)
}

// take returns what a browser was sent for to which query is the answer, which
// counts once.
func (b *browser) take(source string, query url.Values) (pending, bool) {
	for i, p := range b.pending {
		if p.source == source && p.mine(query) {
			b.pending = slices.Delete(b.pending, i, i+1)
			return p, true
		}
	}
	return pending{}, false
}

// sent reports whether a form is of this browser's own pages.
func (b *browser) sent(form string) bool {
	return subtle.ConstantTimeCompare([]byte(form), []byte(b.form)) == 1
}
