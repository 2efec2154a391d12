package connect_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-mcp/bulkhead/internal/connect"
	"github.com/bulkhead-mcp/bulkhead/upstream"
)

var (
	alice = upstream.NewPrincipal("https://login", "alice")
	bob   = upstream.NewPrincipal("https://login", "bob")
	key   = []byte("0123456789abcdef0123456789abcdef")
)

// account is a source with an authorization server of which only the answers are
// there.
type account struct {
	mu       sync.Mutex
	state    string // of the last that was begun
	done     map[upstream.Principal]string
	finished int
	fail     error
}

func (a *account) Connected(_ context.Context, p upstream.Principal) (connect.Connection, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.done[p]
	return connect.Connection{Done: ok, Some: ok, Where: "login.crm.example"}, a.fail
}

func (a *account) Begin(_ context.Context, p upstream.Principal, redirect string) (connect.Pending, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return connect.Pending{}, a.fail
	}
	state := rand.Text()
	a.state = state
	return connect.Pending{
		URL:  "https://login.crm.example/authorize?" + url.Values{"state": {state}, "redirect_uri": {redirect}}.Encode(),
		Mine: func(q url.Values) bool { return q.Get("state") == state },
		Finish: func(_ context.Context, q url.Values) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.finished++
			if q.Has("error") || q.Get("iss") == "https://evil" {
				return errors.New("refused")
			}
			a.done[p] = q.Get("code")
			return nil
		},
	}, nil
}

func (a *account) Disconnect(_ context.Context, p upstream.Principal) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.done, p)
	return true, a.fail
}

func (a *account) of(p upstream.Principal) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done[p]
}

// world is a site with two sources, and who signs in next at the issuer.
type world struct {
	*connect.Site
	sources map[string]*account
	mu      sync.Mutex
	next    upstream.Principal
}

const base = "https://bulkhead.example"

func newWorld(t *testing.T, byToken bool) *world {
	t.Helper()
	w := &world{sources: map[string]*account{"crm": {done: map[upstream.Principal]string{}}, "hr": {done: map[upstream.Principal]string{}}}}
	prover := connect.Prover{SignIn: func(_ context.Context, redirect string) (connect.Login, error) {
		state := rand.Text()
		return connect.Login{
			URL:  "https://login/authorize?" + url.Values{"state": {state}, "redirect_uri": {redirect}}.Encode(),
			Mine: func(q url.Values) bool { return q.Get("state") == state },
			Finish: func(context.Context, url.Values) (upstream.Principal, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.next, nil
			},
		}, nil
	}}
	if byToken {
		prover = connect.Prover{Token: func(_ context.Context, token string) (upstream.Principal, error) {
			if who, ok := map[string]upstream.Principal{"alices": alice, "bobs": bob}[token]; ok {
				return who, nil
			}
			return upstream.Principal{}, errors.New("nobody's")
		}}
	}
	var err error
	w.Site, err = connect.New(connect.Options{Base: base, Key: key, Prover: prover, Find: func(name string) (connect.Source, bool) {
		a, ok := w.sources[name]
		return a, ok
	}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// browser is one, with its cookies, of which the site sees nothing but requests.
type browser struct {
	t   *testing.T
	w   *world
	jar *cookiejar.Jar
}

func (w *world) browser(t *testing.T) *browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &browser{t, w, jar}
}

type answer struct {
	status  int
	to      string // where it redirects
	page    string
	headers http.Header
}

func (b *browser) do(method, to string, form url.Values, headers ...string) answer {
	b.t.Helper()
	at, err := url.Parse(to)
	if err != nil {
		b.t.Fatal(err)
	}
	r := httptest.NewRequest(method, to, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	for _, c := range b.jar.Cookies(at) {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	b.w.ServeHTTP(rec, r)
	resp := rec.Result()
	b.jar.SetCookies(at, resp.Cookies())
	text, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Location"), string(text), resp.Header}
}

func (b *browser) open(to string) answer { return b.do(http.MethodGet, to, nil) }

// back is where a browser is sent from an authorization server, with this answer.
func back(to string, more ...string) string {
	u, _ := url.Parse(to) // it was one
	q := u.Query()
	out := url.Values{"state": q["state"], "code": {"a-code"}}
	for i := 0; i < len(more); i += 2 {
		out.Set(more[i], more[i+1])
	}
	return q.Get("redirect_uri") + "?" + out.Encode()
}

// follow opens a link and signs in at the issuer as who.
func (b *browser) follow(link string, who upstream.Principal) answer {
	b.t.Helper()
	b.w.mu.Lock()
	b.w.next = who
	b.w.mu.Unlock()
	a := b.open(link)
	if !strings.HasPrefix(a.to, "https://login/authorize?") {
		return a
	}
	if a = b.open(back(a.to)); a.to == "" {
		return a
	}
	return b.open(a.to)
}

var formValue = regexp.MustCompile(`name="form" value="([^"]+)"`)

// press presses a button of a page.
func (b *browser) press(page answer, source, do string, more ...string) answer {
	b.t.Helper()
	form := url.Values{"do": {do}}
	if m := formValue.FindStringSubmatch(page.page); m != nil {
		form.Set("form", m[1])
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return b.do(http.MethodPost, base+"/connect/"+source, form)
}

// sent is where a page sends a browser on to.
func sent(a answer) string {
	_, to, _ := strings.Cut(a.headers.Get("Refresh"), "url=")
	return to
}

func TestAUserConnectsAndDisconnects(t *testing.T) {
	w := newWorld(t, false)
	b := w.browser(t)
	page := b.follow(w.Page(alice, "crm"), alice)
	if page.status != http.StatusOK || !strings.Contains(page.page, "Connect crm") || !strings.Contains(page.page, "https://login/alice") {
		t.Fatalf("%d %s", page.status, page.page)
	}
	on := b.press(page, "crm", "connect")
	if on.status != http.StatusOK || !strings.HasPrefix(sent(on), "https://login.crm.example/authorize?") || !strings.Contains(on.page, "Going to login.crm.example") {
		t.Fatalf("%d %v %s", on.status, on.headers, on.page)
	}
	done := b.open(back(sent(on)))
	if done.to != base+"/connect/crm" || w.sources["crm"].of(alice) != "a-code" {
		t.Fatalf("%+v", done)
	}
	page = b.open(done.to)
	if !strings.Contains(page.page, "Connected to crm") {
		t.Fatal(page.page)
	}
	if again := b.open(back(sent(on))); again.status != http.StatusBadRequest || w.sources["crm"].finished != 1 {
		t.Errorf("an answer counts twice: %d %s", again.status, again.page)
	}
	gone := b.press(page, "crm", "disconnect")
	if w.sources["crm"].of(alice) != "" || !strings.Contains(gone.page, "remove Bulkhead from the list") {
		t.Errorf("%s", gone.page)
	}
	left := b.press(page, "crm", "leave")
	if left.status != http.StatusOK || !strings.HasPrefix(b.open(base+"/connect/crm").to, "https://login/authorize?") {
		t.Errorf("%d %s", left.status, left.page)
	}
}

func TestLinksAreForOneUserOnce(t *testing.T) {
	for _, byToken := range []bool{false, true} {
		w := newWorld(t, byToken)
		enter := func(b *browser, link string, who upstream.Principal, token string) answer {
			if !byToken {
				return b.follow(link, who)
			}
			a := b.open(link)
			if !strings.Contains(a.page, `name="token"`) {
				return a
			}
			if a = b.press(a, "crm", "prove", "token", token); a.to == "" {
				return a
			}
			return b.open(a.to)
		}
		link := w.Page(alice, "crm")
		other := w.browser(t)
		if a := enter(other, link, bob, "bobs"); a.status != http.StatusForbidden || !strings.Contains(a.page, "for somebody else") {
			t.Errorf("another user's link: %d %s", a.status, a.page)
		}
		if a := other.press(answer{}, "crm", "connect"); a.status != http.StatusBadRequest {
			t.Errorf("after another user's link: %d", a.status)
		}
		mine := w.browser(t)
		if a := enter(mine, link, alice, "alices"); a.status != http.StatusOK {
			t.Errorf("the link of one who was tricked: %d %s", a.status, a.page)
		}
		for name, b := range map[string]*browser{"same": mine, "another": w.browser(t)} {
			if a := enter(b, link, alice, "alices"); a.status != http.StatusGone || !strings.Contains(a.page, "used already") {
				t.Errorf("%s browser, used link: %d %s", name, a.status, a.page)
			}
		}
		if a := mine.open(w.Page(bob, "crm")); a.status != http.StatusForbidden {
			t.Errorf("signed in, with a link for another: %d", a.status)
		}
		if a := mine.open(w.Page(alice, "hr")); a.to != base+"/connect/hr" {
			t.Errorf("signed in, with a link for another source: %+v", a)
		}
		ticket := regexp.MustCompile(`ticket=.*`).FindString(w.Page(alice, "crm"))
		middle := len(ticket) / 2
		for name, link := range map[string]string{
			"another source": base + "/connect/hr?" + ticket,
			"tampered":       base + "/connect/crm?" + ticket[:middle] + string(ticket[middle]^1) + ticket[middle+1:],
			"empty":          base + "/connect/crm?ticket=",
			"cut":            base + "/connect/crm?" + ticket[:20],
		} {
			if a := w.browser(t).open(link); a.status != http.StatusGone || !strings.Contains(a.page, "not one that was made here") {
				t.Errorf("%s: %d %s", name, a.status, a.page)
			}
		}
	}
}

func TestLinksExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false)
		link, begun := w.Page(alice, "crm"), w.Page(alice, "crm")
		b, late := w.browser(t), w.browser(t)
		to := late.open(begun).to
		page := b.follow(w.Page(alice, "hr"), alice)
		time.Sleep(10 * time.Minute)
		if a := w.browser(t).open(link); a.status != http.StatusGone || !strings.Contains(a.page, "older than ten minutes") {
			t.Errorf("%d %s", a.status, a.page)
		}
		w.next = alice
		if a := late.open(back(to)); a.status != http.StatusGone {
			t.Errorf("proved too late: %d %s", a.status, a.page)
		}
		if a := b.press(page, "hr", "connect"); a.status != http.StatusOK {
			t.Errorf("%d", a.status)
		}
		time.Sleep(5 * time.Minute)
		if a := b.press(page, "hr", "connect"); a.status != http.StatusBadRequest {
			t.Errorf("a browser is known for ever: %d", a.status)
		}
	})
}

// An answer counts in the browser, and at the source, that it is for.
func TestAnswersThatAreNotForUs(t *testing.T) {
	w := newWorld(t, false)
	a, b := w.browser(t), w.browser(t)
	toCRM := sent(a.press(a.follow(w.Page(alice, "crm"), alice), "crm", "connect"))
	toHR := sent(a.press(a.open(base+"/connect/hr"), "hr", "connect"))
	b.follow(w.Page(bob, "crm"), bob)
	for name, r := range map[string]answer{
		"another user's browser":    b.open(back(toCRM)),
		"no browser of ours":        w.browser(t).open(back(toCRM)),
		"at another source":         a.open(strings.Replace(back(toCRM), "/callback/crm", "/callback/hr", 1)),
		"another source's state":    a.open(strings.Replace(back(toHR), "/callback/hr", "/callback/crm", 1)),
		"as if it were for signing": a.open(strings.Replace(back(toCRM), "/callback/crm", "/callback", 1)),
		"no state":                  a.open(base + "/connect/callback/crm?code=x"),
		"a source that is not":      a.open(base + "/connect/callback/none?code=x"),
	} {
		if r.status != http.StatusBadRequest || w.sources["crm"].finished+w.sources["hr"].finished > 0 {
			t.Errorf("%s: %d %s", name, r.status, r.page)
		}
	}
	if r := a.open(back(toCRM, "iss", "https://evil")); r.status != http.StatusBadGateway || strings.Contains(r.page, "refused") {
		t.Errorf("another issuer: %d %s", r.status, r.page)
	}
	if r := a.open(back(toHR, "error", "access_denied", "error_description", "<b>no</b>")); r.status != http.StatusOK || !strings.Contains(r.page, "Not connected") || strings.Contains(r.page, "<b>") {
		t.Errorf("declined: %d %s", r.status, r.page)
	}
	if w.sources["crm"].of(alice)+w.sources["hr"].of(alice) != "" {
		t.Error("somebody is connected")
	}
}

func TestFormsOfOthers(t *testing.T) {
	w := newWorld(t, false)
	b := w.browser(t)
	page := b.follow(w.Page(alice, "crm"), alice)
	form := url.Values{"do": {"connect"}, "form": {formValue.FindStringSubmatch(page.page)[1]}}
	for name, a := range map[string]answer{
		"cross-site":       b.do(http.MethodPost, base+"/connect/crm", form, "Sec-Fetch-Site", "cross-site"),
		"of another site":  b.do(http.MethodPost, base+"/connect/crm", form, "Sec-Fetch-Site", "", "Origin", "https://evil.example"),
		"without its mark": b.press(answer{}, "crm", "connect"),
		"another's mark":   b.press(w.browser(t).follow(w.Page(bob, "crm"), bob), "crm", "connect"),
		"unknown deed":     b.press(page, "crm", "delete"),
		"too long":         b.press(page, "crm", "connect", "token", strings.Repeat("x", 20<<10)),
		"unknown source":   b.press(page, "none", "connect"),
		"by token":         b.press(page, "crm", "prove", "token", "alices"),
		"PUT":              b.do(http.MethodPut, base+"/connect/crm", form),
	} {
		if a.status/100 != 4 || sent(a) != "" {
			t.Errorf("%s: %d %s", name, a.status, a.page)
		}
	}
}

// What every answer has, and that nothing in a page is taken for markup.
func TestPagesAreHarmless(t *testing.T) {
	w := newWorld(t, false)
	w.sources["crm"].fail = errors.New("secret-detail")
	odd := upstream.NewPrincipal("https://login", `<script>alert(1)</script>`)
	b := w.browser(t)
	pages := map[string]answer{
		"trouble":  b.follow(w.Page(alice, "crm"), alice),
		"odd":      w.browser(t).follow(w.Page(odd, "hr"), odd),
		"nothing":  b.open(base + "/connect/"),
		"unknown":  b.open(base + "/connect/none"),
		"stale":    b.open(base + "/connect/crm?ticket=%3Cscript%3E"),
		"unasked":  b.open(base + "/connect/callback"),
		"redirect": w.browser(t).open(w.Page(alice, "hr")),
	}
	for name, a := range pages {
		h := a.headers
		csp := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || !strings.Contains(csp, "form-action 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") ||
			h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, h)
		}
		if strings.Contains(a.page, "<script") || strings.Contains(a.page, "secret-detail") {
			t.Errorf("%s: %s", name, a.page)
		}
	}
	if !strings.Contains(pages["odd"].page, "&lt;script&gt;alert") || pages["trouble"].status != http.StatusBadGateway {
		t.Errorf("%s\n%s", pages["odd"].page, pages["trouble"].page)
	}
	for _, c := range (&http.Response{Header: pages["redirect"].headers}).Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
			t.Errorf("%+v", c)
		}
	}
}

// Whoever proves who he is has another cookie than before: one that was foisted on
// him is worth nothing.
func TestCookieChangesWithProof(t *testing.T) {
	w := newWorld(t, false)
	b := w.browser(t)
	to := b.open(w.Page(alice, "crm")).to
	at, _ := url.Parse(base)
	foisted := &browser{t, w, func() *cookiejar.Jar { j, _ := cookiejar.New(nil); j.SetCookies(at, b.jar.Cookies(at)); return j }()}
	before := b.jar.Cookies(at)[0].Value
	w.next = alice
	b.open(back(to))
	if now := b.jar.Cookies(at); len(now) != 1 || now[0].Value == before {
		t.Errorf("%v", now)
	}
	if a := foisted.open(base + "/connect/crm"); !strings.HasPrefix(a.to, "https://login/") {
		t.Errorf("%d %s", a.status, a.page)
	}
}

func TestSitesThatMakeNoSense(t *testing.T) {
	find := func(string) (connect.Source, bool) { return nil, false }
	prove := connect.Prover{Token: func(context.Context, string) (upstream.Principal, error) { return alice, nil }}
	for name, o := range map[string]connect.Options{
		"no address":  {Key: key, Find: find, Prover: prove},
		"a file":      {Base: "file:///x", Key: key, Find: find, Prover: prove},
		"short key":   {Base: base, Key: key[:8], Find: find, Prover: prove},
		"no sources":  {Base: base, Key: key, Prover: prove},
		"nobody":      {Base: base, Key: key, Find: find},
		"with a user": {Base: "https://u:p@x", Key: key, Find: find, Prover: prove},
	} {
		if _, err := connect.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
