package vendors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Server stands in for one vendor: its API and its token endpoint, with what
// its documentation says of both. It keeps what it was asked and complains of
// what the vendor would not understand. Safe for concurrent use.
type Server struct {
	Desk
	// Tokens is the vendor's authorization server.
	Tokens *Tokens

	mux      *http.ServeMux
	accepts  func(*http.Request) bool
	refuses  func(*http.Request) *Answer // what is wrong with a request before it is looked at; nil where nothing is
	denied   Answer                      // for a token that is none
	unknown  Answer                      // for an address that is none
	tells    func(http.Header)           // header fields of every answer
	failures map[string]Answer

	mu       sync.Mutex
	wrong    []string
	answered map[string]Answer // to writes that may come twice, by their key
	writes   int
}

// object is a JSON object.
type object = map[string]any

// call is a request of the API that has been read.
type call struct {
	*http.Request
	query url.Values // of the address, or the form in the body
	body  object     // JSON
	from  *Server
}

func newServer() *Server {
	s := &Server{mux: http.NewServeMux(), failures: map[string]Answer{}, answered: map[string]Answer{}}
	s.Tokens = &Tokens{live: map[string]bool{}, refresh: map[string]grant{}}
	s.accepts = func(r *http.Request) bool {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return ok && s.Tokens.Good(token)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.complain("%s %s: there is no such address", r.Method, r.URL.EscapedPath())
		s.unknown.send(w)
	})
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Writes returns how many changes were carried out.
func (s *Server) Writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// Complaints returns what was asked that the vendor does not know, such as a
// parameter that it does not have.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrong)
}

func (s *Server) complain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// Failures returns the names of the ways in which the vendor fails.
func (s *Server) Failures() []string { return slices.Sorted(maps.Keys(s.failures)) }

// Fail lets the next request of the API fail in one of these ways.
func (s *Server) Fail(name string) {
	a, ok := s.failures[name]
	if !ok {
		a = Answer{Status: http.StatusNotImplemented, Body: "there is no failure " + name}
	}
	s.Plan(a)
}

// handle adds an address of the API, as the pattern of an http.ServeMux. params
// are the parameters that it has, apart from those in its path, parted by
// spaces: those of the query, or the members of the body.
func (s *Server) handle(pattern, params string, f func(*call) Answer) {
	known := strings.Fields(params)
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		data := s.note(r)
		if s.tells != nil {
			s.tells(w.Header())
		}
		if a := s.refusal(r); a != nil {
			a.send(w)
		} else if !s.divert(w) {
			f(s.read(r, data, known)).send(w)
		}
	})
}

// refusal is what is said to a request before it is looked at; nil to a good one.
func (s *Server) refusal(r *http.Request) *Answer {
	if !s.accepts(r) {
		return &s.denied
	}
	if s.refuses != nil {
		return s.refuses(r)
	}
	return nil
}

// read reads a request, and complains of parameters other than the known ones.
func (s *Server) read(r *http.Request, data []byte, known []string) *call {
	c := &call{Request: r, query: r.URL.Query(), body: object{}, from: s}
	switch kind := r.Header.Get("Content-Type"); {
	case len(data) == 0:
	case strings.HasPrefix(kind, "application/json"):
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		if err := dec.Decode(&c.body); err != nil {
			s.complain("%s %s: the body is no JSON object: %s", r.Method, r.URL.Path, data)
		}
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		c.query, _ = url.ParseQuery(string(data)) // what is no form has no known parameters
	default:
		s.complain("%s %s: a body of type %q", r.Method, r.URL.Path, kind)
	}
	for name := range maps.Keys(c.query) {
		if base, _, _ := strings.Cut(name, "["); !slices.Contains(known, base) {
			s.complain("%s %s: there is no parameter %s", r.Method, r.URL.Path, name)
		}
	}
	for name := range maps.Keys(c.body) {
		if !slices.Contains(known, name) {
			s.complain("%s %s: there is no member %s", r.Method, r.URL.Path, name)
		}
	}
	return c
}

// wrote counts a change that was carried out.
func (s *Server) wrote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
}

// once carries a write out, or answers as before where its key was seen.
func (s *Server) once(key string, f func() Answer) Answer {
	s.mu.Lock()
	a, again := s.answered[key]
	s.mu.Unlock()
	if again && key != "" {
		return a
	}
	s.wrote()
	a = f()
	s.mu.Lock()
	s.answered[key] = a
	s.mu.Unlock()
	return a
}

// page returns the records from start on, size at most.
func page(records []object, start, size int) []object {
	start = min(max(start, 0), len(records))
	return records[start:min(start+size, len(records))]
}

// number reads a parameter that counts something.
func number(text string, otherwise int) int {
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 0 {
		return otherwise
	}
	return n
}

// many makes records, counted from 1.
func many(n int, f func(i int) object) []object {
	all := make([]object, n)
	for i := range all {
		all[i] = f(i + 1)
	}
	return all
}
