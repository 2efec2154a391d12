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

// GitHub is the REST API with a personal access token ([Token]) or the tokens of
// a GitHub App's users, which are good for 8 hours; each refresh gives both
// tokens anew and ends the ones before. The token endpoint answers 200 to
// everything.
//
// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
// https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
// https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens
func GitHub() *Server {
	s := newServer()
	s.endpoint("/login/oauth/access_token", &Tokens{
		proof: "post", ttl: 28800, rotates: true, kills: true, grants: []string{"refresh_token", "authorization_code"},
		refusal: func(code string) Answer {
			if own := map[string]string{"invalid_client": "incorrect_client_credentials", "invalid_grant": "bad_refresh_token"}[code]; own != "" {
				code = own
			}
			return Answer{Body: object{"error": code, "error_description": "The request was refused.", "error_uri": "https://docs.github.com"}}
		},
		response: func(access, refresh string, ttl int, _ url.Values) any {
			return object{"access_token": access, "expires_in": ttl, "refresh_token": refresh, "refresh_token_expires_in": 15811200, "scope": "", "token_type": "bearer"}
		},
	})
	s.consent("/login/oauth/authorize")
	wrong := func(status int, message string) Answer {
		return Answer{Status: status, Body: object{"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(status)}}
	}
	s.denied, s.unknown = wrong(http.StatusUnauthorized, "Bad credentials"), wrong(http.StatusNotFound, "Not Found")
	s.refuses = func(r *http.Request) *Answer {
		if r.UserAgent() == "" {
			return &Answer{Status: http.StatusForbidden, Body: "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."}
		}
		return nil
	}
	reset := func(in time.Duration) string { return strconv.FormatInt(time.Now().Add(in).Unix(), 10) }
	s.tells = func(h http.Header) {
		h.Set("X-Ratelimit-Limit", "5000")
		h.Set("X-Ratelimit-Remaining", "4987")
		h.Set("X-Ratelimit-Used", "13")
		h.Set("X-Ratelimit-Resource", "core")
		h.Set("X-Ratelimit-Reset", reset(time.Hour/2))
	}
	limited := func(status int, header map[string]string, message string) Answer {
		a := wrong(status, message)
		a.Header = header
		return a
	}
	spent := map[string]string{"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": reset(90 * time.Second)}
	secondary := "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
	maps.Copy(s.failures, map[string]Answer{
		"primary 403":            limited(http.StatusForbidden, spent, "API rate limit exceeded for user ID 1."),
		"primary 429":            limited(http.StatusTooManyRequests, spent, "API rate limit exceeded for user ID 1."),
		"secondary 403":          limited(http.StatusForbidden, map[string]string{"Retry-After": "60"}, secondary),
		"secondary 429":          limited(http.StatusTooManyRequests, map[string]string{"Retry-After": "60"}, secondary),
		"secondary without time": wrong(http.StatusForbidden, secondary),
		"forbidden":              wrong(http.StatusForbidden, "Resource not accessible by personal access token"),
		"not found":              s.unknown,
		"gone":                   wrong(http.StatusGone, "Issues has been disabled in this repository."),
		"validation": {Status: http.StatusUnprocessableEntity, Body: object{"message": "Validation Failed", "documentation_url": "https://docs.github.com/rest",
			"errors": []object{{"resource": "Issue", "field": "title", "code": "missing_field"}}}},
		"taken down":  wrong(http.StatusUnavailableForLegalReasons, "Repository access blocked"),
		"bad gateway": {Status: http.StatusBadGateway, Body: "<html><title>Unicorn!</title></html>", Header: map[string]string{"Content-Type": "text/html"}},
	})
	gitHubRoutes(s, wrong)
	s.mux.HandleFunc("POST /app/installations/{installation}/access_tokens", func(w http.ResponseWriter, r *http.Request) {
		proof, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		claims, ok := jwt(proof)
		switch now := float64(time.Now().Unix()); {
		case !ok || claims["iss"] != App || claims["iat"].(float64) > now || claims["exp"].(float64) > now+600: //nolint:errcheck // of a fake
			wrong(http.StatusUnauthorized, "A JSON web token could not be decoded").send(w)
		case r.PathValue("installation") != "42":
			s.unknown.send(w)
		default:
			s.Tokens.mu.Lock()
			defer s.Tokens.mu.Unlock()
			Answer{Status: http.StatusCreated, Body: object{"token": s.Tokens.issue(), "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
				"permissions": object{"issues": "read", "metadata": "read"}, "repository_selection": "all"}}.send(w)
		}
	})
	return s
}

// GitHubOAuthApp is [GitHub] with an OAuth app, whose tokens do not end.
//
// https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
func GitHubOAuthApp() *Server {
	s := GitHub()
	s.Tokens.response = func(access, _ string, _ int, _ url.Values) any {
		return object{"access_token": access, "scope": "repo,read:org", "token_type": "bearer"}
	}
	return s
}

// App is the GitHub App that the fake knows; its installation is 42.
const App = "Iv23liVendor"

func gitHubRoutes(s *Server, wrong func(int, string) Answer) {
	person := object{"login": "ada", "id": 1, "type": "User"}
	issue := func(i int) object {
		return object{"id": 1000 + i, "number": i, "title": fmt.Sprintf("Issue %d", i), "body": "It fails.", "state": "open", "state_reason": nil,
			"user": person, "assignees": []object{person}, "labels": []object{{"name": "bug", "color": "f00"}}, "milestone": object{"title": "1.0"},
			"comments": 2, "created_at": "2026-11-01T10:00:00Z", "updated_at": "2026-11-02T10:00:00Z", "closed_at": nil,
			"html_url": fmt.Sprintf("https://github.com/acme/shop/issues/%d", i), "repository_url": "https://api.github.com/repos/acme/shop"}
	}
	pull := func(i int) object {
		p := issue(i)
		maps.Copy(p, object{"draft": false, "head": object{"ref": "fix", "sha": "c0ffee"}, "base": object{"ref": "main"}, "requested_reviewers": []object{person},
			"merged": false, "mergeable": true, "mergeable_state": "clean", "merged_at": nil, "commits": 1, "additions": 3, "deletions": 1, "changed_files": 1})
		return p
	}
	commit := func(i int) object {
		return object{"sha": fmt.Sprintf("%040d", i), "commit": object{"message": "Mend it", "author": object{"name": "Ada", "date": "2026-11-01T10:00:00Z"}}, "author": person, "html_url": "https://github.com/acme/shop/commit/1"}
	}
	comment := func(i int) object {
		return object{"id": i, "user": person, "body": "Seen here too.", "created_at": "2026-11-01T10:00:00Z", "updated_at": "2026-11-01T10:00:00Z", "html_url": "https://github.com/acme/shop/issues/1#1"}
	}
	repository := func(i int) object {
		return object{"full_name": fmt.Sprintf("acme/shop%d", i), "description": "A shop", "private": true, "archived": false, "default_branch": "main", "language": "Go",
			"topics": []string{"billing"}, "stargazers_count": 3, "open_issues_count": 7, "pushed_at": "2026-11-01T10:00:00Z", "html_url": "https://github.com/acme/shop"}
	}
	code := func(i int) object {
		return object{"name": "main.go", "path": fmt.Sprintf("cmd/%d/main.go", i), "sha": "c0ffee", "repository": object{"full_name": "acme/shop"}, "html_url": "https://github.com/acme/shop/blob/main/main.go"}
	}
	for path, kind := range map[string]struct {
		params  string
		records []object
		search  bool
	}{
		"/repos/{owner}/{repo}/issues":                   {"state labels assignee creator since sort direction", many(7, issue), false},
		"/repos/{owner}/{repo}/issues/{number}/comments": {"since", many(7, comment), false},
		"/repos/{owner}/{repo}/pulls":                    {"state head base sort direction", many(7, pull), false},
		"/repos/{owner}/{repo}/commits":                  {"sha path author since until", many(7, commit), false},
		"/search/issues":                                 {"q sort order", many(7, issue), true},
		"/search/repositories":                           {"q sort order", many(7, repository), true},
		"/search/code":                                   {"q", many(7, code), true},
	} {
		s.handle("GET "+path, kind.params+" per_page page", func(c *call) Answer {
			some, link := gitHubPage(c, kind.records)
			a := Answer{Body: some, Header: map[string]string{"Link": link}}
			if kind.search {
				if c.query.Get("q") == "" {
					return wrong(http.StatusUnprocessableEntity, "Validation Failed")
				}
				a.Body = object{"total_count": len(kind.records), "incomplete_results": false, "items": some}
				a.Header["X-Ratelimit-Resource"] = "search"
			}
			return a
		})
	}
	gitHubSingle(s, issue, pull, comment)
}

// gitHubSingle adds what is about one thing.
func gitHubSingle(s *Server, issue, pull, comment func(int) object) {
	one := func(make func(int) object) func(*call) Answer {
		return func(c *call) Answer {
			if n := number(c.PathValue("number"), 0); n > 0 && n <= 7 {
				return Answer{Body: make(n)}
			}
			return s.unknown
		}
	}
	s.handle("GET /repos/{owner}/{repo}/issues/{number}", "", one(issue))
	s.handle("GET /repos/{owner}/{repo}/pulls/{number}", "", one(pull))
	s.handle("GET /repos/{owner}/{repo}/contents/{path...}", "ref", func(c *call) Answer {
		if c.Header.Get("Accept") == "application/vnd.github.raw+json" {
			return Answer{Body: "package main\n", Header: map[string]string{"Content-Type": "application/vnd.github.raw+json; charset=utf-8"}}
		}
		return Answer{Body: object{"type": "file", "name": "main.go", "path": c.PathValue("path"), "size": 13, "sha": "c0ffee", "encoding": "base64", "content": "cGFja2FnZSBtYWluCg==\n"}}
	})
	s.handle("POST /repos/{owner}/{repo}/issues", "title body labels assignees", func(c *call) Answer {
		if c.body["title"] == nil {
			return s.failures["validation"]
		}
		s.wrote()
		made := issue(8)
		made["title"] = c.body["title"]
		return Answer{Status: http.StatusCreated, Body: made}
	})
	s.handle("PATCH /repos/{owner}/{repo}/issues/{number}", "title body state state_reason labels assignees", func(c *call) Answer {
		s.wrote()
		changed := issue(number(c.PathValue("number"), 1))
		changed["state"] = c.body["state"]
		return Answer{Body: changed}
	})
	s.handle("POST /repos/{owner}/{repo}/issues/{number}/comments", "body", func(*call) Answer {
		s.wrote()
		return Answer{Status: http.StatusCreated, Body: comment(8)}
	})
}

// gitHubPage is one page and the Link field that says where the others are.
func gitHubPage(c *call, records []object) (some []object, link string) {
	at, size := number(c.query.Get("page"), 1), min(number(c.query.Get("per_page"), 30), 100)
	last := (len(records) + size - 1) / size
	to := func(n int, rel string) string {
		q := c.query
		q.Set("page", strconv.Itoa(n))
		return fmt.Sprintf(`<http://%s%s?%s>; rel="%s"`, c.Host, c.URL.EscapedPath(), q.Encode(), rel)
	}
	var links []string
	if at > 1 {
		links = append(links, to(at-1, "prev"))
	}
	if at < last {
		links = append(links, to(at+1, "next"), to(last, "last"))
	}
	if at > 1 {
		links = append(links, to(1, "first"))
	}
	return page(records, (at-1)*size, size), strings.Join(links, ", ")
}
