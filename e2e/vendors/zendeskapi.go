package vendors

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// route answers the API.
func (z *Zendesk) route(w http.ResponseWriter, r *http.Request, body []byte) {
	z.records.Lock()
	defer z.records.Unlock()
	path, _ := strings.CutPrefix(strings.TrimSuffix(r.URL.Path, ".json"), "/api/v2/")
	parts := strings.Split(path, "/")
	switch r.Method + " " + strings.Join(zendeskShape(parts), "/") {
	case "GET tickets":
		z.page(w, r, "tickets", z.records.tickets)
	case "GET tickets/#":
		z.one(w, "ticket", zendeskFind(z.records.tickets, parts[1]))
	case "GET tickets/#/comments":
		id, _ := strconv.Atoi(parts[1]) // the shape says that it is a number
		z.page(w, r, "comments", z.records.comments[id])
	case "GET users/#/tickets/requested":
		z.page(w, r, "tickets", slices.DeleteFunc(slices.Clone(z.records.tickets), func(t record) bool { return fmt.Sprint(t["requester_id"]) != parts[1] }))
	case "GET users/#":
		z.one(w, "user", zendeskFind(zendeskUsers, parts[1]))
	case "GET organizations":
		z.page(w, r, "organizations", zendeskOrganizations)
	case "GET organizations/#":
		z.one(w, "organization", zendeskFind(zendeskOrganizations, parts[1]))
	case "GET search":
		z.search(w, r, "results", z.everything())
	case "GET users/search":
		z.search(w, r, "users", zendeskUsers)
	case "GET search/export":
		if r.URL.Query().Get("filter[type]") != "ticket" {
			say(w, http.StatusUnprocessableEntity, record{"error": "invalid", "description": "Invalid search: filter[type] is required"})
			return
		}
		z.page(w, r, "results", typed(z.records.tickets, "ticket"))
	case "POST tickets":
		z.create(w, r, body)
	case "PUT tickets/#":
		z.update(w, r, body, zendeskFind(z.records.tickets, parts[1]))
	case "DELETE tickets/#":
		before := len(z.records.tickets)
		z.records.tickets = slices.DeleteFunc(z.records.tickets, func(t record) bool { return fmt.Sprint(t["id"]) == parts[1] })
		if len(z.records.tickets) == before {
			z.one(w, "ticket", nil)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		say(w, http.StatusNotFound, record{"error": record{"title": "No such endpoint", "message": "There is nothing at this path"}})
	}
}

// zendeskShape puts # in the place of numbers.
func zendeskShape(parts []string) []string {
	shape := slices.Clone(parts)
	for i, p := range shape {
		if _, err := strconv.ParseInt(p, 10, 64); err == nil {
			shape[i] = "#"
		}
	}
	return shape
}

func typed(list []record, name string) []record {
	out := make([]record, len(list))
	for i, o := range list {
		out[i] = o.with(record{"result_type": name})
	}
	return out
}

func (z *Zendesk) everything() []record {
	return slices.Concat(typed(z.records.tickets, "ticket"), typed(zendeskUsers, "user"), typed(zendeskOrganizations, "organization"))
}

// one answers with a record, or that there is none.
func (z *Zendesk) one(w http.ResponseWriter, name string, o record) {
	if o == nil {
		say(w, http.StatusNotFound, record{"error": "RecordNotFound", "description": "Not found"})
		return
	}
	say(w, http.StatusOK, record{name: o})
}

// page answers with a page by cursor: 100 records at most.
func (z *Zendesk) page(w http.ResponseWriter, r *http.Request, name string, list []record) {
	q := r.URL.Query()
	size := 100
	if text := q.Get("page[size]"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			say(w, http.StatusBadRequest, record{"error": "InvalidPaginationParameter", "description": "page[size] must be between 1 and 100"})
			return
		}
		size = n
	}
	from := 0
	if after := q.Get("page[after]"); after != "" {
		text, err := base64.RawURLEncoding.DecodeString(after)
		n, err2 := strconv.Atoi(strings.TrimPrefix(string(text), name+":"))
		if err != nil || err2 != nil || n > len(list) {
			say(w, http.StatusBadRequest, record{"error": "InvalidPaginationParameter", "description": "page[after] is not valid"})
			return
		}
		from = n
	}
	to := min(from+size, len(list))
	cursor := base64.RawURLEncoding.EncodeToString([]byte(name + ":" + strconv.Itoa(to)))
	meta := record{"has_more": to < len(list), "after_cursor": cursor, "before_cursor": cursor}
	links := record{"prev": nil, "next": nil}
	if to < len(list) {
		links["next"] = "https://acme.zendesk.com" + r.URL.Path + "?page%5Bafter%5D=" + cursor
	}
	say(w, http.StatusOK, record{name: list[from:to], "meta": meta, "links": links})
}

// search answers with a page by number; 1,000 records can be had.
func (z *Zendesk) search(w http.ResponseWriter, r *http.Request, name string, list []record) {
	q := r.URL.Query()
	for _, param := range []string{"page", "per_page"} {
		if _, err := strconv.Atoi(q.Get(param)); q.Has(param) && err != nil || q.Has(param+"[size]") {
			say(w, http.StatusBadRequest, record{"error": record{"title": "Invalid attribute",
				"message": "You passed an invalid value for the page attribute. Invalid parameter: page must be an integer from api/v2/search/index"}})
			return
		}
	}
	number, size := 1, 100
	if q.Has("page") {
		number, _ = strconv.Atoi(q.Get("page"))
	}
	if q.Has("per_page") {
		size, _ = strconv.Atoi(q.Get("per_page"))
	}
	if number*size > 1000 {
		say(w, http.StatusUnprocessableEntity, record{"error": "invalid", "description": "Invalid search: Requested response size was greater than Search Response Limits"})
		return
	}
	from := min((number-1)*size, len(list))
	to := min(from+size, len(list))
	answer := record{name: list[from:to], "count": len(list), "next_page": nil, "previous_page": nil}
	if to < len(list) {
		next := url.Values{"query": {q.Get("query")}, "page": {strconv.Itoa(number + 1)}, "per_page": {strconv.Itoa(size)}}
		answer["next_page"] = "http://" + r.Host + strings.TrimSuffix(r.URL.Path, ".json") + ".json?" + next.Encode()
	}
	say(w, http.StatusOK, answer)
}

func (z *Zendesk) create(w http.ResponseWriter, r *http.Request, body []byte) {
	form, ok := formFields(r, body)
	ticket := form.member("ticket")
	if !ok || ticket == nil {
		say(w, http.StatusBadRequest, record{"error": record{"title": "Bad Request", "message": "ticket is missing"}})
		return
	}
	key := r.Header.Get("Idempotency-Key")
	if before, ok := z.records.keys[key]; ok && key != "" {
		w.Header().Set("x-idempotency-lookup", "hit")
		say(w, http.StatusCreated, record{"ticket": before})
		return
	}
	if ticket.member("comment").text("body") == "" {
		say(w, http.StatusUnprocessableEntity, record{"error": "RecordInvalid", "description": "Record validation errors",
			"details": record{"base": []record{{"description": "Description: cannot be blank", "error": "BlankValue"}}}})
		return
	}
	id := len(z.records.tickets) + 1
	made := zendeskTicket(id, ticket.text("subject"))
	for name, v := range ticket {
		if name != "comment" {
			made[name] = v
		}
	}
	z.records.tickets = append(z.records.tickets, made)
	z.records.comments[id] = []record{zendeskComment(id*10, ticket.member("comment").text("body"), true)}
	if key != "" {
		z.records.keys[key] = made
		w.Header().Set("x-idempotency-lookup", "miss")
	}
	say(w, http.StatusCreated, record{"ticket": made})
}

func (z *Zendesk) update(w http.ResponseWriter, r *http.Request, body []byte, t record) {
	form, ok := formFields(r, body)
	change := form.member("ticket")
	switch {
	case !ok || change == nil:
		say(w, http.StatusBadRequest, record{"error": record{"title": "Bad Request", "message": "ticket is missing"}})
		return
	case t == nil:
		z.one(w, "ticket", nil)
		return
	}
	for name, v := range change {
		if name != "comment" {
			t[name] = v
		}
	}
	if c := change.member("comment"); c != nil {
		id, _ := t["id"].(int)
		public, _ := c["public"].(bool)
		z.records.comments[id] = append(z.records.comments[id], zendeskComment(id*10+5, c.text("body"), public))
	}
	say(w, http.StatusOK, record{"ticket": t, "audit": record{"id": 1}})
}
