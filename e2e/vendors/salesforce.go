package vendors

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Salesforce stands in for one Salesforce organization: the login host and the
// instance at one address. What it does is written in
//   - https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm
//   - https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm
//   - https://help.salesforce.com/apex/HTViewHelpDoc?id=remoteaccess_oauth_refresh_token_flow.htm
//   - https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.md
//   - https://developer.salesforce.com/docs/platform/api-rest/guide/resources-query.html
//   - https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm
//   - https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet/guide/salesforce-app-limits-platform-api.html
type Salesforce struct {
	Desk
	*Issued
	opt SalesforceOptions

	records struct {
		sync.Mutex
		objects map[string][]record
		used    int
		refuse  string // message of REQUEST_LIMIT_EXCEEDED; "" for none
	}
}

// SalesforceOptions are an organization's.
type SalesforceOptions struct {
	Client Client
	// Instance is what tokens are good at; "" is where the token was asked for.
	Instance string
	Rotate   bool           // refresh token rotation is on
	Key      *rsa.PublicKey // of the certificate of the app; nil if it takes no assertions
	User     string         // whom assertions are about
	Limit    int            // requests in 24 hours; 0 is 100,000
	Accounts int            // how many there are; 0 is 5
}

const salesforceVersion = "v67.0"

// NewSalesforce returns an organization with accounts and a contact.
func NewSalesforce(o SalesforceOptions) *Salesforce {
	if o.Limit == 0 {
		o.Limit = 100_000
	}
	if o.Accounts == 0 {
		o.Accounts = 5
	}
	s := &Salesforce{Issued: newIssued("salesforce"), opt: o}
	s.records.objects = map[string][]record{"Account": nil, "Contact": {salesforceRecord("Contact", "003000000000001AAA", record{"Name": "Jo Doe", "Email": "jo@example.com"})}}
	for i := range o.Accounts {
		s.records.objects["Account"] = append(s.records.objects["Account"], salesforceRecord("Account", fmt.Sprintf("001%012dAAA", i+1), record{
			"Name": fmt.Sprintf("Acme %d", i+1), "Industry": "Energy", "AnnualRevenue": json.Number("12345678901234567.89"), "Customer_No__c": strconv.Itoa(1000 + i),
		}))
	}
	return s
}

func salesforceRecord(kind, id string, more record) record {
	return record{"attributes": record{"type": kind, "url": "/services/data/" + salesforceVersion + "/sobjects/" + kind + "/" + id}, "Id": id}.with(more)
}

// Exceed makes all requests fail for a limit's sake until it is called with "".
// The messages are "TotalRequests Limit exceeded." and "ConcurrentRequests
// (Concurrent API Requests) Limit exceeded.".
func (s *Salesforce) Exceed(message string) {
	s.records.Lock()
	defer s.records.Unlock()
	s.records.refuse = message
}

// salesforceRefusal answers with the list that every refusal is.
func salesforceRefusal(w http.ResponseWriter, status int, code, message string) {
	say(w, status, []record{{"message": message, "errorCode": code}})
}

// ServeHTTP answers for tokens and for the API.
func (s *Salesforce) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/services/oauth2/token":
		s.token(w, r)
		return
	case "/services/oauth2/revoke":
		s.revoke(w, r)
		return
	}
	body := s.note(r)
	if i, how := s.bearer(r); how != tokenGood || !i.has("api", "full") {
		w.Header().Set("WWW-Authenticate", "Token")
		salesforceRefusal(w, http.StatusUnauthorized, "INVALID_SESSION_ID", "Session expired or invalid")
		return
	}
	if s.counted(w) && !s.divert(w) {
		s.route(w, r, body)
	}
}

// counted tells the usage of the organization, and refuses beyond its limit.
func (s *Salesforce) counted(w http.ResponseWriter) bool {
	s.records.Lock()
	s.records.used++
	used, message := s.records.used, s.records.refuse
	s.records.Unlock()
	w.Header().Set("Sforce-Limit-Info", fmt.Sprintf("api-usage=%d/%d", used, s.opt.Limit))
	if used > s.opt.Limit {
		message = "TotalRequests Limit exceeded."
	}
	if message == "" {
		return true
	}
	salesforceRefusal(w, http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", message)
	return false
}

// token answers for tokens. None of the answers says how long a token is good.
func (s *Salesforce) token(w http.ResponseWriter, r *http.Request) {
	form, ok := formFields(r, readAll(r))
	refuse := func(code, description string) {
		say(w, http.StatusBadRequest, record{"error": code, "error_description": description})
	}
	if r.Method != http.MethodPost || !ok {
		refuse("invalid_request", "must use HTTP POST")
		return
	}
	grant := form.text("grant_type")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[grant]++
	_, _, basic := r.BasicAuth()
	known := s.opt.Client.matches(r, form, basic)
	var i issue
	switch {
	case grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if err := s.assertion(form.text("assertion"), "http://"+r.Host); err != "" {
			refuse("invalid_grant", err)
			return
		}
		i = s.mint("", []string{"api"}, false, 2*time.Hour)
	case !known && form.text("client_id") != s.opt.Client.ID && !basic:
		refuse("invalid_client_id", "client identifier invalid")
		return
	case !known:
		refuse("invalid_client", "invalid client credentials")
		return
	case grant == "client_credentials":
		i = s.mint("", []string{"api"}, false, 2*time.Hour)
	case grant == "refresh_token":
		last, ok := s.refresh[form.text("refresh_token")]
		if !ok {
			refuse("invalid_grant", "expired access/refresh token")
			return
		}
		if s.opt.Rotate {
			delete(s.refresh, last.refresh)
		}
		i = s.mint(last.family, last.scopes, s.opt.Rotate, 2*time.Hour)
	default:
		refuse("unsupported_grant_type", "grant type not supported")
		return
	}
	instance := s.opt.Instance
	if instance == "" {
		instance = "http://" + r.Host
	}
	answer := record{"access_token": i.access, "signature": "nUFHwtfIGLKDTHcLWmDBG8frv0t+HQGl/iCZFIQUarE=", "scope": strings.Join(i.scopes, " "), "token_format": "opaque",
		"instance_url": instance, "id": "https://login.salesforce.com/id/00Dd0000000XXXXXXX/005d0000000XXXXXXX", "token_type": "Bearer",
		"issued_at": strconv.FormatInt(time.Now().UnixMilli(), 10)}
	if i.refresh != "" {
		answer["refresh_token"] = i.refresh
	}
	say(w, http.StatusOK, answer)
}

// assertion says what is wrong with one: RS256, from the app, about a user, for
// the login host or this one, and good for five minutes at most.
func (s *Salesforce) assertion(text, here string) string {
	claims, ok := verified(text, s.opt.Key)
	aud := claims.text("aud")
	left := time.Until(claimed(claims, "exp"))
	switch {
	case !ok:
		return "invalid assertion"
	case claims.text("iss") != s.opt.Client.ID:
		return "invalid client credentials"
	case claims.text("sub") != s.opt.User:
		return "user hasn't approved this consumer"
	case aud != "https://login.salesforce.com" && aud != "https://test.salesforce.com" && aud != here:
		return "audience is invalid"
	case left <= 0 || left > 5*time.Minute+5*time.Second:
		return "expired authorization code"
	}
	return ""
}

// verified reads a JSON Web Token that is signed by RS256.
func verified(text string, key *rsa.PublicKey) (record, bool) {
	parts := strings.Split(text, ".")
	if key == nil || len(parts) != 3 {
		return nil, false
	}
	var head struct{ Alg string }
	claims := record{}
	headText, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	claimText, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	mark, err3 := base64.RawURLEncoding.DecodeString(parts[2])
	if err1 != nil || err2 != nil || err3 != nil || json.Unmarshal(headText, &head) != nil || json.Unmarshal(claimText, &claims) != nil || head.Alg != "RS256" {
		return nil, false
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return claims, rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], mark) == nil
}

// claimed returns a claim that is a time; the zero time if it is none.
func claimed(claims record, name string) time.Time {
	n, ok := claims[name].(float64)
	if !ok {
		return time.Time{}
	}
	return time.Unix(int64(n), 0)
}

// revoke ends a token and all that came of the same consent.
func (s *Salesforce) revoke(w http.ResponseWriter, r *http.Request) {
	form, _ := formFields(r, readAll(r))
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.refresh[form.text("token")]
	if !ok {
		i, ok = s.access[form.text("token")]
	}
	if !ok {
		say(w, http.StatusBadRequest, record{"error": "invalid_token", "error_description": "invalid token"})
		return
	}
	s.drop(i.family)
	w.WriteHeader(http.StatusOK)
}
