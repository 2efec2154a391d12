package connect

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

// exchangeLimit is how long an authorization server may take, whether the browser
// waits or not: a code that was sent is spent.
const exchangeLimit = 30 * time.Second

// show is the page of a source. Whoever has not proved who he is does that first.
func (s *Site) show(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("source")
	source, ok := s.opt.Find(name)
	if !ok {
		s.say(w, http.StatusNotFound, page{Title: "There is nothing here", Text: []string{"Nobody connects to a source of this name for himself."}})
		return
	}
	if r.URL.Query().Has("ticket") {
		s.invited(w, r, name)
		return
	}
	var who upstream.Principal
	var form string
	s.browsers.with(r, func(b *browser) {
		if b != nil && b.who.Valid() {
			who, form = b.who, b.form
		}
	})
	if !who.Valid() {
		s.prove(w, r, name, nil)
		return
	}
	have, err := source.Connected(r.Context(), who)
	if err != nil {
		s.trouble(w, name, who, "what is connected cannot be looked up", err)
		return
	}
	s.say(w, http.StatusOK, overview(name, who, form, have))
}

// invited takes a browser that comes with a ticket.
func (s *Site) invited(w http.ResponseWriter, r *http.Request, name string) {
	k, err := s.tickets.open(r.URL.Query().Get("ticket"), name)
	if err != nil {
		s.stale(w, err)
		return
	}
	var who upstream.Principal
	s.browsers.with(r, func(b *browser) {
		if b != nil {
			who = b.who
		}
	})
	switch {
	case !who.Valid():
		s.prove(w, r, name, &k)
	case who != k.who:
		s.strange(w, name, who)
	default:
		if err := s.tickets.use(k); err != nil {
			s.stale(w, err)
			return
		}
		s.send(w, r, s.at(name))
	}
}

// prove has a browser prove whose it is.
func (s *Site) prove(w http.ResponseWriter, r *http.Request, name string, awaited *ticket) {
	var login Login
	if s.opt.Prover.SignIn != nil {
		var err error
		if login, err = s.opt.Prover.SignIn(r.Context(), s.LoginRedirect()); err != nil {
			s.trouble(w, name, upstream.Principal{}, "signing in is not possible at the moment", err)
			return
		}
	}
	form := ""
	s.browsers.with(r, func(b *browser) {
		if b == nil || b.who.Valid() {
			b = s.browsers.admit(w, nil, upstream.Principal{})
		}
		b.awaited, b.source, form = awaited, name, b.form
		if login.Mine != nil {
			b.pending = nil // only the last page that was opened goes on
			b.expect(pending{login: login})
		}
	})
	if login.Mine != nil {
		s.send(w, r, login.URL)
		return
	}
	s.say(w, http.StatusOK, tokenForm(name, form))
}

// loginAnswer takes a browser that comes back from proving whose it is.
func (s *Site) loginAnswer(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var p pending
	var ok bool
	s.browsers.with(r, func(b *browser) {
		if b != nil {
			p, ok = b.take("", query)
		}
	})
	if !ok {
		s.unasked(w)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeLimit)
	defer cancel()
	who, err := p.login.Finish(ctx, query)
	if err != nil {
		s.trouble(w, "", upstream.Principal{}, "signing in has failed", err)
		return
	}
	s.proved(w, r, who)
}

// proved takes a browser whose user is known now. If it has followed a link for
// another user, it goes no further.
func (s *Site) proved(w http.ResponseWriter, r *http.Request, who upstream.Principal) {
	var name string
	var used error
	var other bool
	s.browsers.with(r, func(b *browser) {
		if b == nil {
			used = errExpired
			return
		}
		name, other = b.source, b.awaited != nil && b.awaited.who != who
		if !other && b.awaited != nil {
			used = s.tickets.use(*b.awaited)
		}
		if other || used != nil {
			delete(s.browsers.all, b.id)
			return
		}
		s.browsers.admit(w, b, who) // under another cookie than before
	})
	switch {
	case used != nil:
		s.stale(w, used)
	case other:
		s.strange(w, name, who)
	default:
		s.send(w, r, s.at(name))
	}
}

// act does what a form of a page asks for.
func (s *Site) act(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("source")
	source, ok := s.opt.Find(name)
	if !ok || r.ParseForm() != nil {
		s.unasked(w)
		return
	}
	var who upstream.Principal
	var ours bool
	s.browsers.with(r, func(b *browser) {
		if b != nil {
			who, ours = b.who, b.sent(r.PostForm.Get("form"))
		}
	})
	switch do := r.PostForm.Get("do"); {
	case !ours:
		s.unasked(w)
	case do == "prove" && !who.Valid() && s.opt.Prover.Token != nil:
		s.typed(w, r, name)
	case !who.Valid():
		s.unasked(w)
	case do == "connect":
		s.begin(w, r, name, source, who)
	case do == "disconnect":
		s.disconnect(w, r, name, source, who)
	case do == "leave":
		s.browsers.forget(r)
		s.say(w, http.StatusOK, page{Title: "Signed out of this page", Text: []string{"What you have connected stays connected."}})
	default:
		s.unasked(w)
	}
}

// typed takes a token that somebody has typed in.
func (s *Site) typed(w http.ResponseWriter, r *http.Request, name string) {
	who, err := s.opt.Prover.Token(r.Context(), r.PostForm.Get("token"))
	if err != nil || !who.Valid() {
		s.opt.Log.Warn("connect: a token that nobody has", "upstream", name)
		s.say(w, http.StatusForbidden, page{Title: "This token is nobody's", Text: []string{"Nothing has changed. Go back and enter the token that your assistant uses for Bulkhead."}})
		return
	}
	s.proved(w, r, who)
}

// begin sends a browser to the authorization server of a source. There is a page
// in between that names it: that a form may lead to another site is forbidden by
// the policy of our pages.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, name string, source Source, who upstream.Principal) {
	ctx, cancel := context.WithTimeout(r.Context(), exchangeLimit)
	defer cancel()
	p, err := source.Begin(ctx, who, s.Redirect(name))
	if err != nil {
		s.trouble(w, name, who, "connecting could not be begun", err)
		return
	}
	at, err := url.Parse(p.URL)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" {
		s.trouble(w, name, who, "the authorization server has an address that no browser can be sent to", errors.New("no web address"))
		return
	}
	known := false
	s.browsers.with(r, func(b *browser) {
		if b != nil && b.who == who {
			b.expect(pending{source: name, Pending: p})
			known = true
		}
	})
	if !known {
		s.stale(w, errExpired)
		return
	}
	w.Header().Set("Refresh", "1; url="+p.URL)
	s.say(w, http.StatusOK, page{Title: "Going to " + at.Host, Text: []string{"Sign in there and allow what " + name + " is to be used for."},
		Link: p.URL, LinkText: "Go on to " + at.Host})
}

// sourceAnswer takes a browser that comes back from the authorization server of a
// source.
func (s *Site) sourceAnswer(w http.ResponseWriter, r *http.Request) {
	name, query := r.PathValue("source"), r.URL.Query()
	var p pending
	var who upstream.Principal
	ok := false
	s.browsers.with(r, func(b *browser) {
		if b != nil && b.who.Valid() {
			who = b.who
			p, ok = b.take(name, query)
		}
	})
	if !ok {
		s.unasked(w)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeLimit)
	defer cancel()
	if err := p.Finish(ctx, query); err != nil {
		if query.Has("error") {
			s.opt.Log.Info("connect: declined", "upstream", name, "principal", who.String())
			s.say(w, http.StatusOK, page{Title: "Not connected", Text: []string{"The sign-in at " + name + " was declined or has failed there. Nothing has changed."},
				Link: s.at(name), LinkText: "Try again"})
			return
		}
		s.trouble(w, name, who, "the answer to signing in could not be used", err)
		return
	}
	s.opt.Log.Info("connect: connected", "upstream", name, "principal", who.String())
	s.send(w, r, s.at(name))
}

func (s *Site) disconnect(w http.ResponseWriter, r *http.Request, name string, source Source, who upstream.Principal) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeLimit)
	defer cancel()
	left, err := source.Disconnect(ctx, who)
	if err != nil {
		s.trouble(w, name, who, "disconnecting has failed", err)
		return
	}
	s.opt.Log.Info("connect: disconnected", "upstream", name, "principal", who.String(), "given_back", !left)
	text := []string{"Bulkhead makes no calls to " + name + " in your name any more."}
	if left {
		text = append(text, "The server there could not be told, or takes nothing back: remove Bulkhead from the list of connected applications there too.")
	}
	s.say(w, http.StatusOK, page{Title: "Disconnected", Text: text, Link: s.at(name), LinkText: "Connect again"})
}
