package vendors

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Zendesk stands in for Zendesk Support. What it does is written in
//   - https://developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens/
//   - https://developer.zendesk.com/api-reference/introduction/security-and-auth/
//   - https://developer.zendesk.com/api-reference/introduction/requests
//   - https://developer.zendesk.com/api-reference/introduction/pagination/
//   - https://developer.zendesk.com/documentation/ticketing/using-the-zendesk-api/best-practices-for-avoiding-rate-limiting/
//   - https://developer.zendesk.com/api-reference/ticketing/ticket-management/search/
type Zendesk struct {
	Desk
	*Issued
	opt ZendeskOptions

	records struct {
		sync.Mutex
		tickets  []record
		comments map[int][]record
		keys     map[string]record // tickets by idempotency key
		used     int               // requests of this minute
	}
}

// ZendeskOptions are an account's.
type ZendeskOptions struct {
	Client   Client
	User     string // who has APIToken: an e-mail address
	APIToken string // "" if the account takes none any more
	Limit    int    // requests that are taken; 0 is 700
	Tickets  int    // how many there are, at least 2; 0 is 5
}

// NewZendesk returns an account with tickets, two users and an organization.
func NewZendesk(o ZendeskOptions) *Zendesk {
	if o.Limit == 0 {
		o.Limit = 700
	}
	if o.Tickets == 0 {
		o.Tickets = 5
	}
	z := &Zendesk{Issued: newIssued("zendesk"), opt: o}
	z.records.comments, z.records.keys = map[int][]record{}, map[string]record{}
	for i := range o.Tickets {
		z.records.tickets = append(z.records.tickets, zendeskTicket(i+1, fmt.Sprintf("Printer %d is on fire", i+1)))
		z.records.comments[i+1] = []record{zendeskComment(i*10+1, "It burns.", true), zendeskComment(i*10+2, "Bought another one.", false)}
	}
	z.records.comments[2][0]["attachments"] = []record{{"file_name": "fire.jpg", "size": 1234, "content_url": "https://acme.zendesk.com/x"}}
	return z
}

func zendeskTicket(id int, subject string) record {
	return record{
		"id": id, "url": fmt.Sprintf("https://acme.zendesk.com/api/v2/tickets/%d.json", id), "subject": subject, "raw_subject": subject,
		"description": "It burns.", "status": "open", "priority": "high", "type": "incident", "requester_id": int64(9007199254740993),
		"submitter_id": 22, "assignee_id": 22, "organization_id": 31, "group_id": 41, "collaborator_ids": []int{}, "tags": []string{"fire"},
		"custom_fields": []record{{"id": 27642, "value": "745"}}, "due_at": nil, "via": record{"channel": "email", "source": record{}},
		"created_at": "2026-10-01T09:00:00Z", "updated_at": "2026-10-02T09:00:00Z",
	}
}

func zendeskComment(id int, text string, public bool) record {
	return record{"id": id, "type": "Comment", "author_id": 21, "body": text, "plain_body": text, "html_body": "<p>" + text + "</p>",
		"public": public, "attachments": []record{}, "created_at": "2026-10-01T09:00:00Z"}
}

var zendeskUsers = []record{
	{"id": 21, "name": "Jo Doe", "email": "jo@example.com", "phone": nil, "role": "end-user", "organization_id": 31, "time_zone": "London", "locale": "en-GB",
		"tags": []string{}, "notes": "", "details": "", "user_fields": record{}, "suspended": false, "last_login_at": nil, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"},
	{"id": 22, "name": "Ann Agent", "email": "ann@example.com", "phone": nil, "role": "agent", "organization_id": 31, "time_zone": "London", "locale": "en-GB",
		"tags": []string{}, "notes": "", "details": "", "user_fields": record{}, "suspended": false, "last_login_at": nil, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"},
}

var zendeskOrganizations = []record{{"id": 31, "name": "Acme", "domain_names": []string{"example.com"}, "details": "", "notes": "", "tags": []string{}, "group_id": nil,
	"organization_fields": record{}, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}}

// ServeHTTP answers for tokens and for the API.
func (z *Zendesk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/tokens" {
		z.token(w, r)
		return
	}
	body := z.note(r)
	if !z.admitted(w, r) || !z.counted(w, r) || z.divert(w) {
		return
	}
	z.route(w, r, body)
}

// token answers POST /oauth/tokens.
func (z *Zendesk) token(w http.ResponseWriter, r *http.Request) {
	form, ok := formFields(r, readAll(r))
	refuse := func(status int, code, description string) {
		say(w, status, record{"error": code, "error_description": description})
	}
	switch {
	case r.Method != http.MethodPost || !ok || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		refuse(http.StatusBadRequest, "invalid_request", "The request is missing a required parameter, includes an unsupported parameter value, or is otherwise malformed.")
		return
	case !z.opt.Client.matches(r, form, false):
		refuse(http.StatusUnauthorized, "invalid_client", "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.")
		return
	}
	life, ok := zendeskLife(form, "expires_in", 300, 172_800, 48*time.Hour)
	if !ok {
		refuse(http.StatusBadRequest, "invalid_request", "expires_in must be more than 300 and less than 172800")
		return
	}
	rest, ok := zendeskLife(form, "refresh_token_expires_in", 604_800, 7_776_000, 30*24*time.Hour)
	if !ok {
		refuse(http.StatusBadRequest, "invalid_request", "refresh_token_expires_in must be more than 604800 and less than 7776000")
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	grant := form.text("grant_type")
	z.count[grant]++
	var i issue
	switch grant {
	case "client_credentials":
		i = z.mint("", strings.Fields(form.text("scope")), false, life)
	case "refresh_token":
		last, ok := z.refresh[form.text("refresh_token")]
		if !ok {
			refuse(http.StatusBadRequest, "invalid_grant", "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.")
			return
		}
		z.drop(last.family) // both of the previous tokens
		i = z.mint(last.family, last.scopes, true, life)
	default:
		refuse(http.StatusBadRequest, "unsupported_grant_type", "The authorization grant type is not supported by the authorization server.")
		return
	}
	answer := record{"access_token": i.access, "token_type": "bearer", "scope": strings.Join(i.scopes, " "), "expires_in": int(life.Seconds())}
	if i.refresh != "" {
		answer["refresh_token"], answer["refresh_token_expires_in"] = i.refresh, int(rest.Seconds())
	}
	say(w, http.StatusOK, answer)
}

// zendeskLife reads a lifetime in seconds, which must lie between two others.
func zendeskLife(form record, name string, above, below int, missing time.Duration) (time.Duration, bool) {
	text := form.text(name)
	if text == "" {
		return missing, true
	}
	n, err := strconv.Atoi(text)
	return time.Duration(n) * time.Second, err == nil && n > above && n < below
}

// admitted checks who asks, and whether the token may.
func (z *Zendesk) admitted(w http.ResponseWriter, r *http.Request) bool {
	if user, password, ok := r.BasicAuth(); ok {
		if z.opt.APIToken != "" && user == z.opt.User+"/token" && password == z.opt.APIToken {
			return true
		}
		say(w, http.StatusUnauthorized, record{"error": "Couldn't authenticate you"})
		return false
	}
	i, how := z.bearer(r)
	need := "write"
	if r.Method == http.MethodGet {
		need = "read"
	}
	switch {
	case r.Header.Get("Authorization") == "":
		say(w, http.StatusUnauthorized, record{"error": "Couldn't authenticate you"})
	case how != tokenGood:
		w.Header().Set("WWW-Authenticate", `Bearer realm="Zendesk", error="invalid_token", error_description="The access token provided is expired, revoked, malformed or invalid for other reasons."`)
		say(w, http.StatusUnauthorized, record{"error": "invalid_token", "error_description": "The access token provided is expired, revoked, malformed or invalid for other reasons."})
	case !i.has(need):
		say(w, http.StatusForbidden, record{"error": "Forbidden", "description": "You are missing the following required scopes: " + need})
	default:
		return true
	}
	return false
}

// counted tells what is left of the minute, and refuses when nothing is.
func (z *Zendesk) counted(w http.ResponseWriter, r *http.Request) bool {
	z.records.Lock()
	z.records.used++
	left := z.opt.Limit - z.records.used
	z.records.Unlock()
	limit, rest := strconv.Itoa(z.opt.Limit), strconv.Itoa(max(left, 0))
	for name, v := range map[string]string{"X-Rate-Limit": limit, "X-Rate-Limit-Remaining": rest, "ratelimit-limit": limit, "ratelimit-remaining": rest, "ratelimit-reset": "41"} {
		w.Header().Set(name, v)
	}
	if r.URL.Path == "/api/v2/tickets" && r.Method == http.MethodGet {
		w.Header().Set("zendesk-ratelimit-tickets-index", "total=100; remaining=99; resets=41")
	}
	if left >= 0 {
		return true
	}
	w.Header().Set("Retry-After", "41")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = fmt.Fprint(w, "Number of allowed API requests per minute exceeded")
	return false
}

// Created returns how many tickets there are.
func (z *Zendesk) Created() int {
	z.records.Lock()
	defer z.records.Unlock()
	return len(z.records.tickets)
}

// zendeskFind returns the record with an id.
func zendeskFind(list []record, id string) record {
	i := slices.IndexFunc(list, func(o record) bool { return fmt.Sprint(o["id"]) == id })
	if i < 0 {
		return nil
	}
	return list[i]
}
