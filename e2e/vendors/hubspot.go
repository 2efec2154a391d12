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

// HubSpot stands in for HubSpot's CRM. What it does is written in
//   - https://developers.hubspot.com/docs/api-reference/legacy/authentication/oauth-tokens/v1/migration-guide
//   - https://developers.hubspot.com/docs/api-reference/2026-03/crm/search-the-crm
//   - https://developers.hubspot.com/docs/api-reference/error-handling
//   - https://developers.hubspot.com/docs/api/usage-details
//   - https://developers.hubspot.com/changelog/2018-11-06-rate-limit-information-headers-will-be-included-in-http-responses
type HubSpot struct {
	Desk
	*Issued
	opt HubSpotOptions

	records struct {
		sync.Mutex
		objects map[string][]record
		used    int // requests of these ten seconds
	}
}

// HubSpotOptions are an account's.
type HubSpotOptions struct {
	Client  Client
	Static  string // the token of a private app, which may all; "" for none
	Limit   int    // requests that are taken in ten seconds; 0 is 190
	Daily   int    // and in a day; 0 is 650,000
	Objects int    // how many of each record there are; 0 is 5
}

// NewHubSpot returns an account with contacts, companies, deals and tickets.
func NewHubSpot(o HubSpotOptions) *HubSpot {
	for at, missing := range map[*int]int{&o.Limit: 190, &o.Daily: 650_000, &o.Objects: 5} {
		if *at == 0 {
			*at = missing
		}
	}
	h := &HubSpot{Issued: newIssued("hubspot"), opt: o}
	h.records.objects = map[string][]record{}
	for name, title := range hubspotTitles {
		for i := range o.Objects {
			id := strconv.Itoa(500 + i)
			h.records.objects[name] = append(h.records.objects[name], hubspotRecord(id, record{
				title: fmt.Sprintf("%s %d", name, i+1), "hs_object_id": id, "createdate": "2026-10-01T09:00:00.000Z", "hubspot_owner_id": "71", "amount": "12345678901234567.89",
			}))
		}
	}
	return h
}

// hubspotTitles are the objects, each with the property that the search looks in.
var hubspotTitles = map[string]string{"contacts": "email", "companies": "name", "deals": "dealname", "tickets": "subject"}

func hubspotRecord(id string, properties record) record {
	return record{"id": id, "properties": properties, "createdAt": "2026-10-01T09:00:00.000Z", "updatedAt": "2026-10-02T09:00:00.000Z", "archived": false}
}

// hubspotRefusal is the shape of every refusal.
func hubspotRefusal(category, message string) record {
	return record{"status": "error", "message": message, "correlationId": "a43683b0-5717-4ceb-80b4-104d02915d8c", "category": category}
}

// ServeHTTP answers for tokens and for the API.
func (h *HubSpot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/2026-03/token" {
		h.token(w, r)
		return
	}
	body := h.note(r)
	if !h.admitted(w, r) || !h.counted(w, r) || h.divert(w) {
		return
	}
	h.route(w, r, body)
}

// token answers for tokens. Every parameter must stand in the body.
func (h *HubSpot) token(w http.ResponseWriter, r *http.Request) {
	form, ok := formFields(r, readAll(r))
	refuse := func(status, message string) {
		say(w, http.StatusBadRequest, record{"status": status, "message": message, "correlationId": "a43683b0-5717-4ceb-80b4-104d02915d8c", "category": "VALIDATION_ERROR"})
	}
	switch {
	case r.Method != http.MethodPost || !ok || len(r.URL.RawQuery) > 0 || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		refuse("BAD_REQUEST", "all parameters must be form-encoded in the body")
		return
	case form.text("client_id") != h.opt.Client.ID:
		refuse("BAD_CLIENT_ID", "missing or unknown client id")
		return
	case !h.opt.Client.matches(r, form, false):
		refuse("BAD_CLIENT_SECRET", "missing or invalid client secret")
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	grant := form.text("grant_type")
	h.count[grant]++
	last, known := h.refresh[form.text("refresh_token")]
	switch {
	case grant != "refresh_token":
		refuse("BAD_GRANT_TYPE", "missing or invalid grant type; expecting 'authorization_code' or 'refresh_token'")
		return
	case !known:
		refuse("BAD_REFRESH_TOKEN", "missing or invalid refresh token")
		return
	}
	i := h.mint(last.family, last.scopes, false, 30*time.Minute)
	say(w, http.StatusOK, record{"token_type": "bearer", "access_token": i.access, "refresh_token": last.refresh, "expires_in": 1800,
		"hub_id": 62515, "user_id": 123456, "scopes": i.scopes})
}

// hubspotScopes says what an object's requests need.
func hubspotScopes(r *http.Request) string {
	at := slices.IndexFunc([]string{"contacts", "companies", "deals"}, func(name string) bool { return strings.Contains(r.URL.Path, "/"+name) })
	switch {
	case strings.HasPrefix(r.URL.Path, "/crm/owners/"):
		return "crm.objects.owners.read"
	case at < 0:
		return "tickets"
	}
	level := ".read"
	if r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/search") {
		level = ".write"
	}
	return "crm.objects." + []string{"contacts", "companies", "deals"}[at] + level
}

// admitted checks who asks, and whether the token may.
func (h *HubSpot) admitted(w http.ResponseWriter, r *http.Request) bool {
	if h.opt.Static != "" && r.Header.Get("Authorization") == "Bearer "+h.opt.Static {
		return true
	}
	i, how := h.bearer(r)
	need := hubspotScopes(r)
	switch {
	case how == tokenUnknown:
		say(w, http.StatusUnauthorized, hubspotRefusal("INVALID_AUTHENTICATION", "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"))
	case how == tokenEnded:
		say(w, http.StatusUnauthorized, hubspotRefusal("EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 minute(s) ago."))
	case !i.has(need):
		o := hubspotRefusal("MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: https://developers.hubspot.com/scopes.")
		o["errors"] = []record{{"message": "One or more of the following scopes are required.", "context": record{"requiredGranularScopes": []string{need}}}}
		say(w, http.StatusForbidden, o)
	default:
		return true
	}
	return false
}

// counted tells what is left, except of searches, and refuses when nothing is.
func (h *HubSpot) counted(w http.ResponseWriter, r *http.Request) bool {
	h.records.Lock()
	h.records.used++
	used := h.records.used
	h.records.Unlock()
	if !strings.HasSuffix(r.URL.Path, "/search") {
		for name, n := range map[string]int{"Max": h.opt.Limit, "Remaining": max(h.opt.Limit-used, 0), "Interval-Milliseconds": 10_000,
			"Daily": h.opt.Daily, "Daily-Remaining": max(h.opt.Daily-used, 0)} {
			w.Header().Set("X-HubSpot-RateLimit-"+name, strconv.Itoa(n))
		}
	}
	policy, message := "TEN_SECONDLY_ROLLING", "You have reached your ten_secondly_rolling limit."
	switch {
	case used > h.opt.Daily:
		policy, message = "DAILY", "You have reached your daily limit."
	case used <= h.opt.Limit:
		return true
	}
	say(w, http.StatusTooManyRequests, record{"status": "error", "message": message, "errorType": "RATE_LIMIT",
		"correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24", "policyName": policy, "requestId": "3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd"})
	return false
}
