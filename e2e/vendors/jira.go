package vendors

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// CloudID is the Jira site that the fake has, and Mail whose API token [Token]
// is.
const (
	CloudID = "11223344-a1b2-3b33-c444-def123456789"
	Mail    = "ada@example.com"
)

// Jira is the gateway of Atlassian's cloud: Basic with an API token, or bearer
// tokens for an hour, whose refresh token is good once; a refresh token that is
// not comes back as 403.
//
// https://developer.atlassian.com/cloud/jira/platform/rate-limiting/
// https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/intro/
func Jira() *Server {
	s := newServer()
	s.endpoint("/oauth/token", &Tokens{
		proof: "post", ttl: 3600, rotates: true, grants: []string{"refresh_token", "authorization_code", "client_credentials"},
		refusal: func(code string) Answer {
			switch code {
			case "invalid_grant":
				return Answer{Status: http.StatusForbidden, Body: object{"error": code, "error_description": "Unknown or invalid refresh token."}}
			case "invalid_client":
				return Answer{Status: http.StatusUnauthorized, Body: object{"error": "access_denied", "error_description": "Unauthorized"}}
			}
			return Answer{Status: http.StatusBadRequest, Body: object{"error": code}}
		},
		response: func(access, refresh string, ttl int, form url.Values) any {
			m := object{"access_token": access, "expires_in": ttl, "token_type": "Bearer"}
			if form.Get("grant_type") != "client_credentials" {
				m["refresh_token"], m["scope"] = refresh, "read:jira-work read:jira-user offline_access"
			}
			return m
		},
	})
	bearer := s.accepts
	s.accepts = func(r *http.Request) bool {
		user, token, basic := r.BasicAuth()
		return bearer(r) || basic && user == Mail && token == Token
	}
	wrong := func(status int, messages ...string) Answer {
		return Answer{Status: status, Body: object{"errorMessages": messages, "errors": object{}}}
	}
	s.denied = Answer{Status: http.StatusUnauthorized, Body: object{"code": 401, "message": "Unauthorized; scope does not match"}}
	s.unknown = wrong(http.StatusNotFound, "null for uri")
	s.tells = func(h http.Header) {
		h.Set("X-Ratelimit-Limit", "350")
		h.Set("X-Ratelimit-Remaining", "349")
		h.Set("Beta-Ratelimit-Policy", `"tenant-app-quota";q=100100;w=3600`)
		h.Set("Beta-Ratelimit", `"tenant-app-quota";r=17842;t=2107`)
	}
	limited := func(reason string, header ...string) Answer {
		a := wrong(http.StatusTooManyRequests, "Rate limit exceeded.")
		a.Header = map[string]string{"Ratelimit-Reason": reason}
		for i := 0; i < len(header); i += 2 {
			a.Header[header[i]] = header[i+1]
		}
		return a
	}
	minute := time.Now().Add(4 * time.Minute).UTC().Format("2006-01-02T15:04Z")
	maps.Copy(s.failures, map[string]Answer{
		"burst":       limited("jira-burst-based", "Retry-After", "5", "X-Ratelimit-Remaining", "0"),
		"hour":        limited("jira-quota-tenant-based", "Retry-After", "847", "X-Ratelimit-Reset", minute, "Beta-Ratelimit", `"tenant-app-quota";r=0;t=847`),
		"hour, no ra": limited("jira-quota-tenant-based", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", minute),
		"issue":       limited("jira-per-issue-on-write", "Retry-After", "2"),
		"no resource": {Status: http.StatusServiceUnavailable, Header: map[string]string{"Retry-After": "3"}, Body: object{}},
		"forbidden":   wrong(http.StatusForbidden, "You do not have permission to view this issue."),
		"missing":     wrong(http.StatusNotFound, "Issue does not exist or you do not have permission to see it."),
		"jql":         wrong(http.StatusBadRequest, "Error in the JQL Query: Expecting operator but got 'x'."),
		"unbounded":   wrong(http.StatusBadRequest, "Unbounded JQL queries are not allowed here. Please add a search restriction to your query."),
		"field":       {Status: http.StatusBadRequest, Body: object{"errorMessages": []string{}, "errors": object{"summary": "You must specify a summary of the issue."}}},
		"conflict":    wrong(http.StatusConflict, "The issue was changed meanwhile."),
		"server":      wrong(http.StatusInternalServerError, "Internal server error"),
	})
	jiraReads(s)
	jiraWrites(s)
	return s
}

const jiraRoot = "/ex/jira/" + CloudID + "/rest/api/2"

func jiraIssue(i int) object {
	person := object{"accountId": "5b10a2844c20165700ede21g", "displayName": "Ada", "active": true}
	return object{"id": strconv.Itoa(10000 + i), "key": fmt.Sprintf("SHOP-%d", i), "self": "https://api.atlassian.com/x", "fields": object{
		"summary": fmt.Sprintf("Issue %d", i), "description": "h2. It fails", "status": object{"name": "To Do", "id": "1", "iconUrl": "x"}, "issuetype": object{"name": "Bug"}, "priority": object{"name": "High"},
		"assignee": person, "reporter": person, "labels": []string{"billing"}, "created": "2026-11-01T10:00:00.000+0000", "updated": "2026-11-02T10:00:00.000+0000", "duedate": nil, "resolution": nil,
		"customfield_10016": 3}}
}

func jiraReads(s *Server) {
	issues := many(7, jiraIssue)
	s.handle("GET "+jiraRoot+"/search/jql", "jql nextPageToken maxResults fields", func(c *call) Answer {
		if jql := c.query.Get("jql"); jql == "" || strings.HasPrefix(jql, "ORDER") {
			return s.failures["unbounded"]
		}
		start := number(strings.TrimPrefix(c.query.Get("nextPageToken"), "token-"), 0)
		some := page(issues, start, number(c.query.Get("maxResults"), 50))
		body := object{"issues": some, "isLast": start+len(some) >= len(issues)} // without a total
		if body["isLast"] == false {
			body["nextPageToken"] = fmt.Sprintf("token-%d", start+len(some))
		}
		return Answer{Body: body}
	})
	s.handle("GET "+jiraRoot+"/issue/{key}", "", func(c *call) Answer {
		for _, i := range issues {
			if i["key"] == c.PathValue("key") {
				return Answer{Body: i}
			}
		}
		return s.failures["missing"]
	})
	author := object{"displayName": "Ada", "accountId": "5b"}
	for path, kind := range map[string]struct {
		params, member string
		records        []object
	}{
		"/issue/{key}/comment": {"orderBy", "comments", many(7, func(i int) object {
			return object{"id": strconv.Itoa(i), "author": author, "body": "Seen *here* too", "created": "2026-11-01T10:00:00.000+0000", "updated": "2026-11-01T10:00:00.000+0000"}
		})},
		"/issue/{key}/changelog": {"", "values", many(7, func(i int) object {
			return object{"id": strconv.Itoa(i), "author": author, "created": "2026-11-01T10:00:00.000+0000", "items": []object{{"field": "status", "fromString": "To Do", "toString": "Done", "from": "1"}}}
		})},
		"/project/search": {"query expand", "values", many(7, func(i int) object {
			return object{"id": strconv.Itoa(i), "key": fmt.Sprintf("P%d", i), "name": "Shop", "projectTypeKey": "software", "style": "classic", "isPrivate": false, "lead": author, "avatarUrls": object{"16x16": "x"}}
		})},
	} {
		s.handle("GET "+jiraRoot+path, kind.params+" startAt maxResults", func(c *call) Answer {
			start := number(c.query.Get("startAt"), 0)
			some := page(kind.records, start, number(c.query.Get("maxResults"), 50))
			return Answer{Body: object{"startAt": start, "maxResults": number(c.query.Get("maxResults"), 50), "total": len(kind.records), "isLast": start+len(some) >= len(kind.records), kind.member: some}}
		})
	}
	users := many(7, func(i int) object {
		return object{"accountId": fmt.Sprintf("5b%d", i), "displayName": "Ada", "emailAddress": Mail, "accountType": "atlassian", "active": true, "timeZone": "Europe/London"}
	})
	s.handle("GET "+jiraRoot+"/user/search", "query startAt maxResults", func(c *call) Answer {
		return Answer{Body: page(users, number(c.query.Get("startAt"), 0), number(c.query.Get("maxResults"), 50))}
	})
	s.handle("GET "+jiraRoot+"/issue/{key}/transitions", "", func(*call) Answer {
		return Answer{Body: object{"expand": "transitions", "transitions": []object{{"id": "31", "name": "Done", "to": object{"name": "Done", "statusCategory": object{"name": "Done"}}, "hasScreen": false}}}}
	})
	s.handle("GET "+jiraRoot+"/project/{key}", "", func(*call) Answer {
		return Answer{Body: object{"key": "SHOP", "name": "Shop", "lead": author, "issueTypes": []object{{"id": "1", "name": "Bug", "subtask": false, "iconUrl": "x"}}, "components": []object{}, "versions": []object{}, "projectTypeKey": "software"}}
	})
	s.handle("GET "+jiraRoot+"/field", "", func(*call) Answer {
		return Answer{Body: []object{{"id": "customfield_10016", "name": "Points", "custom": true, "schema": object{"type": "number", "customId": 10016}, "clauseNames": []string{"cf[10016]", "Points"}}}}
	})
}

func jiraWrites(s *Server) {
	s.handle("POST "+jiraRoot+"/issue", "fields update", func(c *call) Answer {
		if f, ok := c.body["fields"].(object); !ok || f["summary"] == nil {
			return s.failures["field"]
		}
		s.wrote()
		return Answer{Status: http.StatusCreated, Body: object{"id": "10008", "key": "SHOP-8", "self": "https://api.atlassian.com/x"}}
	})
	done := func(*call) Answer {
		s.wrote()
		return Answer{Status: http.StatusNoContent}
	}
	s.handle("PUT "+jiraRoot+"/issue/{key}", "fields update", done)
	s.handle("POST "+jiraRoot+"/issue/{key}/transitions", "transition fields update", done)
	s.handle("POST "+jiraRoot+"/issue/{key}/comment", "body visibility", func(*call) Answer {
		s.wrote()
		return Answer{Status: http.StatusCreated, Body: object{"id": "9", "body": "x", "created": "2026-11-01T10:00:00.000+0000"}}
	})
}
