// Package connect is the web pages where a user connects an account of his own at
// a source, so that calls can be made in his name.
//
// Job: hand out links that are for one user and one source; find out whose
// browser it is that follows one; send it to the source's authorization server
// and take what it comes back with; offer to disconnect.
//
// It owns the tickets in the links, what is known of each browser, and everything
// that the pages say. It must not know how tokens are had and kept, nor how users
// are told from each other: it is handed functions for both.
//
// What the pages promise: a link is of use to the user whom it is for, who has to
// prove in that very browser that it is him; an answer of an authorization server
// counts in the browser that was sent there, once, and at the address of the
// source that it is for, so that no server can be given what another one has
// answered (RFC 9700, section 4.4.2.2).
package connect

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// Source is a source that users connect to. Its methods may be called from many
// goroutines at once.
type Source interface {
	// Connected says how far a user has got.
	Connected(ctx context.Context, p upstream.Principal) (Connection, error)
	// Begin begins what a user has not done yet. redirect is where the browser
	// comes back to.
	Begin(ctx context.Context, p upstream.Principal, redirect string) (Pending, error)
	// Disconnect gives back and forgets what the user has. left says that the
	// authorization server was not told of all of it.
	Disconnect(ctx context.Context, p upstream.Principal) (left bool, err error)
}

// Connection is how far a user has got.
type Connection struct {
	Done  bool   // nothing is left to do
	Some  bool   // there is something to be given back
	Next  string // what is to be allowed next, where there are several things; may be ""
	Where string // the host where the tokens come from, if it is known
}

// Pending is a signing in that has begun.
type Pending struct {
	URL string // where the browser goes
	// Mine reports whether a query is an answer to it. A query that is not changes
	// nothing.
	Mine func(query url.Values) bool
	// Finish takes the query that the browser has come back with. It is called
	// once.
	Finish func(ctx context.Context, query url.Values) error
}

// Login is a browser's user proving who he is by signing in.
type Login struct {
	URL    string
	Mine   func(query url.Values) bool
	Finish func(ctx context.Context, query url.Values) (upstream.Principal, error)
}

// Prover finds out whose browser it is. One of its fields is set.
type Prover struct {
	// SignIn sends the browser to sign in elsewhere; redirect is where it comes
	// back to.
	SignIn func(ctx context.Context, redirect string) (Login, error)
	// Token tells whose token it is that somebody has typed in.
	Token func(ctx context.Context, token string) (upstream.Principal, error)
}

// Options are what a [Site] is made of. All but Log are needed.
type Options struct {
	Base   string // the address under which browsers reach it: scheme://host[:port][/path]
	Key    []byte // seals tickets; at least 16 bytes
	Prover Prover
	Find   func(name string) (Source, bool)
	Log    *slog.Logger // nil discards
}

// Site is the pages, under /connect/.
type Site struct {
	printer
	opt      Options
	tickets  *tickets
	browsers *browsers
	guard    *http.CrossOriginProtection
	mux      *http.ServeMux
}

// New returns a site. It starts nothing.
func New(opt Options) (*Site, error) {
	at, err := url.Parse(opt.Base)
	switch {
	case err != nil, at.Host == "", at.Scheme != "https" && at.Scheme != "http", at.RawQuery != "", at.Fragment != "", at.User != nil:
		return nil, errors.New("connect: the address of the pages must be of the form https://host[:port]")
	case opt.Find == nil, (opt.Prover.SignIn == nil) == (opt.Prover.Token == nil):
		return nil, errors.New("connect: nothing to find sources with, or no one way to tell users")
	}
	opt.Base = strings.TrimRight(opt.Base, "/")
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	tickets, err := newTickets(opt.Key)
	if err != nil {
		return nil, err
	}
	s := &Site{opt: opt, tickets: tickets, browsers: newBrowsers(at.Scheme == "https"), guard: http.NewCrossOriginProtection(), mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /connect/callback", s.loginAnswer)
	s.mux.HandleFunc("GET /connect/callback/{source}", s.sourceAnswer)
	s.mux.HandleFunc("GET /connect/{source}", s.show)
	s.mux.HandleFunc("POST /connect/{source}", s.act)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { // also for other methods
		s.say(w, http.StatusNotFound, page{Title: "There is nothing here"})
	})
	return s, nil
}

// Page returns the address of the page where a user connects to a source. Each is
// good once, for ten minutes.
func (s *Site) Page(p upstream.Principal, source string) string {
	return s.at(source) + "?ticket=" + s.tickets.issue(p, source)
}

// Redirect is where a browser comes back to from the authorization server of a
// source; that server may have to know it beforehand.
func (s *Site) Redirect(source string) string {
	return s.opt.Base + "/connect/callback/" + url.PathEscape(source)
}

// LoginRedirect is where a browser comes back to that has proved whose it is.
func (s *Site) LoginRedirect() string { return s.opt.Base + "/connect/callback" }

func (s *Site) at(source string) string { return s.opt.Base + "/connect/" + url.PathEscape(source) }

// maxForm is how many bytes of a form are read.
const maxForm = 16 << 10

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if s.guard.Check(r) != nil {
		s.say(w, http.StatusForbidden, page{Title: "Nothing has changed", Text: []string{"Another page has sent this form. Open the link from your assistant yourself."}})
		return
	}
	s.mux.ServeHTTP(w, r)
}
