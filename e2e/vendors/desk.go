package vendors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Answer is one response. A string is sent as it is, anything else as JSON, nil
// as an empty body.
type Answer struct {
	Status int // 0 is 200
	Header map[string]string
	Body   any
}

func (a Answer) send(w http.ResponseWriter) {
	text, plain := a.Body.(string)
	if !plain && a.Body != nil {
		raw, err := json.Marshal(a.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		text = string(raw)
	}
	if !plain || strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	for name, v := range a.Header {
		w.Header().Set(name, v)
	}
	w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
	_, _ = io.WriteString(w, text) // who asked may be gone
}

// say answers with v as JSON.
func say(w http.ResponseWriter, status int, v any) { Answer{Status: status, Body: v}.send(w) }

// Request is one request to the API of a stand-in, as it came. Those for tokens are
// not noted.
type Request struct {
	Method string
	Path   string // as it was encoded
	Query  url.Values
	Header http.Header
	Body   string
}

// Desk keeps what a stand-in was asked and what it is to say next. It is safe for
// concurrent use.
type Desk struct {
	guard   sync.Mutex
	asked   []Request
	planned []Answer
}

// Plan makes the next requests to the API, once they are let in, be answered so.
func (d *Desk) Plan(answers ...Answer) {
	d.guard.Lock()
	defer d.guard.Unlock()
	d.planned = append(d.planned, answers...)
}

// Requests returns what the API was asked so far.
func (d *Desk) Requests() []Request {
	d.guard.Lock()
	defer d.guard.Unlock()
	return slices.Clone(d.asked)
}

// Last is the newest of [Desk.Requests], and the zero value if there is none.
func (d *Desk) Last() Request {
	if all := d.Requests(); len(all) > 0 {
		return all[len(all)-1]
	}
	return Request{}
}

// note keeps a request and returns its body.
func (d *Desk) note(r *http.Request) []byte {
	body := readAll(r)
	d.guard.Lock()
	defer d.guard.Unlock()
	d.asked = append(d.asked, Request{r.Method, r.URL.EscapedPath(), r.URL.Query(), r.Header.Clone(), string(body)})
	return body
}

// divert gives the planned answer, if there is one.
func (d *Desk) divert(w http.ResponseWriter) bool {
	d.guard.Lock()
	var a Answer
	some := len(d.planned) > 0
	if some {
		a, d.planned = d.planned[0], d.planned[1:]
	}
	d.guard.Unlock()
	if some {
		a.send(w)
	}
	return some
}

// record is a JSON object: one of a service, or a part of one.
type record map[string]any

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

// readAll returns the body of a request.
func readAll(r *http.Request) []byte {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // a body that breaks is short
	return body
}
