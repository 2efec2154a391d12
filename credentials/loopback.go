package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Loopback is where the browser comes back to after signing in (RFC 8252,
// section 7.3): this machine only.
type Loopback struct {
	Port int    // 0 takes a free one; servers that insist on one port need it fixed
	Path string // "" is /callback
	// Host is how the redirect URI names this machine: "" is 127.0.0.1; some
	// servers know localhost only. Either way it is 127.0.0.1 that is listened on.
	Host string
}

// Login has a person sign in. open is given the URL to show to a browser, https
// or http on this machine; an error of it ends the attempt. It waits until the
// browser has come back or ctx ends.
func (c *CodeFlow) Login(ctx context.Context, at Loopback, open func(url string) error) (Token, error) {
	fail := func(err error) (Token, error) {
		return Token{}, &TokenError{Name: c.Endpoint.Name, Trouble: Misconfigured, Err: err}
	}
	if err := c.Check(); err != nil {
		return fail(err)
	}
	if at.Path == "" {
		at.Path = "/callback"
	}
	if at.Host == "" {
		at.Host = "127.0.0.1"
	}
	if !loopback(at.Host) || !strings.HasPrefix(at.Path, "/") {
		return fail(errors.New("the redirect must be a path on 127.0.0.1 or localhost"))
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port)))
	if err != nil {
		return fail(fmt.Errorf("port %d for the redirect cannot be had: %w", at.Port, err))
	}
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return fail(errors.Join(errors.New("the redirect has no port"), listener.Close()))
	}
	back := url.URL{Scheme: "http", Host: net.JoinHostPort(at.Host, strconv.Itoa(addr.Port)), Path: at.Path}
	pending, err := c.Begin(back.String())
	if err != nil {
		return fail(errors.Join(err, listener.Close()))
	}
	answers := make(chan url.Values)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{Handler: awaited(ctx, pending, back, answers), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	var ended error
	served := make(chan struct{})
	go func() {
		defer close(served)
		ended = server.Serve(listener)
	}()
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // the page is still on its way
		defer cancel()
		if server.Shutdown(stop) != nil {
			_ = server.Close() // a browser that keeps its connection has had its page
		}
		<-served
	}()
	if err := open(pending.URL); err != nil {
		return fail(fmt.Errorf("the browser: %w", err))
	}
	select {
	case query := <-answers:
		return pending.Finish(ctx, query)
	case <-served:
		return fail(fmt.Errorf("waiting for the browser: %w", ended))
	case <-ctx.Done():
		return Token{}, &TokenError{Name: c.Endpoint.Name, Err: context.Cause(ctx)}
	}
}

// awaited answers the browser, and hands on the first answer to pending. What is
// forged or comes twice is refused and ends nothing: any page can send a browser
// here.
func awaited(ctx context.Context, pending *Pending, back url.URL, answers chan<- url.Values) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Connection", "close")
		say := func(status int, text string) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text+"\n") // a browser that has gone needs no page
		}
		query, err := url.ParseQuery(r.URL.RawQuery)
		switch {
		case r.Host != back.Host, r.URL.Path != back.Path:
			say(http.StatusNotFound, "There is nothing here.")
			return
		case r.Method != http.MethodGet:
			say(http.StatusMethodNotAllowed, "This is for a browser that comes back from signing in.")
			return
		case err != nil, !pending.Mine(query):
			say(http.StatusBadRequest, "This is not an answer to the signing in that is under way. Nothing has changed.")
			return
		}
		select {
		case answers <- query:
		case <-ctx.Done():
			say(http.StatusGone, "The signing in has ended already.")
			return
		}
		if query.Has("error") {
			say(http.StatusOK, "You are not signed in. The command that you started says more. You can close this page.")
			return
		}
		say(http.StatusOK, "Thank you. The command that you started says how it went. You can close this page.")
	})
}
