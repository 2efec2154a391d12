package vendors

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Project is the project that the BigQuery fake has, and GoogleAudience whom an
// assertion has to be for.
const (
	Project        = "acme-warehouse"
	GoogleAudience = "https://oauth2.googleapis.com/token"

	googleScope = "https://www.googleapis.com/auth/"
)

// BigQuery is the REST API of one project and Google's token endpoint: an
// assertion of a service account with the scopes in it, signed with RS256 (which
// is not verified here), or a person's refresh token, which stays as it is. A
// query that takes longer is told by having "slow" in it.
//
// https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query
// https://docs.cloud.google.com/bigquery/docs/error-messages
// https://developers.google.com/identity/protocols/oauth2/service-account
func BigQuery() *Server {
	s := newServer()
	scopes := map[string]string{} // of access tokens; guarded by the mutex of the tokens
	s.endpoint("/token", &Tokens{
		proof: "post", ttl: 3599, grants: []string{"refresh_token", "authorization_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		response: func(access, refresh string, ttl int, form url.Values) any {
			m := object{"access_token": access, "token_type": "Bearer", "expires_in": ttl}
			if refresh != "" {
				m["refresh_token"] = refresh
			}
			if assertion := form.Get("assertion"); assertion != "" {
				scope, problem := googleAssertion(assertion)
				if problem != "" {
					return object{"error": problem, "error_description": "Invalid OAuth scope or ID token audience provided."}
				}
				scopes[access] = scope
			}
			return m
		},
	})
	wrong := func(status int, reason, message string) Answer {
		return Answer{Status: status, Body: object{"error": object{"code": status, "message": message, "errors": []object{{"message": message, "domain": "global", "reason": reason}}, "status": map[int]string{
			400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 503: "UNAVAILABLE"}[status]}}}
	}
	s.denied = wrong(http.StatusUnauthorized, "authError", "Request had invalid authentication credentials.")
	s.denied.Header = map[string]string{"WWW-Authenticate": `Bearer realm="https://accounts.google.com/", error="invalid_token"`}
	s.unknown = Answer{Status: http.StatusNotFound, Body: "<html><title>Error 404 (Not Found)!!1</title></html>", Header: map[string]string{"Content-Type": "text/html"}}
	maps.Copy(s.failures, map[string]Answer{
		"rate":      wrong(http.StatusForbidden, "rateLimitExceeded", "Exceeded rate limits: too many api requests per user per method for this user_method."),
		"rate 429":  wrong(http.StatusTooManyRequests, "rateLimitExceeded", "Quota exceeded."),
		"user rate": wrong(http.StatusForbidden, "userRateLimitExceeded", "User Rate Limit Exceeded"),
		"quota":     wrong(http.StatusForbidden, "quotaExceeded", "Quota exceeded: Your project exceeded quota for free query bytes scanned."),
		"job rate":  wrong(http.StatusBadRequest, "jobRateLimitExceeded", "Exceeded rate limits: too many concurrent queries for this project."),
		"denied":    wrong(http.StatusForbidden, "accessDenied", "Access Denied: Table acme:crm.accounts: User does not have permission to query table"),
		"missing":   wrong(http.StatusNotFound, "notFound", "Not found: Table acme:crm.nothing was not found in location EU"),
		"query":     wrong(http.StatusBadRequest, "invalidQuery", "Syntax error: Unexpected end of statement at [1:7]"),
		"bytes":     wrong(http.StatusBadRequest, "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 1000."),
		"resources": wrong(http.StatusBadRequest, "resourcesExceeded", "Resources exceeded during query execution"),
		"too large": wrong(http.StatusForbidden, "responseTooLarge", "Response too large to return."),
		"backend":   wrong(http.StatusServiceUnavailable, "backendError", "Error encountered during execution. Retrying may solve the problem."),
		"internal":  wrong(http.StatusInternalServerError, "internalError", "An internal error occurred and the request could not be completed."),
	})
	changes := regexp.MustCompile(`(?i)^\s*(insert|update|delete|merge|create|drop|alter|truncate)\b`)
	s.bigQueryJobs(wrong, func(c *call, sql string) bool {
		token, _ := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
		s.Tokens.mu.Lock()
		defer s.Tokens.mu.Unlock()
		return !changes.MatchString(sql) || token == Token || strings.Contains(scopes[token]+" ", googleScope+"bigquery ")
	}, changes)
	s.bigQueryTables()
	return s
}

// googleAssertion returns the scopes that an assertion asks for, or the code of
// what is wrong with it.
func googleAssertion(text string) (scope, problem string) {
	claims, ok := jwt(text)
	iat, _ := claims["iat"].(float64)
	exp, _ := claims["exp"].(float64)
	scope, _ = claims["scope"].(string)
	switch {
	case !ok, claims["iss"] == "", claims["aud"] != GoogleAudience, exp-iat > 3600:
		return "", "invalid_grant"
	case scope == "":
		return "", "invalid_scope"
	}
	return scope, ""
}

// jwt reads the claims of a token that was signed with RS256; the signature is not
// verified.
func jwt(text string) (claims object, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, false
	}
	var header object
	for i, into := range []*object{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return nil, false
		}
	}
	return claims, header["alg"] == "RS256"
}

var bigQuerySchema = object{"fields": []object{{"name": "id", "type": "INTEGER", "mode": "NULLABLE"}, {"name": "name", "type": "STRING", "mode": "NULLABLE"}}}

const bigQueryRoot = "/bigquery/v2/projects/" + Project

func bigQueryRows() []object {
	return many(7, func(i int) object {
		return object{"f": []object{{"v": strconv.Itoa(9007199254740990 + i)}, {"v": fmt.Sprintf("Account %d", i)}}}
	})
}

func (s *Server) bigQueryJobs(wrong func(int, string, string) Answer, may func(*call, string) bool, changes *regexp.Regexp) {
	reference := object{"projectId": Project, "jobId": "job_1", "location": "EU"}
	rows := bigQueryRows()
	s.handle("POST "+bigQueryRoot+"/queries", "query useLegacySql maxResults timeoutMs formatOptions queryParameters location dryRun maximumBytesBilled", func(c *call) Answer {
		sql, _ := c.body["query"].(string)
		switch {
		case c.body["useLegacySql"] != false, sql == "":
			return s.failures["query"]
		case !may(c, sql):
			return wrong(http.StatusForbidden, "insufficientPermissions", "Request had insufficient authentication scopes.")
		case strings.Contains(sql, "slow"):
			return Answer{Body: object{"kind": "bigquery#queryResponse", "jobReference": reference, "jobComplete": false}}
		case c.body["dryRun"] == true:
			return Answer{Body: object{"kind": "bigquery#queryResponse", "schema": bigQuerySchema, "jobReference": object{"projectId": Project, "location": "EU"}, "totalBytesProcessed": "1024", "jobComplete": true, "cacheHit": false}}
		case changes.MatchString(sql):
			s.wrote()
			return Answer{Body: object{"kind": "bigquery#queryResponse", "schema": object{}, "jobReference": reference, "totalRows": "0", "jobComplete": true, "numDmlAffectedRows": "3", "dmlStats": object{"updatedRowCount": "3"}}}
		}
		size := 100
		if n, ok := c.body["maxResults"].(json.Number); ok {
			size = number(n.String(), 100)
		}
		body := object{"kind": "bigquery#queryResponse", "schema": bigQuerySchema, "jobReference": reference, "totalRows": strconv.Itoa(len(rows)), "rows": page(rows, 0, size), "totalBytesProcessed": "1024", "jobComplete": true, "cacheHit": false}
		if size < len(rows) {
			body["pageToken"] = "token-" + strconv.Itoa(size)
		}
		return Answer{Body: body}
	})
	s.handle("GET "+bigQueryRoot+"/queries/{job}", "location timeoutMs maxResults pageToken startIndex formatOptions.timestampOutputFormat", func(c *call) Answer {
		if c.PathValue("job") != "job_1" {
			return s.failures["missing"]
		}
		start := number(strings.TrimPrefix(c.query.Get("pageToken"), "token-"), number(c.query.Get("startIndex"), 0))
		some := page(rows, start, number(c.query.Get("maxResults"), 100))
		body := object{"kind": "bigquery#getQueryResultsResponse", "schema": bigQuerySchema, "jobReference": reference, "totalRows": strconv.Itoa(len(rows)), "rows": some, "jobComplete": true, "totalBytesProcessed": "1024"}
		if start+len(some) < len(rows) {
			body["pageToken"] = "token-" + strconv.Itoa(start+len(some))
		}
		return Answer{Body: body}
	})
	job := func(i int) object {
		return object{"id": fmt.Sprintf("j%d", i), "jobReference": reference, "state": "DONE", "status": object{"state": "DONE"}, "user_email": Mail, "statistics": object{"creationTime": "1761990000000", "endTime": "1761990001000",
			"totalBytesProcessed": "1024", "query": object{"statementType": "SELECT", "totalBytesBilled": "10485760"}}, "configuration": object{"jobType": "QUERY", "query": object{"query": "SELECT 1"}}}
	}
	s.bigQueryList("/jobs", "projection stateFilter", "jobs", many(7, job))
	s.handle("GET "+bigQueryRoot+"/jobs/{job}", "location", func(*call) Answer { return Answer{Body: job(1)} })
	s.handle("POST "+bigQueryRoot+"/jobs/{job}/cancel", "location", func(*call) Answer {
		s.wrote()
		return Answer{Body: object{"kind": "bigquery#jobCancelResponse", "job": job(1)}}
	})
}

func (s *Server) bigQueryList(path, params, member string, records []object) {
	s.handle("GET "+bigQueryRoot+path, params+" maxResults pageToken", func(c *call) Answer {
		start := number(strings.TrimPrefix(c.query.Get("pageToken"), "token-"), 0)
		some := page(records, start, number(c.query.Get("maxResults"), 50))
		body := object{"kind": "bigquery#list", "etag": "e", member: some}
		if member == "tables" {
			body["totalItems"] = len(records)
		}
		if start+len(some) < len(records) {
			body["nextPageToken"] = "token-" + strconv.Itoa(start+len(some))
		}
		return Answer{Body: body}
	})
}

func (s *Server) bigQueryTables() {
	s.bigQueryList("/datasets", "", "datasets", many(7, func(i int) object {
		return object{"id": "x", "datasetReference": object{"datasetId": fmt.Sprintf("crm%d", i), "projectId": Project}, "friendlyName": "CRM", "location": "EU", "labels": object{"team": "sales"}}
	}))
	s.bigQueryList("/datasets/{dataset}/tables", "", "tables", many(7, func(i int) object {
		return object{"id": "x", "tableReference": object{"tableId": fmt.Sprintf("t%d", i), "datasetId": "crm", "projectId": Project}, "type": "TABLE", "timePartitioning": object{"field": "day", "type": "DAY"}, "creationTime": "1761990000000"}
	}))
	s.handle("GET "+bigQueryRoot+"/datasets/{dataset}/tables/{table}", "", func(c *call) Answer {
		if c.PathValue("table") == "nothing" {
			return s.failures["missing"]
		}
		return Answer{Body: object{"etag": "e", "tableReference": object{"datasetId": "crm", "tableId": "accounts"}, "type": "TABLE", "schema": bigQuerySchema, "numRows": "9007199254740993", "numBytes": "1024", "lastModifiedTime": "1761990000000", "location": "EU"}}
	})
	rows := bigQueryRows()
	s.handle("GET "+bigQueryRoot+"/datasets/{dataset}/tables/{table}/data", "selectedFields maxResults pageToken startIndex formatOptions.timestampOutputFormat", func(c *call) Answer {
		start := number(strings.TrimPrefix(c.query.Get("pageToken"), "token-"), 0)
		some := page(rows, start, number(c.query.Get("maxResults"), 100))
		body := object{"kind": "bigquery#tableDataList", "totalRows": strconv.Itoa(len(rows)), "rows": some}
		if start+len(some) < len(rows) {
			body["pageToken"] = "token-" + strconv.Itoa(start+len(some))
		}
		return Answer{Body: body}
	})
}
