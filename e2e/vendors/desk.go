package vendors

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Request is one request to the API of a stand-in, without those for tokens.
type Request struct {
	Method string
	Path   string // as it was escaped
	Query  url.Values
	Header http.Header
	Body   []byte
}

// Reply is what a stand-in is told to say instead of its own answer.
type Reply struct {
	Status int
	Header map[string]string
	Body   string
}

// Desk keeps what a stand-in was asked and what it is to say next. It is safe for
// concurrent use.
type Desk struct {
	mu      sync.Mutex
	seen    []Request
	planned []Reply
}

// Plan makes the next requests to the API, once they are let in, be answered so.
func (d *Desk) Plan(answers ...Reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.planned = append(d.planned, answers...)
}

// Seen returns the requests so far.
func (d *Desk) Seen() []Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// Last returns the last request; the zero value if there was none.
func (d *Desk) Last() Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.seen) == 0 {
		return Request{}
	}
	return d.seen[len(d.seen)-1]
}

// note keeps a request and returns its body.
func (d *Desk) note(r *http.Request) []byte {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // a body that breaks is short
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, Request{r.Method, r.URL.EscapedPath(), r.URL.Query(), r.Header.Clone(), body})
	return body
}

// divert gives the planned answer, if there is one.
func (d *Desk) divert(w http.ResponseWriter) bool {
	d.mu.Lock()
	if len(d.planned) == 0 {
		d.mu.Unlock()
		return false
	}
	a := d.planned[0]
	d.planned = d.planned[1:]
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for name, v := range a.Header {
		w.Header().Set(name, v)
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body) // who asked may be gone
	return true
}

// record is a JSON object: one of a service, or a part of one.
type record map[string]any

// say answers with v as JSON.
func say(w http.ResponseWriter, status int, v any) {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // who asked may be gone
}

// fields reads a JSON record or a form as texts and other values.
func formFields(r *http.Request, body []byte) (record, bool) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, err := url.ParseQuery(string(body))
		o := record{}
		for name := range form {
			o[name] = form.Get(name)
		}
		return o, err == nil
	}
	o := record{}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return o, strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") && dec.Decode(&o) == nil
}

// text returns a member as text; "" if there is none.
func (o record) text(name string) string {
	switch v := o[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// member returns a member that is an object; nil if it is none.
func (o record) member(name string) record {
	switch v := o[name].(type) {
	case record:
		return v
	case map[string]any:
		return v
	}
	return nil
}

// with returns a copy with the members of more in it.
func (o record) with(more record) record {
	out := maps.Clone(o)
	maps.Copy(out, more)
	return out
}

// readAll returns the body of a request for a token.
func readAll(r *http.Request) []byte {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // a body that breaks is short
	return body
}
