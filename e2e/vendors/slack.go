package vendors

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Slack is the Web API with a bot token ([Token]) or with tokens that rotate:
// 12 hours, each refresh token once, token_type bot. What fails is 200 with ok
// false; a limit is 429 with Retry-After.
//
// https://docs.slack.dev/apis/web-api/
// https://docs.slack.dev/apis/web-api/rate-limits
// https://docs.slack.dev/authentication/using-token-rotation
func Slack() *Server {
	s := newServer()
	s.endpoint("/api/oauth.v2.access", &Tokens{
		ttl: 43200, rotates: true, grants: []string{"refresh_token", "authorization_code"},
		refusal: func(code string) Answer {
			if own := map[string]string{"invalid_client": "bad_client_secret", "invalid_grant": "invalid_refresh_token", "unsupported_grant_type": "invalid_grant_type"}[code]; own != "" {
				code = own
			}
			return Answer{Body: object{"ok": false, "error": code}}
		},
		response: func(access, refresh string, ttl int, form url.Values) any {
			if form.Has("user_scope") { // then it is a user who has agreed
				return object{"ok": true, "app_id": "A0KRD7HC3", "team": object{"name": "Acme", "id": "T9TK3CUKW"}, "enterprise": nil, "authed_user": object{"id": "U1234", "scope": form.Get("user_scope"),
					"access_token": access, "token_type": "user", "expires_in": ttl, "refresh_token": refresh}}
			}
			return object{"ok": true, "access_token": access, "token_type": "bot", "scope": "channels:history,channels:read", "bot_user_id": "U0KRQLJ9H", "app_id": "A0KRD7HC3",
				"expires_in": ttl, "refresh_token": refresh, "team": object{"name": "Acme", "id": "T9TK3CUKW"}, "enterprise": nil, "authed_user": object{"id": "U1234"}}
		},
	})
	s.consent("/oauth/v2/authorize")
	s.accepts = func(*http.Request) bool { return true }
	s.refuses = func(r *http.Request) *Answer { // in a 200, as everything
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		a := slackWrong("invalid_auth")
		switch {
		case s.Tokens.Good(token):
			return nil
		case s.Tokens.ended(token):
			a = slackWrong("token_expired")
		}
		return &a
	}
	s.unknown = slackWrong("unknown_method")
	for _, code := range []string{"token_expired", "token_revoked", "account_inactive", "missing_scope", "not_in_channel", "channel_not_found", "user_not_found", "thread_not_found",
		"invalid_cursor", "invalid_arguments", "msg_too_long", "internal_error", "fatal_error", "service_unavailable", "something_new"} {
		s.failures[code] = slackWrong(code)
	}
	scope := s.failures["missing_scope"]
	scope.Body = object{"ok": false, "error": "missing_scope", "needed": "channels:history", "provided": "channels:read"}
	s.failures["missing_scope"] = scope
	s.failures["invalid_arguments"] = Answer{Body: object{"ok": false, "error": "invalid_arguments", "response_metadata": object{"messages": []string{"[ERROR] missing required field: channel"}}}}
	s.failures["429"] = Answer{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "30"}, Body: object{"ok": false, "error": "ratelimited"}}
	s.failures["429 without body"] = Answer{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "30"}}
	s.failures["200 limited"] = Answer{Header: map[string]string{"Retry-After": "12"}, Body: object{"ok": false, "error": "ratelimited"}}
	s.failures["outage"] = Answer{Status: http.StatusServiceUnavailable, Body: "upstream connect error"}
	slackRoutes(s)
	return s
}

func slackWrong(code string) Answer { return Answer{Body: object{"ok": false, "error": code}} }

func slackRoutes(s *Server) {
	channel := func(i int) object {
		return object{"id": fmt.Sprintf("C%d", i), "name": fmt.Sprintf("team-%d", i), "is_channel": true, "is_private": false, "is_archived": false, "is_member": true,
			"topic": object{"value": "Work", "creator": "U1", "last_set": 0}, "purpose": object{"value": "", "creator": "", "last_set": 0}, "num_members": 4, "created": 1449252889, "creator": "U1"}
	}
	message := func(i int) object {
		return object{"type": "message", "ts": fmt.Sprintf("176199%04d.000100", i), "user": "U1", "text": fmt.Sprintf("Message %d", i), "thread_ts": "1761990001.000100", "reply_count": 2,
			"reactions": []object{{"name": "tada", "count": 2, "users": []string{"U1"}}}, "blocks": []object{{"type": "rich_text"}}}
	}
	user := func(i int) object {
		return object{"id": fmt.Sprintf("U%d", i), "name": "ada", "real_name": "Ada", "tz": "Europe/London", "is_bot": false, "deleted": false, "is_admin": true, "is_restricted": false,
			"profile": object{"display_name": "ada", "email": "ada@example.com", "title": "Engineer", "image_72": "https://example.com/a.png", "status_text": ""}}
	}
	for method, kind := range map[string]struct {
		params, member, needs string
		records               []object
	}{
		"conversations.list":    {"types exclude_archived", "channels", "", many(7, channel)},
		"conversations.members": {"channel", "members", "channel", many(7, user)},
		"conversations.history": {"channel oldest latest inclusive", "messages", "channel", many(7, message)},
		"conversations.replies": {"channel ts oldest latest", "messages", "ts", many(7, message)},
		"users.list":            {"", "members", "", many(7, user)},
	} {
		s.slack("GET", method, kind.params+" cursor limit", func(c *call) Answer {
			if kind.needs != "" && c.query.Get(kind.needs) == "" {
				return s.failures["invalid_arguments"]
			}
			start, cursor := 0, c.query.Get("cursor")
			if rest, ok := strings.CutPrefix(cursor, "dXNlcjpV-"); ok {
				start = number(rest, 0)
			} else if cursor != "" {
				return slackWrong("invalid_cursor")
			}
			some := page(kind.records, start, number(c.query.Get("limit"), 100))
			next := ""
			if start+len(some) < len(kind.records) {
				next = "dXNlcjpV-" + strconv.Itoa(start+len(some))
			}
			body := object{"ok": true, kind.member: some, "response_metadata": object{"next_cursor": next}}
			if method == "conversations.members" {
				var ids []any
				for _, r := range some {
					ids = append(ids, r["id"])
				}
				body["members"] = ids
			}
			return Answer{Body: body}
		})
	}
	s.slack("GET", "conversations.info", "channel include_num_members", func(c *call) Answer {
		if c.query.Get("channel") != "C1" {
			return slackWrong("channel_not_found")
		}
		return Answer{Body: object{"ok": true, "channel": channel(1)}}
	})
	s.slack("GET", "users.info", "user", func(c *call) Answer {
		if c.query.Get("user") != "U1" {
			return slackWrong("user_not_found")
		}
		return Answer{Body: object{"ok": true, "user": user(1)}}
	})
	s.slack("GET", "users.lookupByEmail", "email", func(*call) Answer { return Answer{Body: object{"ok": true, "user": user(1)}} })
	s.slack("GET", "search.messages", "query sort sort_dir count page", func(c *call) Answer {
		found := many(7, message)
		for _, m := range found {
			m["channel"], m["permalink"], m["username"] = object{"id": "C1", "name": "team-1"}, "https://acme.slack.com/archives/C1/p1", "ada"
		}
		at, size := number(c.query.Get("page"), 1), number(c.query.Get("count"), 20)
		return Answer{Body: object{"ok": true, "query": c.query.Get("query"), "messages": object{"total": len(found), "matches": page(found, (at-1)*size, size),
			"paging": object{"count": size, "page": at, "pages": (len(found) + size - 1) / size, "total": len(found)}}}}
	})
	slackWrites(s)
}

func slackWrites(s *Server) {
	write := func(body func(c *call) object) func(*call) Answer {
		return func(c *call) Answer {
			if c.body["channel"] == nil {
				return s.failures["invalid_arguments"]
			}
			s.wrote()
			m := body(c)
			m["ok"] = true
			return Answer{Body: m}
		}
	}
	s.slack("POST", "chat.postMessage", "channel text thread_ts unfurl_links", write(func(c *call) object {
		return object{"channel": c.body["channel"], "ts": "1761990009.000100", "message": object{"text": c.body["text"], "type": "message"}}
	}))
	s.slack("POST", "chat.update", "channel ts text", write(func(c *call) object {
		return object{"channel": c.body["channel"], "ts": c.body["ts"], "text": c.body["text"]}
	}))
	s.slack("POST", "reactions.add", "channel timestamp name", write(func(*call) object { return object{} }))
}

// slack adds a method.
func (s *Server) slack(verb, method, params string, f func(*call) Answer) {
	s.handle(verb+" /api/"+method, params, f)
}
