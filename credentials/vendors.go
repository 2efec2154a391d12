package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SnowflakeKeyPair signs tokens for Snowflake's key-pair authentication; no
// server is asked for one. account is the account identifier as in the host
// name, user the login name. Snowflake takes RS256 and an hour at most.
func SnowflakeKeyPair(account, user string, key *Key) (Fetch, error) {
	if account == "" || user == "" {
		return nil, errors.New("the account or the user is empty")
	}
	if key == nil || !key.isRSA() {
		return nil, errors.New("it needs an RSA key")
	}
	print, err := key.fingerprint()
	if err != nil {
		return nil, err
	}
	account, _, _ = strings.Cut(account, ".") // what follows is the region
	subject := strings.ToUpper(account + "." + user)
	return func(context.Context, Token) (Token, error) {
		now := time.Now().Round(0)
		end := now.Add(59 * time.Minute)
		text, err := key.sign(map[string]any{"iss": subject + "." + print, "sub": subject, "iat": now.Unix(), "exp": end.Unix()})
		if err != nil {
			return Token{}, &TokenError{Trouble: Misconfigured, Err: err}
		}
		return Token{Access: NewSecret(text), Expiry: end}, nil
	}, nil
}

// GitHubApp is one installation of a GitHub App.
type GitHubApp struct {
	Name         string // of the upstream, for errors
	URL          string // of the API; "" is https://api.github.com
	Client       *http.Client
	App          string // client id or app id
	Installation int64
	Key          *Key
	Repositories []string          // names; none is all that the installation has
	Permissions  map[string]string // such as issues = "read"; none is all that the installation has
}

// Check tells what is wrong with it before anything is sent.
func (a GitHubApp) Check() error {
	switch {
	case a.App == "" || a.Installation <= 0:
		return errors.New("the app or its installation is not given")
	case a.Key == nil || !a.Key.isRSA():
		return errors.New("GitHub needs an RSA key")
	case a.Client == nil || a.Client.Transport == nil:
		return errors.New("GitHub's API has no HTTP client of its own")
	case a.URL != "":
		if err := CheckURL(a.URL); err != nil {
			return fmt.Errorf("the URL of the API %w", err)
		}
	}
	return nil
}

// Fetch gets an installation token, good for an hour, by a token that the app
// signs for itself.
func (a GitHubApp) Fetch(ctx context.Context, _ Token) (Token, error) {
	fail := func(class Trouble, err error) (Token, error) {
		return Token{}, &TokenError{Name: a.Name, Trouble: class, Err: err}
	}
	now := time.Now() // GitHub refuses what is from its future, or ends later than in 10 min
	proof, err := a.Key.sign(map[string]any{"iss": a.App, "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(9 * time.Minute).Unix()})
	if err != nil {
		return fail(Misconfigured, err)
	}
	wish := map[string]any{}
	if len(a.Repositories) > 0 {
		wish["repositories"] = a.Repositories
	}
	if len(a.Permissions) > 0 {
		wish["permissions"] = a.Permissions
	}
	body, err := json.Marshal(wish)
	if err != nil {
		return fail(Misconfigured, errors.New("the request cannot be written as JSON"))
	}
	base := a.URL
	if base == "" {
		base = "https://api.github.com"
	}
	to, err := url.JoinPath(base, "app/installations", strconv.FormatInt(a.Installation, 10), "access_tokens")
	if err != nil {
		return fail(Misconfigured, errors.New("the URL of the API cannot be asked"))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return fail(Misconfigured, errors.New("the URL of the API cannot be asked"))
	}
	req.Header.Set("Authorization", "Bearer "+proof)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	got, err := exchange(a.Client, req)
	switch {
	case err != nil:
		return fail(Transient, err)
	case got.status == http.StatusForbidden && got.header.Get("Retry-After") != "": // GitHub's other way to say 429
		return Token{}, &TokenError{Name: a.Name, Status: got.status, RetryAfter: retryAfter(got.header.Get("Retry-After"))}
	case got.status/100 != 2:
		e := refused(a.Name, got, "")
		if e.Status == http.StatusNotFound || e.Status == http.StatusUnauthorized {
			e.Trouble, e.Err = Misconfigured, errors.New("GitHub does not know this app, key or installation")
		}
		return Token{}, e
	}
	return a.token(got.body)
}

func (a GitHubApp) token(data []byte) (Token, error) {
	var answer struct {
		Token       string            `json:"token"`
		Expires     time.Time         `json:"expires_at"`
		Permissions map[string]string `json:"permissions"`
	}
	if json.Unmarshal(data, &answer) != nil || answer.Token == "" {
		return Token{}, &TokenError{Name: a.Name, Err: errors.New("the answer has no token, or an end that is no date")}
	}
	t := Token{Access: NewSecret(answer.Token), Expiry: answer.Expires}
	for what, level := range answer.Permissions {
		if asked, ok := a.Permissions[what]; len(a.Permissions) > 0 && what != "metadata" && (!ok || asked != level) { // metadata comes with every permission
			return Token{}, &TokenError{Name: a.Name, Trouble: Misconfigured, Err: errors.New("GitHub granted a permission that nobody asked for; the token is not used")}
		}
		t.Scopes = append(t.Scopes, what+":"+level)
	}
	slices.Sort(t.Scopes)
	return t, nil
}
