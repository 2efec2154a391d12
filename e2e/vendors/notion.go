package vendors

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
)

// Notion is the API with a token of an internal connection ([Token]) or of a
// person. The token endpoint wants Basic and JSON; a refresh gives both tokens
// anew and ends the ones before.
//
// https://developers.notion.com/reference/request-limits
// https://developers.notion.com/reference/status-codes
// https://developers.notion.com/reference/refresh-a-token
func Notion() *Server {
	s := newServer()
	wrong := func(status int, code, message string) Answer {
		return Answer{Status: status, Body: object{"object": "error", "status": status, "code": code, "message": message, "request_id": "e4e8c8a0"}}
	}
	s.endpoint("/v1/oauth/token", &Tokens{
		proof: "basic", json: true, ttl: 0, rotates: true, kills: true, grants: []string{"refresh_token", "authorization_code"},
		response: func(access, refresh string, _ int, _ url.Values) any {
			return object{"access_token": access, "refresh_token": refresh, "token_type": "bearer", "bot_id": "b3414d65", "workspace_id": "w", "workspace_name": "Acme", "owner": object{"type": "user"}, "duplicated_template_id": nil}
		},
	})
	s.consent("/v1/oauth/authorize")
	s.denied = wrong(http.StatusUnauthorized, "unauthorized", "API token is invalid.")
	s.unknown = wrong(http.StatusBadRequest, "invalid_request_url", "Invalid request URL.")
	s.refuses = func(r *http.Request) *Answer {
		switch v := r.Header.Get("Notion-Version"); v {
		case "2026-03-11":
			return nil
		case "":
			a := wrong(http.StatusBadRequest, "missing_version", "Notion-Version header failed validation: Notion-Version header should be defined, instead was `undefined`.")
			return &a
		default:
			a := wrong(http.StatusBadRequest, "validation_error", "Notion-Version header is not "+v)
			return &a
		}
	}
	limited := func(status int, code, reason, wait string) Answer {
		a := wrong(status, code, "You have been rate limited. Please try again in a few minutes.")
		if reason != "" {
			a.Body.(object)["additional_data"] = object{"rate_limit_reason": reason}
		}
		a.Header = map[string]string{"Retry-After": wait}
		return a
	}
	maps.Copy(s.failures, map[string]Answer{
		"connection": limited(http.StatusTooManyRequests, "rate_limited", "connection", "41"),
		"workspace":  limited(http.StatusTooManyRequests, "rate_limited", "workspace", "130"),
		"overload":   limited(529, "service_overload", "", "7"),
		"missing":    wrong(http.StatusNotFound, "object_not_found", "Could not find page with ID: 1. Make sure the relevant pages and databases are shared with your integration."),
		"restricted": wrong(http.StatusForbidden, "restricted_resource", "Insufficient permissions for this endpoint."),
		"conflict":   wrong(http.StatusConflict, "conflict_error", "Conflict occurred while saving. Please try again."),
		"validation": wrong(http.StatusBadRequest, "validation_error", "body failed validation: body.properties should be defined, instead was `undefined`."),
		"internal":   wrong(http.StatusInternalServerError, "internal_server_error", "Unexpected error occurred."),
		"database":   wrong(http.StatusServiceUnavailable, "database_connection_unavailable", "Notion's database is unavailable."),
		"gateway":    wrong(http.StatusGatewayTimeout, "gateway_timeout", "The request took too long."),
		"proxy":      {Status: http.StatusBadGateway, Body: "<html>Bad gateway</html>", Header: map[string]string{"Content-Type": "text/html"}},
	})
	notionRoutes(s)
	return s
}

// notionList is one page of a list.
func notionList(records []object, cursor, size string) Answer {
	start := 0
	if cursor != "" {
		start = number(cursor[len("cursor-"):], 0)
	}
	some := page(records, start, min(number(size, 100), 100))
	body := object{"object": "list", "results": some, "next_cursor": nil, "has_more": start+len(some) < len(records), "type": "page_or_data_source", "request_id": "r"}
	if body["has_more"] == true {
		body["next_cursor"] = fmt.Sprintf("cursor-%d", start+len(some))
	}
	return Answer{Body: body}
}

func notionRoutes(s *Server) {
	leaf := object{"object": "page", "id": "p1", "url": "https://www.notion.so/p1", "parent": object{"type": "workspace", "workspace": true}, "created_time": "2026-11-01T10:00:00.000Z",
		"last_edited_time": "2026-11-02T10:00:00.000Z", "created_by": object{"object": "user", "id": "u1"}, "last_edited_by": object{"object": "user", "id": "u1"}, "in_trash": false, "icon": nil, "cover": nil,
		"properties": object{"title": object{"id": "title", "type": "title", "title": []object{{"plain_text": "Plan"}}}}}
	like := func(more object) func(int) object {
		return func(i int) object {
			one := maps.Clone(leaf)
			maps.Copy(one, more)
			one["id"] = fmt.Sprintf("id-%d", i)
			return one
		}
	}
	pages := many(7, like(nil))
	fromBody := func(c *call) Answer {
		text := func(name string) string {
			switch v := c.body[name].(type) {
			case string:
				return v
			case json.Number:
				return v.String()
			}
			return ""
		}
		return notionList(pages, text("start_cursor"), text("page_size"))
	}
	s.handle("POST /v1/search", "query filter sort start_cursor page_size", func(c *call) Answer {
		if f, ok := c.body["filter"].(object); !ok || f["property"] != "object" || f["value"] == nil {
			return s.failures["validation"]
		}
		return fromBody(c)
	})
	s.handle("POST /v1/data_sources/{id}/query", "filter sorts filter_properties start_cursor page_size", fromBody)
	for path, records := range map[string][]object{
		"/v1/blocks/{id}/children": many(7, like(object{"object": "block", "type": "paragraph", "has_children": false})),
		"/v1/comments":             many(7, like(object{"object": "comment", "discussion_id": "d1", "rich_text": []object{{"plain_text": "Fine"}}})),
		"/v1/users":                many(7, like(object{"object": "user", "type": "person", "name": "Ada", "person": object{"email": Mail}, "avatar_url": nil})),
	} {
		s.handle("GET "+path, "block_id start_cursor page_size", func(c *call) Answer {
			return notionList(records, c.query.Get("start_cursor"), c.query.Get("page_size"))
		})
	}
	for path, one := range map[string]object{
		"/v1/pages/{id}":          leaf,
		"/v1/pages/{id}/markdown": {"object": "page_markdown", "id": "p1", "markdown": "# Plan\n", "truncated": false, "unknown_block_ids": []string{}},
		"/v1/databases/{id}":      {"object": "database", "id": "d1", "url": "https://www.notion.so/d1", "title": []object{{"plain_text": "Tasks", "type": "text"}}, "description": []object{}, "data_sources": []object{{"id": "ds1", "name": "Tasks"}}, "parent": object{"type": "workspace"}, "last_edited_time": "2026-11-01T10:00:00.000Z", "icon": nil},
		"/v1/data_sources/{id}":   {"object": "data_source", "id": "ds1", "url": "https://www.notion.so/ds1", "title": []object{{"plain_text": "Tasks", "type": "text"}}, "properties": object{"Status": object{"id": "s", "type": "status"}}, "parent": object{"type": "database_id"}, "last_edited_time": "2026-11-01T10:00:00.000Z", "icon": nil},
	} {
		s.handle("GET "+path, "include_transcript", func(c *call) Answer {
			if c.PathValue("id") == "0" {
				return s.failures["missing"]
			}
			return Answer{Body: one}
		})
	}
	write := func(answer object) func(*call) Answer {
		return func(*call) Answer {
			s.wrote()
			return Answer{Body: answer}
		}
	}
	s.handle("POST /v1/pages", "parent properties markdown", write(leaf))
	s.handle("PATCH /v1/pages/{id}", "properties in_trash", write(leaf))
	s.handle("POST /v1/comments", "parent markdown rich_text", write(object{"object": "comment", "id": "c1", "discussion_id": "d1", "created_time": "2026-11-01T10:00:00.000Z"}))
}
