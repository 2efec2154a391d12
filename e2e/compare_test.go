package e2e_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// What may differ between a conversation with an upstream and the same through
// Bulkhead. Nothing else may.
//
//   - resultType, ttlMs and cacheScope belong to an era: they are there for modern
//     clients and not for legacy ones, whatever the upstream speaks.
//   - _meta["io.modelcontextprotocol/serverInfo"] says who answers: it is an
//     upstream's to add, in its own era only.
//   - A list has our own tools beside the upstream's, sorted, on one page.
//   - A JSON-RPC error of a tool call is a result with isError, because a model
//     sees only that; code, message and data stand unchanged under
//     _meta["io.github.bulkhead-mcp/error"].
//   - Our own refusals (unknown tool, prompt, resource, method, cursor) have our
//     words and the same code.
//   - What an upstream asks the user begins with its name in brackets.
//   - A question takes the form that the client's era has: a request of ours, or a
//     result with inputRequests; ids, elicitationIds, the keys of inputRequests
//     and requestState are made anew on each hop.
//   - An answer from memory says so under _meta["io.github.bulkhead-mcp/cache"];
//     here nothing is asked a second time while it is good.
//   - The _meta that an upstream sees holds what is between it and us: protocol
//     version, client, capabilities and progress token.

// reading is what one step has led to, as a client reads it.
type reading struct {
	answer []byte   // the member result or error, by its bytes
	failed bool     // it is an error
	notes  []string // params of the notifications that came before it, in order
	asked  []string // questions, in order: method and params
}

// converse has a step carried out, and answers what is asked in the meantime.
func (w *wire) converse(s step) reading {
	w.t.Helper()
	var r reading
	members := s.members
	for range 10 {
		x := w.ask(s.method, members, s.meta)
		for _, h := range x.before {
			params, _ := rawjson.Get(h.text, "params")
			if _, question := rawjson.Get(h.text, "id"); question {
				r.asked = append(r.asked, h.method+" "+string(plain(params)))
			} else if h.method == "notifications/progress" || h.method == "notifications/message" {
				r.notes = append(r.notes, h.method+" "+string(params))
			}
		}
		result, ok := rawjson.Get(x.answer, "result")
		if !ok {
			r.answer, _ = rawjson.Get(x.answer, "error")
			r.failed = true
			return r
		}
		if kind, _ := rawjson.GetString(result, "resultType"); !w.modern || kind != "input_required" {
			r.answer = withoutEra(result)
			return r
		}
		members = s.members + w.answers(result, &r)
	}
	w.t.Errorf("%s asks for ever", s.name)
	return r
}

// answers returns the members with which to come back after an input_required
// result.
func (w *wire) answers(result []byte, r *reading) string {
	requests, _ := rawjson.Get(result, "inputRequests")
	var responses []string
	for m := range rawjson.Members(requests) {
		method, _ := rawjson.GetString(m.Value, "method")
		params, _ := rawjson.Get(m.Value, "params")
		r.asked = append(r.asked, method+" "+string(plain(params)))
		_, value, _ := strings.Cut(w.reply(method, params), `:`)
		responses = append(responses, fmt.Sprintf("%q:%s", m.Name, value))
	}
	out := `,"inputResponses":{` + strings.Join(responses, ",") + "}"
	if state, ok := rawjson.Get(result, "requestState"); ok {
		out += `,"requestState":` + string(state)
	}
	return out
}

// plain takes from a question what each hop makes anew, and the source's name.
func plain(params []byte) []byte {
	out := rawjson.Delete(bytes.Clone(params), "elicitationId", "_meta")
	if message, ok := rawjson.GetString(out, "message"); ok {
		out, _ = rawjson.Set(out, "message", rawjson.Quote(strings.TrimPrefix(message, "[fixture] ")))
	}
	return out
}

// withoutEra takes off what belongs to an era.
func withoutEra(result []byte) []byte {
	out := rawjson.Delete(bytes.Clone(result), "resultType", "ttlMs", "cacheScope")
	meta, ok := rawjson.Get(out, "_meta")
	if !ok {
		return out
	}
	rest := rawjson.Delete(bytes.Clone(meta), "io.modelcontextprotocol/serverInfo")
	if n := len(slices.Collect(rawjson.Members(rest))); n == 0 {
		return rawjson.Delete(out, "_meta")
	}
	out, _ = rawjson.Set(out, "_meta", rest)
	return out
}

// sameBytes is the general rule: the same to the byte.
func sameBytes(direct, through reading) string {
	switch {
	case direct.failed != through.failed:
		return fmt.Sprintf("direct %.300s, through %.300s", direct.answer, through.answer)
	case !bytes.Equal(direct.answer, through.answer):
		return firstDifference(direct.answer, through.answer)
	case !slices.Equal(direct.notes, through.notes):
		return fmt.Sprintf("notifications: direct %.1000q, through %.1000q", direct.notes, through.notes)
	case !slices.Equal(direct.asked, through.asked):
		return fmt.Sprintf("asked: direct %.1000q, through %.1000q", direct.asked, through.asked)
	}
	return ""
}

func firstDifference(a, b []byte) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	around := func(x []byte) []byte { return x[min(max(i-60, 0), len(x)):min(i+60, len(x))] }
	return fmt.Sprintf("from byte %d of %d and %d: direct …%s…, through …%s…", i, len(a), len(b), around(a), around(b))
}

// sameList compares the entries of two lists by their bytes, whatever the order.
func sameList(member, key string) func(direct, through reading) string {
	read := func(r reading) map[string]string {
		out := map[string]string{}
		list, _ := rawjson.Get(r.answer, member)
		for entry := range rawjson.Elements(list) {
			name, _ := rawjson.GetString(entry, key)
			out[name] = string(entry)
		}
		return out
	}
	return func(direct, through reading) string {
		want, got := read(direct), read(through)
		if len(want) == 0 {
			return fmt.Sprintf("the fixture lists nothing: %.300s", direct.answer)
		}
		var out []string
		for name, entry := range want {
			switch other, ok := got[name]; {
			case !ok:
				out = append(out, name+" is missing")
			case other != entry:
				out = append(out, name+" "+firstDifference([]byte(entry), []byte(other)))
			}
			delete(got, name)
		}
		for name := range got {
			if !strings.HasPrefix(name, "bulkhead_") {
				out = append(out, name+" was added")
			}
		}
		if _, more := rawjson.Get(through.answer, "nextCursor"); more {
			out = append(out, "there is a second page")
		}
		slices.Sort(out)
		return strings.Join(out, "; ")
	}
}

// sameError compares an error object with the failed result that tells of it.
func sameError(direct, through reading) string {
	if !direct.failed || through.failed {
		return fmt.Sprintf("direct %.300s, through %.300s", direct.answer, through.answer)
	}
	if failed, _ := rawjson.Get(through.answer, "isError"); string(failed) != "true" {
		return fmt.Sprintf("isError is %s", failed)
	}
	meta, _ := rawjson.Get(through.answer, "_meta")
	facts, _ := rawjson.Get(meta, "io.github.bulkhead-mcp/error")
	told, _ := rawjson.Get(facts, "upstream")
	for _, member := range []string{"code", "data"} {
		want, _ := rawjson.Get(direct.answer, member)
		got, _ := rawjson.Get(told, member)
		if !bytes.Equal(want, got) && !(rawjson.IsNull(want) && rawjson.IsNull(got)) {
			return fmt.Sprintf("%s: direct %s, through %s", member, want, got)
		}
	}
	want, _ := rawjson.GetString(direct.answer, "message")
	got, _ := rawjson.GetString(told, "message")
	if want != got || want == "" {
		return fmt.Sprintf("message: direct %q, through %q", want, got)
	}
	if text := string(through.answer); !strings.Contains(text, "fixture") {
		return "the source is not named: " + text
	}
	return ""
}

// bothRefuse accepts any words from either side with one of the codes.
func bothRefuse(codes ...int) func(direct, through reading) string {
	return func(direct, through reading) string {
		for name, r := range map[string]reading{"direct": direct, "through": through} {
			code, _ := rawjson.Get(r.answer, "code")
			if !r.failed || !slices.ContainsFunc(codes, func(c int) bool { return fmt.Sprint(c) == string(code) }) {
				return fmt.Sprintf("%s answers %.300s", name, r.answer)
			}
		}
		return ""
	}
}

// sameArguments compares what the upstream says that it was sent: the arguments
// to the byte, and of _meta what is not between two hops.
func sameArguments(direct, through reading) string {
	sent := func(r reading) (arguments, meta string) {
		content, _ := rawjson.Get(r.answer, "content")
		var texts []string
		for item := range rawjson.Elements(content) {
			text, _ := rawjson.GetString(item, "text")
			texts = append(texts, text)
		}
		if len(texts) != 2 {
			return "", ""
		}
		kept := rawjson.Delete([]byte(texts[1]), "progressToken", "io.modelcontextprotocol/protocolVersion",
			"io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel")
		return texts[0], string(kept)
	}
	wantArguments, wantMeta := sent(direct)
	arguments, meta := sent(through)
	switch {
	case wantArguments == "":
		return fmt.Sprintf("the fixture answers %.300s", direct.answer)
	case arguments != wantArguments:
		return firstDifference([]byte(wantArguments), []byte(arguments))
	case meta != wantMeta:
		return firstDifference([]byte(wantMeta), []byte(meta))
	}
	return ""
}
