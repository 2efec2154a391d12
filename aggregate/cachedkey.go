package aggregate

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/bulkhead-mcp/bulkhead/cache"
	"github.com/bulkhead-mcp/bulkhead/upstream"
	"github.com/bulkhead-mcp/bulkhead/upstream/rawjson"
)

// question is what a read asks, by the keys of its answers.
type question struct {
	own    cache.Key // of an answer for this principal
	public cache.Key // of one for everybody (cacheScope); the zero key where there is no such thing
}

// volatile are the members of a call's or a result's _meta that belong to one
// request: who is told of its progress, which trace it is part of (MCP
// 2026-07-28, basic, §_meta; W3C Trace Context and Baggage), and what goes no
// further than to us. What the client can do counts, but as far as the upstream
// is told, see [upstream.Back].
var volatile = []string{
	"progressToken", "traceparent", "tracestate", "baggage", memberRelated,
	"io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo",
	"io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel",
	"io.modelcontextprotocol/subscriptionId",
}

// question returns what a read asks: its operation, the upstream's own name of
// the target, all that is in its params, and what its client can do.
func (k *memory) question(c *upstream.Call) question {
	askable := "no"
	if c.Back.Ask != nil {
		askable = "yes"
	}
	parts := [][]byte{[]byte(c.Op), []byte(c.Name), canonicalParams(c), canonical(nil, c.Back.Capabilities), []byte(askable)}
	q := question{own: k.partition(c.Principal).Key(parts...)}
	if datable(c.Op) && k.m.Users == nil { // else nobody has shown that he may see it
		q.public = cache.NewPartition(k.source, k.m.Fingerprint, "").Key(parts...)
	}
	return q
}

// maxPartitions is how many principals' are remembered.
const maxPartitions = 10_000

// partition returns that of a principal.
func (k *memory) partition(who upstream.Principal) cache.Partition {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.partitions[who]
	if !ok {
		if k.partitions == nil {
			k.partitions = make(map[upstream.Principal]cache.Partition)
		}
		for old := range k.partitions { // any
			if len(k.partitions) < maxPartitions {
				break
			}
			delete(k.partitions, old)
		}
		fingerprint := k.m.Fingerprint
		if k.m.Users != nil { // whoever signs in anew may be somebody else there
			k.made++
			fingerprint += " " + strconv.FormatUint(k.made, 36)
		}
		p = cache.NewPartition(k.source, fingerprint, who.Key())
		k.partitions[who] = p
	}
	return p
}

// leave drops what is kept for one user: nobody finds it any more, nor what a
// read brings that is under way.
func (k *memory) leave(who upstream.Principal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.partitions, who)
}

// canonicalParams returns the params of a call without the name of its target,
// which the client may say in several ways, and without what is volatile.
func canonicalParams(c *upstream.Call) []byte {
	if rawjson.Kind(c.Params) != '{' {
		return canonical([]byte("arguments:"), c.Arguments)
	}
	target := ""
	switch c.Op {
	case upstream.CallTool, upstream.GetPrompt:
		target = "name"
	case upstream.ReadResource, upstream.ReadDir, upstream.GetSkill:
		target = "uri"
	}
	return canonicalObject(make([]byte, 0, len(c.Params)), c.Params, func(m rawjson.Member) ([]byte, bool) {
		switch m.Name {
		case target:
			return nil, false
		case "_meta":
			meta := rawjson.Delete(m.Value, volatile...)
			return meta, !isEmpty(meta)
		}
		return m.Value, true
	})
}

// isEmpty reports whether v is an object without members.
func isEmpty(v []byte) bool {
	if rawjson.Kind(v) != '{' {
		return false
	}
	for range rawjson.Members(v) {
		return false
	}
	return true
}

// canonical appends a JSON text in a form that is the same for two texts if they
// differ in nothing but white space and the order of members, and only then.
// Numbers and strings stay as they are written: 1 and 1.0, or an escape and the
// character it stands for, may not be the same to the upstream.
func canonical(dst, v []byte) []byte {
	switch rawjson.Kind(v) {
	case '{':
		return canonicalObject(dst, v, func(m rawjson.Member) ([]byte, bool) { return m.Value, true })
	case '[':
		dst = append(dst, '[')
		n := 0
		for item := range rawjson.Elements(v) {
			if n++; n > 1 {
				dst = append(dst, ',')
			}
			dst = canonical(dst, item)
		}
		return append(dst, ']')
	}
	return append(dst, bytes.TrimSpace(v)...)
}

// canonicalObject is [canonical] for an object, of whose members keep chooses
// some and may give another value.
func canonicalObject(dst, obj []byte, keep func(rawjson.Member) ([]byte, bool)) []byte {
	type member struct{ name, value []byte } // name as it is written, quoted: what looks the same unescaped need not be
	var few [8]member
	members := few[:0]
	for m := range rawjson.Members(obj) {
		if value, ok := keep(m); ok {
			name := bytes.TrimRight(obj[m.Start:m.End-len(m.Value)], " \t\r\n:")
			members = append(members, member{name, value})
		}
	}
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, m.name...), ':')
		dst = canonical(dst, m.value)
	}
	return append(dst, '}')
}
