package aggregate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Users is how each user signs in to a source for himself. Its methods may be
// called from many goroutines at once.
type Users interface {
	// SignIn tells how this user's sign-in stands. It asks nobody.
	SignIn(p upstream.Principal) *SignInStatus
	// Page returns the address of the page where this user's browser signs in; it
	// is of use to nobody else, and for a short while. "" if there is none for him.
	Page(p upstream.Principal) string
	// Visit says that this user wants to know what the source offers, which is not
	// known. It returns at once.
	Visit(p upstream.Principal)
	// Await returns nil when this user can make calls: at once, or when he has
	// signed in. The error is that ctx has ended.
	Await(ctx context.Context, p upstream.Principal) error
}

// wanderer is one who has to sign in: a user in one conversation with one host.
type wanderer struct {
	party
	client string
}

// consents remembers which users have been asked to sign in, so that many calls
// at once ask once.
type consents struct {
	mu   sync.Mutex
	open map[wanderer]*consent
}

// consent is one question to a user to sign in.
type consent struct {
	until    time.Time
	over     chan struct{} // closed when it is answered
	declined bool          // set before over is closed
}

// maxConsents is how many users are remembered that have been asked.
const maxConsents = 10_000

// begin returns the question that is open, and whether it is new, so that the
// caller has to put it.
func (s *consents) begin(w wanderer, lasts time.Duration) (c *consent, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if c := s.open[w]; c != nil && now.Before(c.until) {
		return c, false
	}
	if s.open == nil || len(s.open) >= maxConsents {
		s.open = make(map[wanderer]*consent) // who is forgotten is asked again
	}
	c = &consent{until: now.Add(lasts), over: make(chan struct{})}
	s.open[w] = c
	return c, true
}

// end says how the user has answered.
func (s *consents) end(w wanderer, agreed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.open[w]; c != nil {
		delete(s.open, w)
		c.declined = !agreed
		close(c.over)
	}
}

// errAsked marks the failure of a call whose user has been asked already.
var errAsked = errors.New("the user has been asked to sign in")

// invitation is a conversation whose user may have to sign in first.
type invitation struct{ conversation }

// connectable returns the page where the user of a call signs in, if that is why
// it failed, nothing was sent, and the client can show the page to the user.
func (t invitation) connectable(err error) (page string, ok bool) {
	if err == nil || t.m.Users == nil || !mayRequire(t.c.Op) {
		return "", false
	}
	e := upstream.AsError(t.c.Upstream, t.c.Name, err)
	if e.Kind != upstream.NeedsLogin || e.Sent || errors.Is(err, errAsked) || operatorsTurn(e) || lacks(t.r.Back.Capabilities, pageQuestion("", "", "")) != "" ||
		!t.r.Modern && t.r.Back.Ask == nil {
		return "", false
	}
	page = t.m.Users.Page(t.c.Principal)
	return page, page != ""
}

// pageQuestion asks the user to open a page (MCP 2025-11-25 and 2026-07-28,
// elicitation, URL mode). id is "" for a client whose revision has none.
func pageQuestion(source upstream.ID, page, id string) upstream.Question {
	params := map[string]string{memberMode: modeURL, memberURL: page,
		memberMessage: fmt.Sprintf("Connect your own account at %s, so that calls can be made in your name.", source)}
	if id != "" {
		params[memberElicited] = id
	}
	raw, err := json.Marshal(params)
	if err != nil { // strings always marshal
		return upstream.Question{}
	}
	return upstream.Question{Method: upstream.AskElicitation, Params: raw}
}

func (t invitation) wanderer() wanderer { return wanderer{partyOf(t.c), t.c.Client} }

// connected has the user of a call that failed with err sign in. nil says that
// he has, and that the call can be made again. A result is for a modern client:
// the question. Of calls at the same time one asks, and the others wait for what
// comes of it.
func (t invitation) connected(ctx context.Context, err error) (*upstream.Result, error) {
	page, ok := t.connectable(err)
	if !ok {
		return nil, err
	}
	open, fresh := t.m.consents.begin(t.wanderer(), t.m.agg.asked.patient)
	switch {
	case !fresh:
		return nil, t.alongside(ctx, open, err)
	case t.r.Modern:
		token, _ := t.m.agg.asked.seals.sealState(state{kind: connecting, expires: time.Now().Add(stateLasts)}, t.binding())
		return asked(inputRequiredText(addQuestion(nil, "sign_in", t.c.Upstream, pageQuestion(t.c.Upstream, page, "")), token))
	}
	agreed := false
	defer func() { t.m.consents.end(t.wanderer(), agreed) }()
	id := rand.Text()
	answer, asking := inquirer(t.conversation, t.r.Back.Ask)(ctx, pageQuestion(t.c.Upstream, page, id))
	if action, _ := rawjson.GetString(answer, "action"); asking != nil || action != "accept" {
		return nil, t.declined(err)
	}
	bounded, cancel := context.WithTimeout(ctx, t.m.agg.asked.patient)
	defer cancel()
	if t.m.Users.Await(bounded, t.c.Principal) != nil {
		return nil, err
	}
	agreed = true
	t.m.agg.subs.tellParty(partyOf(t.c), Notice{Method: upstream.NoteElicited, Key: string(t.m.ID) + " " + id,
		Params: []byte(`{"elicitationId":` + string(rawjson.Quote(id)) + `}`)})
	return nil, nil
}

// alongside waits for a user who is being asked by another call to sign in.
func (t invitation) alongside(ctx context.Context, open *consent, err error) error {
	wait, cancel := context.WithTimeout(ctx, min(patience(t.c.Client), time.Until(open.until)))
	defer cancel()
	var listening sync.WaitGroup
	listening.Go(func() {
		select {
		case <-open.over:
			cancel()
		case <-wait.Done():
		}
	})
	waited := t.m.Users.Await(wait, t.c.Principal)
	cancel()
	listening.Wait()
	select {
	case <-open.over:
		if open.declined {
			return t.declined(err)
		}
		return nil
	default:
	}
	if waited != nil {
		return err
	}
	return nil
}

// declined is the failure of a call whose user will not sign in.
func (t invitation) declined(err error) error {
	e := *upstream.AsError(t.c.Upstream, t.c.Name, err)
	e.Public = "the user did not agree to sign in there"
	e.Err = errors.Join(errAsked, e.Err)
	return &e
}

// returned takes the answer of a modern client to the question to sign in, and
// waits a while for that to be done.
func (t invitation) returned(ctx context.Context, answers json.RawMessage) error {
	needs := &upstream.Error{Upstream: t.c.Upstream, Tool: t.c.Name, Op: string(t.c.Op), Kind: upstream.NeedsLogin,
		Public: "the user has not finished signing in there yet", Err: errAsked}
	if t.agreed(answers) != nil {
		t.m.consents.end(t.wanderer(), false)
		return t.declined(needs)
	}
	if t.m.Users == nil { // the configuration has changed meanwhile
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, patience(t.c.Client))
	defer cancel()
	if t.m.Users.Await(wait, t.c.Principal) != nil {
		t.m.consents.end(t.wanderer(), false)
		return t.m.presence.account(t.c, needs)
	}
	t.m.consents.end(t.wanderer(), true)
	return nil
}

// again is the same conversation for the second time.
func again(t conversation) conversation {
	c := *t.c
	c.Timing = &upstream.Timing{}
	return conversation{t.m, t.r, &c}
}
