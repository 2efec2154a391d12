package connect

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
)

const style = `body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;color:#1b1f24}` +
	`button,input{font:inherit;padding:.4rem .9rem;margin:.3rem .5rem .3rem 0}form{display:inline}small{color:#57606a}`

// page is what a page says. Everything in it is escaped.
type page struct {
	Title, Link, LinkText string // Link is a web address
	Text                  []string
	Who                   string   // as whom the browser is known
	At, Form              string   // where buttons lead, and what goes with them
	Buttons               []button // none if At is ""
	Field                 bool     // the only button sends a token
}

type button struct{ Do, Text string }

// html is the page. It is put together by hand: text/template, on which
// html/template rests, finds methods by their names, which has the linker keep every
// exported method of the program.
func (p page) html() string {
	var b strings.Builder
	b.WriteString(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>` + html.EscapeString(p.Title) + `</title><style>` + style + `</style></head>
<body>`)
	markup(&b, "<h1>%s</h1>\n", p.Title)
	for _, text := range p.Text {
		markup(&b, "<p>%s</p>\n", text)
	}
	if p.Link != "" {
		markup(&b, `<p><a href="%s" rel="noreferrer">%s</a></p>`+"\n", p.Link, p.LinkText)
	}
	for _, button := range p.Buttons {
		markup(&b, `<form method="post" action="%s"><input type="hidden" name="form" value="%s"><input type="hidden" name="do" value="%s">`, p.At, p.Form, button.Do)
		if p.Field {
			b.WriteString(`<input type="password" name="token" autocomplete="off" required aria-label="token">`)
		}
		markup(&b, "<button>%s</button></form>\n", button.Text)
	}
	if p.Who != "" {
		markup(&b, "<p><small>You are %s.</small></p>\n", p.Who)
	}
	b.WriteString("</body></html>\n")
	return b.String()
}

// markup adds texts to a page, escaped for between tags and for values in quotes.
func markup(b *strings.Builder, format string, texts ...string) {
	escaped := make([]any, len(texts))
	for i, text := range texts {
		escaped[i] = html.EscapeString(text)
	}
	_, _ = fmt.Fprintf(b, format, escaped...) // a builder takes everything
}

// printer answers browsers.
type printer struct{}

// header sets what every answer has: no script and nothing from elsewhere, kept by
// nobody, and no word to other sites of where the browser comes from.
func (printer) header(w http.ResponseWriter) {
	sum := sha256.Sum256([]byte(style))
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
}

func (s printer) say(w http.ResponseWriter, status int, p page) {
	s.header(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, p.html()) //nolint:gosec // G705: escaped, every text; and a browser that has gone needs no page
}

// send sends a browser on.
func (s printer) send(w http.ResponseWriter, r *http.Request, to string) {
	s.header(w)
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // G710: to our own pages, or the issuer's that is configured
}

// again is what everybody can do about a link that is of no use.
const again = "Make the call again that led here, or ask your assistant to: it will be answered with a new link."

func (s printer) stale(w http.ResponseWriter, err error) {
	s.say(w, http.StatusGone, page{Title: "This link is of no use", Text: []string{sentence(err.Error()), again}})
}

func (s printer) unasked(w http.ResponseWriter) {
	s.say(w, http.StatusBadRequest, page{Title: "Nothing has changed", Text: []string{
		"This is not an answer to anything that this browser was sent for, or that was more than a quarter of an hour ago, or cookies are switched off.", again}})
}

// strange is for a browser whose user followed a link for another.
func (s *Site) strange(w http.ResponseWriter, name string, who upstream.Principal) {
	s.opt.Log.Warn("connect: a link for another user", "upstream", name, "principal", who.String())
	s.say(w, http.StatusForbidden, page{Title: "This link is for somebody else", Who: who.String(), Text: []string{
		"Nothing has changed. If somebody has sent it to you, do not follow it: what you connected there would be used in their name.",
		"If you have two accounts, sign in with the one that your assistant uses."}})
}

// trouble says that something failed. What an authorization server has said is for
// the log.
func (s *Site) trouble(w http.ResponseWriter, name string, who upstream.Principal, what string, err error) {
	s.opt.Log.Warn("connect: "+what, "upstream", name, "principal", who.String(), "error", err)
	p := page{Title: "That did not work", Text: []string{sentence(what), "If it goes on, tell whoever runs Bulkhead; the log says more."}}
	if name != "" {
		p.Link, p.LinkText = s.at(name), "Try again"
	}
	s.say(w, http.StatusBadGateway, p)
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func overview(name string, who upstream.Principal, form string, have Connection) page {
	p := page{Title: "Connect " + name, Who: who.String(), At: name, Form: form}
	where := ""
	if have.Where != "" {
		where = " at " + have.Where
	}
	switch {
	case have.Done:
		p.Title = "Connected to " + name
		p.Text = []string{"Calls to " + name + " are made with your own account" + where + ". You can close this page and go back to your assistant."}
	case have.Next != "":
		p.Text = []string{"One thing is left to be allowed" + where + ": " + have.Next + "."}
		p.Buttons = append(p.Buttons, button{"connect", "Continue"})
	default:
		p.Text = []string{"Bulkhead will make calls to " + name + " with your own account" + where + ". You can take that back on this page at any time."}
		p.Buttons = append(p.Buttons, button{"connect", "Connect"})
	}
	if have.Some || have.Done {
		p.Buttons = append(p.Buttons, button{"disconnect", "Disconnect"})
	}
	p.Buttons = append(p.Buttons, button{"leave", "Sign out of this page"})
	return p
}

func tokenForm(name, form string) page {
	return page{Title: "Connect " + name, At: name, Form: form, Field: true, Buttons: []button{{"prove", "Go on"}},
		Text: []string{"Enter the token that your assistant uses for Bulkhead, to show that it is you."}}
}
