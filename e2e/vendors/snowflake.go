package vendors

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Snowflake stands in for a Snowflake account: its OAuth and its SQL API. What it
// does is written in
//   - https://docs.snowflake.com/en/developer-guide/sql-api/reference
//   - https://docs.snowflake.com/en/developer-guide/sql-api/authenticating
//   - https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests
//   - https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses
//   - https://docs.snowflake.com/en/user-guide/oauth-custom
//   - https://docs.snowflake.com/en/user-guide/single-use-refresh-tokens
type Snowflake struct {
	Desk
	*Issued
	opt SnowflakeOptions

	runs struct {
		sync.Mutex
		byHandle map[string]*run
		byID     map[string]*run // by requestId
		executed int
	}
}

// SnowflakeOptions are an account's.
type SnowflakeOptions struct {
	Account   string // as in signed tokens, such as MYORG-MYACCOUNT
	User      string // who has Key and Static
	Key       *rsa.PublicKey
	Static    string // a programmatic access token; "" for none
	Client    Client
	SingleUse bool // refresh tokens are good for one use
}

// run is one execution of a statement.
type run struct {
	handle, statement string
	rows              [][]any
	polls             int // how often it still says that it runs
	ended             bool
}

// snowflakePartition is how many rows a partition has.
const snowflakePartition = 2

// NewSnowflake returns an account without any data: it makes rows up.
func NewSnowflake(o SnowflakeOptions) *Snowflake {
	s := &Snowflake{Issued: newIssued("snowflake"), opt: o}
	s.runs.byHandle, s.runs.byID = map[string]*run{}, map[string]*run{}
	return s
}

// Executed returns how many statements were executed.
func (s *Snowflake) Executed() int {
	s.runs.Lock()
	defer s.runs.Unlock()
	return s.runs.executed
}

// snowflakeRefusal is the shape of refusals of the API.
func snowflakeRefusal(w http.ResponseWriter, status int, code, message string) {
	say(w, status, record{"code": code, "message": message})
}

// ServeHTTP answers for tokens and for the API.
func (s *Snowflake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth/token-request" {
		s.token(w, r)
		return
	}
	body := s.note(r)
	if !s.admitted(w, r) || s.divert(w) {
		return
	}
	if r.Header.Get("User-Agent") == "" || strings.Contains(r.Header.Get("Accept"), "html") {
		snowflakeRefusal(w, http.StatusBadRequest, "391902", "Unsupported Accept header or no User-Agent.")
		return
	}
	s.route(w, r, body)
}

// token answers for tokens. The client must sign in by the Authorization field.
func (s *Snowflake) token(w http.ResponseWriter, r *http.Request) {
	form, ok := formFields(r, readAll(r))
	refuse := func(code, message string) {
		say(w, http.StatusBadRequest, record{"data": nil, "message": message, "code": nil, "success": false, "error": code, "headers": nil})
	}
	switch {
	case r.Method != http.MethodPost || !ok || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		refuse("invalid_request", "The request must be a form.")
		return
	case !s.opt.Client.matches(r, form, true):
		refuse("invalid_client", "This is an invalid client.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, given := form.text("grant_type"), form.text("refresh_token")
	s.count[grant]++
	if grant != "refresh_token" {
		refuse("unsupported_grant_type", "This is an unsupported grant type.")
		return
	}
	last, ok := s.refresh[given]
	if !ok {
		if family, used := s.spent[given]; used { // a thief's, or its victim's: all of them end
			s.drop(family)
		}
		refuse("invalid_grant", "This is an invalid refresh token.")
		return
	}
	if s.opt.SingleUse {
		s.drop(last.family)
	}
	i := s.mint(last.family, last.scopes, s.opt.SingleUse, 10*time.Minute)
	answer := record{"access_token": i.access, "token_type": "Bearer", "expires_in": 599, "scope": strings.Join(i.scopes, " "), "username": s.opt.User, "idpInitiated": false}
	if i.refresh != "" {
		answer["refresh_token"], answer["refresh_token_expires_in"] = i.refresh, 7_775_999
	}
	say(w, http.StatusOK, answer)
}

// admitted checks who asks; the kind of token must be the one that is said.
func (s *Snowflake) admitted(w http.ResponseWriter, r *http.Request) bool {
	text := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	kind := r.Header.Get("X-Snowflake-Authorization-Token-Type")
	_, how := s.bearer(r)
	code, message := "", ""
	switch {
	case kind == "KEYPAIR_JWT":
		if !s.signed(text) {
			code, message = "390144", "JWT token is invalid."
		}
	case kind == "PROGRAMMATIC_ACCESS_TOKEN":
		if s.opt.Static == "" || text != s.opt.Static {
			code, message = "394400", "Programmatic access token is invalid."
		}
	case how == tokenEnded:
		code, message = "390318", "OAuth access token expired. "
	case how == tokenUnknown:
		code, message = "390303", "Invalid OAuth access token. "
	}
	if code == "" {
		return true
	}
	snowflakeRefusal(w, http.StatusUnauthorized, code, message)
	return false
}

// signed checks a token of the user's own: who it is from and about, and that it
// is good for an hour at most.
func (s *Snowflake) signed(text string) bool {
	claims, ok := verified(text, s.opt.Key)
	if !ok {
		return false
	}
	der, err := x509.MarshalPKIXPublicKey(s.opt.Key)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(der)
	subject := strings.ToUpper(s.opt.Account + "." + s.opt.User)
	begun, end := claimed(claims, "iat"), claimed(claims, "exp")
	return claims.text("sub") == subject && claims.text("iss") == subject+".SHA256:"+base64.StdEncoding.EncodeToString(sum[:]) &&
		time.Now().Before(end) && end.Sub(begun) <= time.Hour
}

var snowflakeUUID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// route answers the API.
func (s *Snowflake) route(w http.ResponseWriter, r *http.Request, body []byte) {
	s.runs.Lock()
	defer s.runs.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v2/statements")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	known := s.runs.byHandle[parts[0]]
	switch {
	case !ok || len(parts) > 2 || len(parts) == 2 && parts[1] != "cancel":
		snowflakeRefusal(w, http.StatusNotFound, "391404", "Not found")
	case parts[0] == "" && r.Method == http.MethodPost:
		s.submit(w, r, body)
	case known == nil:
		snowflakeRefusal(w, http.StatusNotFound, "000709", "Statement "+parts[0]+" not found")
	case len(parts) == 2 && r.Method == http.MethodPost:
		known.ended, known.polls = true, 0
		say(w, http.StatusOK, record{"code": "000604", "sqlState": "57014", "message": "SQL execution canceled", "statementHandle": known.handle, "statementStatusUrl": s.url(known)})
	case len(parts) == 1 && r.Method == http.MethodGet:
		s.tell(w, r, known)
	default:
		snowflakeRefusal(w, http.StatusMethodNotAllowed, "391405", "Method not allowed")
	}
}

func (s *Snowflake) url(r *run) string { return "/api/v2/statements/" + r.handle }

// submit executes a statement, but not one that was executed under the same id.
func (s *Snowflake) submit(w http.ResponseWriter, r *http.Request, body []byte) {
	form, ok := formFields(r, body)
	id, again := r.URL.Query().Get("requestId"), r.URL.Query().Get("retry") == "true"
	switch {
	case !ok || form.text("statement") == "":
		snowflakeRefusal(w, http.StatusBadRequest, "391917", "The request body is not valid: statement is missing")
		return
	case id != "" && !snowflakeUUID.MatchString(id):
		snowflakeRefusal(w, http.StatusBadRequest, "391903", "requestId is not a UUID")
		return
	}
	if before := s.runs.byID[id]; before != nil && again {
		s.tell(w, r, before)
		return
	}
	if code, state, message, status := snowflakeFault(form); code != "" {
		say(w, status, record{"code": code, "sqlState": state, "message": message, "statementHandle": "019c06a4-0000-df4f-0000-00100006589e", "createdOn": 1597090533987})
		return
	}
	s.runs.executed++
	made := &run{handle: fmt.Sprintf("019c06a4-0000-df4f-0000-%012d", s.runs.executed), statement: form.text("statement"), rows: snowflakeRows(form)}
	if _, slow, ok := strings.Cut(made.statement, "SYSTEM$WAIT("); ok {
		made.polls, _ = strconv.Atoi(slow[:1])
	}
	s.runs.byHandle[made.handle] = made
	if id != "" {
		s.runs.byID[id] = made
	}
	s.tell(w, r, made)
}

// snowflakeFault says what of a statement fails, by a word in it.
func snowflakeFault(form record) (code, state, message string, status int) {
	text := form.text("statement")
	switch {
	case strings.HasPrefix(text, "SELEC "):
		return "001003", "42000", "SQL compilation error:\nsyntax error line 1 at position 0 unexpected 'SELEC'.", http.StatusUnprocessableEntity
	case strings.Contains(text, "SECRETS"):
		return "003001", "42501", "SQL access control error:\nInsufficient privileges to operate on table 'SECRETS'", http.StatusUnprocessableEntity
	case strings.Contains(text, "FOREVER"):
		return "000630", "57014", "Statement reached its statement or warehouse timeout of 5 second(s) and was canceled.", http.StatusRequestTimeout
	case strings.Contains(text, ";") && form.member("parameters").text("MULTI_STATEMENT_COUNT") != "0":
		return "000008", "0A000", "Actual statement count 2 did not match the desired statement count 1.", http.StatusUnprocessableEntity
	case strings.Count(text, "?") != len(form.member("bindings")):
		return "002049", "42601", "SQL compilation error: error line 1 at position 7\nBind variable ? not set.", http.StatusUnprocessableEntity
	}
	return "", "", "", 0
}

// snowflakeRows makes rows up: as many as LIMIT says, 5 otherwise.
func snowflakeRows(form record) [][]any {
	n := 5
	if _, limit, ok := strings.Cut(form.text("statement"), "LIMIT "); ok {
		if m, err := strconv.Atoi(limit); err == nil {
			n = min(m, 7)
		}
	}
	rows := make([][]any, n)
	for i := range rows {
		rows[i] = []any{strconv.Itoa(i + 1), "90071992547409931", nil}
	}
	return rows
}

// tell answers with the state of a statement, or with rows of it.
func (s *Snowflake) tell(w http.ResponseWriter, r *http.Request, x *run) {
	switch {
	case x.ended:
		say(w, http.StatusUnprocessableEntity, record{"code": "000604", "sqlState": "57014", "message": "SQL execution canceled", "statementHandle": x.handle})
		return
	case x.polls > 0:
		x.polls--
		say(w, http.StatusAccepted, record{"code": "333334", "message": "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.",
			"statementHandle": x.handle, "statementStatusUrl": s.url(x)})
		return
	}
	parts := (len(x.rows) + snowflakePartition - 1) / snowflakePartition
	n := 0
	if text := r.URL.Query().Get("partition"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 0 || n >= parts {
			snowflakeRefusal(w, http.StatusBadRequest, "391911", "partition is out of range")
			return
		}
	}
	rows := x.rows[min(n*snowflakePartition, len(x.rows)):min((n+1)*snowflakePartition, len(x.rows))]
	if n > 0 { // what the columns are was told with the first
		say(w, http.StatusOK, record{"data": rows})
		return
	}
	info := []record{}
	for p := range parts {
		info = append(info, record{"rowCount": min(snowflakePartition, len(x.rows)-p*snowflakePartition), "uncompressedSize": 64, "compressedSize": 32})
	}
	column := func(name, kind string) record {
		return record{"name": name, "database": "D", "schema": "PUBLIC", "table": "T", "type": kind, "scale": 0, "precision": 38, "nullable": true}
	}
	say(w, http.StatusOK, record{"code": "090001", "sqlState": "00000", "message": "Statement executed successfully.", "statementHandle": x.handle, "statementStatusUrl": s.url(x),
		"createdOn": 1597090533987, "data": rows, "resultSetMetaData": record{"numRows": len(x.rows), "format": "jsonv2", "partitionInfo": info,
			"rowType": []record{column("N", "fixed"), column("BIG", "fixed"), column("NOTHING", "text")}}})
}
