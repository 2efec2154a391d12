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

// Linear is the GraphQL API with a personal key ([Token], without Bearer) or with
// the tokens of an app: 24 hours and a new refresh token each time for a person,
// 30 days and none for the app itself. Errors come with 200 or 400.
//
// https://linear.app/developers/graphql
// https://linear.app/developers/oauth-2-0-authentication
// https://linear.app/developers/rate-limiting
func Linear() *Server {
	s := newServer()
	s.endpoint("/oauth/token", &Tokens{
		ttl: 86399, rotates: true, kills: true, grants: []string{"refresh_token", "authorization_code", "client_credentials"},
		response: func(access, refresh string, ttl int, form url.Values) any {
			m := object{"access_token": access, "token_type": "Bearer", "expires_in": ttl, "scope": "read"}
			if strings.Contains(form.Get("scope"), "write") {
				m["scope"] = "read write"
			}
			if form.Get("grant_type") == "client_credentials" {
				m["expires_in"] = 2591999
			} else {
				m["refresh_token"] = refresh
			}
			return m
		},
	})
	bearer := s.accepts
	s.accepts = func(r *http.Request) bool { return r.Header.Get("Authorization") == Token || bearer(r) }
	wrong := func(status int, code, kind, message string) Answer {
		return Answer{Status: status, Body: object{"errors": []object{{"message": message, "path": []string{"issues"}, "extensions": object{
			"type": kind, "code": code, "statusCode": status, "userError": true, "userPresentableMessage": message}}}, "data": nil}}
	}
	s.denied = wrong(http.StatusUnauthorized, "AUTHENTICATION_ERROR", "authentication error", "You need to authenticate to access this operation.")
	s.unknown = Answer{Status: http.StatusNotFound, Body: "Not found"}
	in := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10) }
	s.tells = func(h http.Header) {
		h.Set("X-Ratelimit-Requests-Limit", "5000")
		h.Set("X-Ratelimit-Requests-Remaining", "4990")
		h.Set("X-Ratelimit-Requests-Reset", in(time.Hour))
		h.Set("X-Complexity", "26")
		h.Set("X-Ratelimit-Complexity-Limit", "2000000")
		h.Set("X-Ratelimit-Complexity-Remaining", "1999000")
		h.Set("X-Ratelimit-Complexity-Reset", in(time.Hour))
	}
	limited := wrong(http.StatusBadRequest, "RATELIMITED", "ratelimited", "Rate limit exceeded.")
	spent := func(what string, d time.Duration) Answer {
		a := limited
		a.Header = map[string]string{"X-Ratelimit-" + what + "-Remaining": "0", "X-Ratelimit-" + what + "-Reset": in(d)}
		return a
	}
	maps.Copy(s.failures, map[string]Answer{
		"requests":   spent("Requests", 70*time.Second),
		"complexity": spent("Complexity", 40*time.Second),
		"limited":    limited,
		"forbidden":  wrong(http.StatusOK, "FORBIDDEN", "forbidden", "You do not have access to this team."),
		"expired":    wrong(http.StatusOK, "AUTHENTICATION_ERROR", "authentication error", "Your session has ended."),
		"input":      wrong(http.StatusOK, "INPUT_ERROR", "invalid input", "Entity not found: Issue"),
		"too costly": wrong(http.StatusBadRequest, "INPUT_ERROR", "invalid input", "Query too complex"),
		"document":   wrong(http.StatusBadRequest, "GRAPHQL_VALIDATION_FAILED", "graphql error", "Cannot query field \"x\" on type \"Issue\"."),
		"partial": {Body: object{"errors": []object{{"message": "The team is gone.", "extensions": object{"code": "INTERNAL_SERVER_ERROR"}}},
			"data": object{"issue": object{"id": "1", "team": nil}}}},
		"gateway": {Status: http.StatusBadGateway, Body: "<html></html>", Header: map[string]string{"Content-Type": "text/html"}},
	})
	fields := linearFields()
	s.handle("POST /graphql", "query variables operationName", func(c *call) Answer {
		data, a := ask(c, fields, func(problem string) Answer {
			return wrong(http.StatusBadRequest, "GRAPHQL_VALIDATION_FAILED", "graphql error", problem)
		})
		if a != nil {
			return *a
		}
		if v, ok := data["issue"]; ok && v == nil {
			return s.failures["input"]
		}
		return Answer{Body: object{"data": data}}
	})
	return s
}

func linearFields() map[string]resolver {
	issue := func(i int) object {
		return object{"id": fmt.Sprintf("uuid-%d", i), "identifier": fmt.Sprintf("ENG-%d", i), "title": fmt.Sprintf("Issue %d", i), "description": "It fails.", "url": "https://linear.app/acme/issue/ENG-1",
			"priority": 2, "priorityLabel": "High", "estimate": 3, "dueDate": nil, "createdAt": "2026-11-01T10:00:00.000Z", "updatedAt": "2026-11-02T10:00:00.000Z", "completedAt": nil, "canceledAt": nil,
			"state": object{"id": "s1", "name": "Todo", "type": "unstarted"}, "assignee": object{"name": "Ada", "email": Mail}, "creator": object{"name": "Ada"}, "team": object{"key": "ENG", "name": "Engineering"},
			"project": nil, "cycle": object{"number": 4}, "labels": object{"nodes": []object{{"name": "bug"}}}, "parent": nil}
	}
	issues := many(7, issue)
	list := func(args string, records []object) resolver {
		return resolver{"query", args + " first after", func(v object) any { return relay(records, v) }}
	}
	found := list("term includeComments", issues)
	found.get = func(v object) any {
		r := relay(issues, v)
		r["totalCount"] = len(issues)
		return r
	}
	comments := many(7, func(i int) object {
		return object{"id": fmt.Sprintf("c%d", i), "body": "Seen here.", "createdAt": "2026-11-01T10:00:00.000Z", "updatedAt": "2026-11-01T10:00:00.000Z", "url": "https://linear.app/c", "user": object{"name": "Ada"}}
	})
	team := object{"key": "ENG"}
	return map[string]resolver{
		"issues":       list("filter orderBy", issues),
		"searchIssues": found,
		"issue": {"query", "id", func(v object) any {
			i, ok := named(issues, v["id"]).(object)
			if !ok {
				return nil
			}
			with := maps.Clone(i)
			with["comments"] = relay(comments, v)
			return with
		}},
		"projects": list("filter", many(7, func(i int) object {
			return object{"id": fmt.Sprintf("p%d", i), "name": "Checkout", "description": "", "url": "https://linear.app/p", "status": object{"name": "Started", "type": "started"}, "health": "onTrack",
				"progress": 0.4, "startDate": "2026-10-01", "targetDate": "2026-12-01", "lead": object{"name": "Ada"}, "createdAt": "2026-09-01T10:00:00.000Z", "updatedAt": "2026-11-01T10:00:00.000Z"}
		})),
		"teams": list("", many(7, func(i int) object {
			return object{"id": fmt.Sprintf("t%d", i), "key": "ENG", "name": "Engineering", "description": nil, "private": false, "timezone": "Europe/London"}
		})),
		"users": list("filter", many(7, func(i int) object {
			return object{"id": fmt.Sprintf("u%d", i), "name": "Ada", "displayName": "ada", "email": Mail, "active": true, "admin": false, "guest": false}
		})),
		"cycles": list("filter", many(7, func(i int) object {
			return object{"id": fmt.Sprintf("y%d", i), "number": i, "name": nil, "startsAt": "2026-11-01T00:00:00.000Z", "endsAt": "2026-11-14T00:00:00.000Z", "completedAt": nil, "progress": 0.5, "team": team}
		})),
		"workflowStates": list("filter", many(7, func(i int) object {
			return object{"id": fmt.Sprintf("s%d", i), "name": "Todo", "type": "unstarted", "position": i, "team": team}
		})),
		"issueCreate":   {"mutation", "input", func(object) any { return object{"success": true, "issue": issue(8)} }},
		"issueUpdate":   {"mutation", "id input", func(object) any { return object{"success": true, "issue": issue(1)} }},
		"commentCreate": {"mutation", "input", func(object) any { return object{"success": true, "comment": comments[0]} }},
	}
}
