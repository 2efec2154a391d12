// Package restapi serves the sample CRM as a REST service, as vendors serve
// theirs: resources by path, JSON, statuses, pages by cursor, and how much is left
// of a quota in each answer.
//
// It owns the routes and the form of answers and errors, and the definition by
// which Bulkhead asks it. It must not know what the CRM holds, who may ask, or how
// it is found: it asks an [upstream.Adapter].
package restapi

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// Path is where the service is served, without the slash at its end.
const Path = "/v1"

// Definition says how the service is asked, in the form of package rest.
//
//go:embed crm.toml
var Definition []byte

const maxBody = 64 << 10

// New returns the service over the sample CRM.
func New(crm upstream.Adapter) http.Handler {
	s := &service{crm}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"/customers", s.find)
	mux.HandleFunc("GET "+Path+"/customers/{id}", func(w http.ResponseWriter, r *http.Request) { s.of(w, r, "get_customer") })
	mux.HandleFunc("GET "+Path+"/customers/{id}/contacts", func(w http.ResponseWriter, r *http.Request) { s.of(w, r, "list_contacts") })
	mux.HandleFunc("POST "+Path+"/customers/{id}/notes", s.note)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "not_found", "there is no such resource")
	})
	return mux
}

// Writes reports whether a request may change something.
func Writes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

type service struct{ crm upstream.Adapter }

// find answers a search, a page at a time: page_size of them, from the cursor on.
func (s *service) find(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	args := map[string]any{"query": q.Get("query"), "limit": mostFound}
	if segment := q.Get("segment"); segment != "" {
		args["segment"] = segment
	}
	size, from := 10, 0
	for name, into := range map[string]*int{"page_size": &size, "cursor": &from} {
		if v := q.Get(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 || n > mostFound || name == "page_size" && n == 0 {
				refuse(w, http.StatusBadRequest, "invalid_parameter", fmt.Sprintf("%s must be a number up to %d", name, mostFound))
				return
			}
			*into = n
		}
	}
	found, ok := s.call(w, r, "find_customers", args)
	if !ok {
		return
	}
	var customers []json.RawMessage
	list, _ := rawjson.Get(found, "customers")
	for c := range rawjson.Elements(list) {
		customers = append(customers, c)
	}
	page := map[string]any{"total": len(customers), "currency": "EUR"}
	if next := from + size; next < len(customers) {
		page["next_cursor"] = strconv.Itoa(next)
	}
	page["customers"] = append([]json.RawMessage{}, customers[min(from, len(customers)):min(from+size, len(customers))]...)
	answer(w, http.StatusOK, page)
}

// mostFound is how many customers a search looks at.
const mostFound = 50

// of answers what one tool says of one customer.
func (s *service) of(w http.ResponseWriter, r *http.Request, tool string) {
	if found, ok := s.call(w, r, tool, map[string]any{"customer_id": r.PathValue("id")}); ok {
		answer(w, http.StatusOK, found)
	}
}

func (s *service) note(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	text, ok := "", false
	if err == nil && rawjson.Check(body, rawjson.Limits{}) == nil {
		text, ok = rawjson.GetString(body, "text")
	}
	if !ok {
		refuse(w, http.StatusBadRequest, "invalid_body", `the body must be JSON with the text of the note: {"text":"..."}`)
		return
	}
	if made, ok := s.call(w, r, "add_note", map[string]any{"customer_id": r.PathValue("id"), "text": text}); ok {
		answer(w, http.StatusCreated, made)
	}
}

// call asks the CRM; if it refuses, that is answered.
func (s *service) call(w http.ResponseWriter, r *http.Request, tool string, arguments map[string]any) (json.RawMessage, bool) {
	raw, err := json.Marshal(arguments)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal", "the request cannot be carried out")
		return nil, false
	}
	res, err := s.crm.Call(r.Context(), &upstream.Call{
		ID: "rest", Principal: upstream.Local(), Op: upstream.CallTool, Name: tool, Arguments: raw, Timing: &upstream.Timing{},
	})
	if err != nil {
		s.failed(r.Context(), w, err)
		return nil, false
	}
	out, _ := res.Get("structuredContent")
	return out, true
}

func (s *service) failed(ctx context.Context, w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*upstream.Error](err)
	switch {
	case ctx.Err() != nil: // nobody hears the answer
	case ok && e.Kind == upstream.NotFound:
		refuse(w, http.StatusNotFound, "not_found", e.Public)
	case ok && e.Kind == upstream.InvalidArguments:
		refuse(w, http.StatusBadRequest, "invalid_parameter", strings.ReplaceAll(e.Public, "customer_id", "the id"))
	case ok && e.Kind == upstream.Denied:
		refuse(w, http.StatusForbidden, "forbidden", e.Public)
	default:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "the service is being stopped")
	}
}

func refuse(w http.ResponseWriter, status int, code, why string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": why}})
}

func answer(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}
