package credentials

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// DeviceFlow is the signing in of a person with a browser on any machine (RFC
// 8628).
type DeviceFlow struct {
	Endpoint  *Endpoint
	DeviceURL string // the device authorization endpoint
	Scopes    []string
}

// Prompt is what to show to the person.
type Prompt struct {
	Code    string    // to be typed at URL
	URL     string    // https, or http on this machine
	Full    string    // URL with the code in it; "" if the server has none
	Expires time.Time // when it is too late
}

const (
	pollPause = 5 * time.Second // RFC 8628, section 3.2; and what slow_down adds (section 3.5)
	pollMost  = time.Minute
	deviceTTL = 15 * time.Minute // where the server does not say, though it must
)

// Check tells what is wrong with it before anybody is asked.
func (d *DeviceFlow) Check() error {
	if err := d.Endpoint.Check(); err != nil {
		return err
	}
	if d.Endpoint.ClientID == "" {
		return errors.New("the client id is empty")
	}
	if err := CheckURL(d.DeviceURL); err != nil {
		return fmt.Errorf("the device authorization URL %w", err)
	}
	return nil
}

// Login has a person sign in: show is given what to tell them; an error of it
// ends the attempt. It asks the server until they have, until the code has
// expired, or until ctx ends.
func (d *DeviceFlow) Login(ctx context.Context, show func(Prompt) error) (Token, error) {
	e := d.Endpoint
	fail := func(class Trouble, err error) (Token, error) {
		return Token{}, &TokenError{Name: e.Name, Trouble: class, Err: err}
	}
	if err := d.Check(); err != nil {
		return fail(Misconfigured, err)
	}
	form := scoped(url.Values{}, d.Scopes)
	maps.Copy(form, e.Params)
	answer, err := e.post(ctx, d.DeviceURL, form)
	if err != nil {
		return Token{}, err
	}
	prompt, err := promptOf(answer)
	if err != nil {
		return fail(Misconfigured, err)
	}
	pause := min(max(answer.seconds("interval"), time.Second), pollMost)
	if answer["interval"] == nil {
		pause = pollPause
	}
	if err := show(prompt); err != nil {
		return fail(Misconfigured, err)
	}
	return d.poll(ctx, NewSecret(answer.text("device_code")), pause, prompt.Expires)
}

func promptOf(answer members) (Prompt, error) {
	p := Prompt{Code: answer.text("user_code"), URL: answer.text("verification_uri"), Full: answer.text("verification_uri_complete")}
	if p.URL == "" {
		p.URL = answer.text("verification_url") // Google's name
	}
	odd := func(c rune) bool { return !unicode.IsGraphic(c) } // it is shown on a terminal
	switch {
	case answer.text("device_code") == "":
		return Prompt{}, errors.New("the answer has no device_code")
	case p.Code == "" || len(p.Code) > 64 || strings.ContainsFunc(p.Code, odd):
		return Prompt{}, errors.New("the answer has no user_code that can be shown")
	case CheckURL(p.URL) != nil || strings.ContainsFunc(p.URL, odd):
		return Prompt{}, errors.New("the answer has no https address to sign in at")
	case CheckURL(p.Full) != nil || strings.ContainsFunc(p.Full, odd):
		p.Full = ""
	}
	ttl := answer.seconds("expires_in")
	if ttl <= 0 {
		ttl = deviceTTL
	}
	p.Expires = time.Now().Add(min(ttl, time.Hour))
	return p, nil
}

// poll asks for the token until there is one. Trouble that passes makes it ask
// less often.
func (d *DeviceFlow) poll(ctx context.Context, device Secret, pause time.Duration, end time.Time) (Token, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, end, errors.New("nobody has signed in while the code was good"))
	defer cancel()
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return Token{}, &TokenError{Name: d.Endpoint.Name, Trouble: NeedsLogin, Err: context.Cause(ctx)}
		}
		t, err := d.Endpoint.grant(ctx, url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device.reveal()},
		}, d.Scopes)
		e, ok := errors.AsType[*TokenError](err)
		switch {
		case err == nil, !ok, e.Trouble != Transient:
			return lasting(t), err
		case e.Code == "slow_down":
			pause += pollPause
		case e.Code != "authorization_pending":
			pause = min(max(2*pause, e.RetryAfter), pollMost)
		}
	}
}
